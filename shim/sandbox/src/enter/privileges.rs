//! The user, and what is left of root.

use rustix::fs::{Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::process::DumpableBehavior;
use rustix::thread::{
    CapabilitySet, CapabilitySets, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};
use wherry_core::plan;

use crate::error::Doing;
use crate::{Error, Result, sys};

/// As runc's `finalizeNamespace`: the bounding set while we may, the user, the working folder, the
/// other sets. There is no way back from here.
pub(super) fn reduce(sandbox: &plan::Sandbox) -> Result<()> {
    // A session keyring of our own: keys of whoever started the shim are not for the guest.
    // KEYCTL_JOIN_SESSION_KEYRING; a kernel without keys has none to give.
    let _ = sys::join_new_keyring();
    if sandbox.no_new_privileges {
        set_no_new_privs(true).doing(|| "setting process.noNewPrivileges".into())?;
    }
    let wanted = Wanted::read(&sandbox.capabilities)?.left_by_exec(sandbox.user.uid);
    drop_bounding(wanted.bounding)?;
    set_keep_capabilities(true).doing(|| "keeping capabilities over the change of user".into())?;
    let entered = rustix::process::chdir(&sandbox.cwd);
    become_user(&sandbox.user)?;
    // A folder that root may not enter (on NFS) may still be the user's.
    match entered {
        Err(Errno::ACCESS) => rustix::process::chdir(&sandbox.cwd),
        entered => entered,
    }
    .doing(|| format!("going to process.cwd {}", sandbox.cwd.display()))?;
    set_keep_capabilities(false).doing(|| "clearing what keeps capabilities".into())?;
    wanted.apply()?;
    rustix::process::umask(Mode::from(sandbox.user.umask.unwrap_or(0o022)));
    // After the last change of ids, which would undo it: /proc/<pid> is root's then, no core is
    // written, and no process of the same user attaches.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .doing(|| "making the process undumpable".into())
}

fn become_user(user: &plan::User) -> Result<()> {
    let doing = |field: &str, id: u32| {
        let field = field.to_owned();
        move || {
            format!(
                "becoming {field} {id} (in a user namespace, linux.uidMappings and gidMappings \
                 must map it)"
            )
        }
    };
    let groups: Vec<Gid> = user.additional_gids.iter().map(|g| Gid::from_raw(*g)).collect();
    match set_thread_groups(&groups) {
        // A user namespace whose maker may not set groups: there none is as good as it gets.
        Err(Errno::PERM) if groups.is_empty() => {}
        set => set.doing(|| "setting process.user.additionalGids".into())?,
    }
    let gid = Gid::from_raw(user.gid);
    set_thread_res_gid(gid, gid, gid).doing(doing("process.user.gid", user.gid))?;
    let uid = Uid::from_raw(user.uid);
    set_thread_res_uid(uid, uid, uid).doing(doing("process.user.uid", user.uid))
}

fn drop_bounding(keep: CapabilitySet) -> Result<()> {
    let last = last_capability();
    for bit in 0..=last {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if !keep.contains(one) {
            match remove_capability_from_bounding_set(one) {
                // Without CAP_SETPCAP nothing can be dropped, and nothing was bounded either: what
                // we have not cannot come back without an exec, of which there is none.
                Ok(()) | Err(Errno::PERM) => {}
                // Past the last one this kernel has.
                Err(Errno::INVAL) => break,
                Err(errno) => {
                    return Err(errno).doing(|| "setting process.capabilities.bounding".into());
                }
            }
        }
    }
    Ok(())
}

/// `CAP_LAST_CAP` of any kernel is below this: EINVAL tells the rest.
fn last_capability() -> u32 {
    63
}

/// The five sets, read.
struct Wanted {
    bounding: CapabilitySet,
    effective: CapabilitySet,
    permitted: CapabilitySet,
    inheritable: CapabilitySet,
    ambient: CapabilitySet,
}

impl Wanted {
    fn read(names: &plan::Capabilities) -> Result<Wanted> {
        Ok(Wanted {
            bounding: set("bounding", &names.bounding)?,
            effective: set("effective", &names.effective)?,
            permitted: set("permitted", &names.permitted)?,
            inheritable: set("inheritable", &names.inheritable)?,
            ambient: set("ambient", &names.ambient)?,
        })
    }

    /// What is left of the sets when a program is executed (capabilities(7), "Transformation of
    /// capabilities during execve()"). The spec's sets are those before runc's exec, and whoever
    /// writes a spec counts on what comes out: of a user other than root only the ambient ones
    /// remain. Root would even gain what is bounded and not permitted; here it does not.
    fn left_by_exec(self, uid: u32) -> Wanted {
        match uid {
            0 => self,
            _ => Wanted { permitted: self.ambient, effective: self.ambient, ..self },
        }
    }

    /// Only what this process has can be kept: the shim itself may be short of one.
    fn apply(&self) -> Result<()> {
        let have = rustix::thread::capabilities(None)
            .doing(|| "reading the capabilities of this process".into())?;
        for (field, asked) in [("permitted", self.permitted), ("effective", self.effective)] {
            let missing = asked - have.permitted;
            if !missing.is_empty() {
                let names: Vec<String> =
                    missing.iter_names().map(|(name, _)| format!("CAP_{name}")).collect();
                return Err(Error::Refused(format!(
                    "process.capabilities.{field}: the shim itself has no {}; leave it out or \
                     start containerd with it",
                    names.join(", ")
                )));
            }
        }
        set_capabilities(
            None,
            CapabilitySets {
                effective: self.effective,
                permitted: self.permitted,
                inheritable: self.inheritable,
            },
        )
        .doing(|| "setting process.capabilities".into())?;
        clear_ambient_capability_set().doing(|| "clearing ambient capabilities".into())?;
        for one in self.ambient.iter() {
            configure_capability_in_ambient_set(one, true).doing(|| {
                "setting process.capabilities.ambient (each must be permitted and inheritable too)"
                    .into()
            })?;
        }
        Ok(())
    }
}

fn set(field: &str, names: &[String]) -> Result<CapabilitySet> {
    let mut set = CapabilitySet::empty();
    for name in names {
        let short = name.strip_prefix("CAP_").unwrap_or(name);
        set |= CapabilitySet::from_name(short).ok_or_else(|| {
            Error::Refused(format!(
                "process.capabilities.{field} {name} is no capability, see capabilities(7)"
            ))
        })?;
    }
    Ok(set)
}
