//! Taking down what creating put up, in the order that the ledger gives; and changing limits.

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use oci_spec::runtime::LinuxResources;
use wherry_core::lifecycle::{Code, Denied, Step};
use wherry_sandbox::cgroup::Cgroup;
use wherry_sandbox::hooks::{self, Status};
use wherry_sandbox::mounts::unmount_rootfs;

use crate::body::Body;
use crate::create;
use crate::introduction::hook_state;

/// The work of undoing these steps. What does not go is logged; `delete` will try again, since the
/// state file stays with it.
pub(crate) fn job(body: &Body, steps: Vec<Step>, poststop: bool) -> impl FnOnce() + Send + use<> {
    let (bundle, written) = (body.bundle.clone(), body.written.clone());
    let mounted = !body.creation.rootfs.is_empty();
    let (cgroup, planned) = (body.cgroup.clone(), body.planned.clone());
    let native = body.native.clone();
    move || {
        let mut clean = true;
        let mut done = |what: &str, result: wherry_sandbox::Result<()>| {
            if let Err(error) = result {
                log::error!("{what}: {}", error.sentence());
                clean = false;
            }
        };
        let mut clean_runc = true;
        for step in steps {
            match step {
                // It removes the cgroup too, and runs the hooks.
                Step::Guest if native.is_some() => {
                    clean_runc = native.as_ref().is_none_or(|native| native.delete());
                }
                Step::Cgroup => {
                    if let Some(cgroup) =
                        cgroup.as_ref().filter(|_| native.is_none() || !clean_runc)
                    {
                        done("cannot remove a cgroup", remove(cgroup));
                    }
                }
                Step::Rootfs if mounted => {
                    done(
                        "cannot unmount a root file system",
                        unmount_rootfs(&bundle.join("rootfs")),
                    );
                }
                // Nothing outside of this process, or a process that has ended.
                Step::Rootfs | Step::Plan | Step::Code | Step::Guest | Step::Ready => {}
            }
        }
        if let Some(planned) = planned.filter(|_| poststop) {
            let state = hook_state(&planned, 0, Status::Stopped);
            for hook in planned.plan.hooks.poststop().iter().flatten() {
                // Each runs, whatever becomes of the others (runtime spec, "Lifecycle").
                if let Err(error) = hooks::run("poststop", hook, &state) {
                    log::warn!("{}", error.sentence());
                }
            }
        }
        if clean && clean_runc {
            written.remove();
        }
    }
}

/// Whatever is left in the group goes with it.
fn remove(cgroup: &Cgroup) -> wherry_sandbox::Result<()> {
    match cgroup.delete() {
        Ok(()) => Ok(()),
        Err(_) => {
            cgroup.kill_all()?;
            cgroup.delete()
        }
    }
}

pub(crate) fn update(cgroup: Option<&Cgroup>, resources: Option<&Any>) -> Result<(), Denied> {
    let Some(resources) = resources else {
        return Err(create::invalid("an update names no resources".into()));
    };
    let resources: LinuxResources = serde_json::from_slice(&resources.value)
        .map_err(|e| create::invalid(format!("the resources of an update cannot be read: {e}")))?;
    let Some(cgroup) = cgroup else {
        return Err(Denied::new(Code::NotFound, "the task has no cgroup"));
    };
    cgroup.update(&resources).map_err(|e| create::failed(&e))
}
