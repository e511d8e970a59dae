//! The sandbox of a pod, for containerd's Sandbox API: no container, no image and, mostly, no process.
//!
//! The pod's files lie in its bundle, its shared memory is mounted there at `rootfs`, and its namespaces are held by a
//! thread of the shim. Where a process must be first (a pid namespace that the containers share, a user namespace) it
//! is the one that stands for a sandbox elsewhere, too ([`crate::pause`]).

mod config;
mod process;

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::sandbox_api::CreateSandboxRequest;
use rustix::fs::XattrFlags;
use tokio::task::spawn_blocking;
use wherry_core::lifecycle::{Code, Denied};
use wherry_core::spec::pod::{self, Content, Pod, Shared};
use wherry_sandbox::cgroup::Cgroup;
use wherry_sandbox::mounts::unmount_rootfs;
use wherry_sandbox::pod::{Held, hold as hold_in_thread, mount_shm, owner_of};

use crate::body::{Guest, Guests, Written};
use crate::create::{failed, invalid, refused};
use process::Running;

/// What holds a pod together.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) shared: Arc<Shared>,
    written: Written,
    by: By,
}

#[derive(Debug)]
enum By {
    Thread(Held),
    Process(Running),
}

/// All that a sandbox is made from.
pub(crate) struct Wanted {
    pub(crate) request: CreateSandboxRequest,
    /// The runtime's own, for the cgroup of a process.
    pub(crate) options: Option<Any>,
    pub(crate) namespace: Arc<str>,
    pub(crate) guests: Guests,
}

/// Makes the pod. A failure has left nothing.
pub(crate) async fn make(wanted: Wanted) -> Result<Holder, Denied> {
    let Wanted { request, options, namespace, guests } = wanted;
    let Prepared { draft, written, shared, owner } = run(move || prepare(&request)).await?;
    let by = match draft.holder {
        pod::Holder::Thread(thread) => {
            run(move || hold_in_thread(&thread).map_err(|e| failed(&e))).await.map(By::Thread)
        }
        pod::Holder::Process(spec) => {
            let place =
                process::Place { shared: shared.clone(), namespace, written: written.clone() };
            process::run(spec, place, options, guests).await.map(By::Process)
        }
    };
    // Until now its descriptor was its name.
    drop(owner);
    match by {
        Ok(by) => Ok(Holder { shared: Arc::new(shared), written, by }),
        Err(why) => {
            take_down(&shared.folder, &written);
            Err(why)
        }
    }
}

impl Holder {
    /// What names the namespaces in `/proc`.
    pub(crate) fn pid(&self) -> u32 {
        match &self.by {
            By::Thread(held) => held.id,
            By::Process(running) => running.guest.pid,
        }
    }

    /// The process that may end by itself, if it is one.
    pub(crate) fn guest(&self) -> Option<Guest> {
        match &self.by {
            By::Thread(_) => None,
            By::Process(running) => Some(running.guest.clone()),
        }
    }

    /// Where it is accounted, if it is a process.
    pub(crate) fn cgroup(&self) -> Option<&Cgroup> {
        match &self.by {
            By::Thread(_) => None,
            By::Process(running) => Some(&running.cgroup),
        }
    }

    pub(crate) async fn let_go(self) {
        let Holder { shared, written, by } = self;
        match by {
            By::Thread(held) => drop(spawn_blocking(move || drop(held)).await),
            By::Process(running) => running.end().await,
        }
        take_down(&shared.folder, &written);
    }
}

/// Off the thread that everybody waits for.
async fn run<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, Denied> + Send + 'static,
) -> Result<T, Denied> {
    let lost = |e| Denied::new(Code::Unknown, format!("making the sandbox: {e}"));
    spawn_blocking(job).await.map_err(lost)?
}

/// What is there before anybody is in it.
struct Prepared {
    draft: Pod,
    written: Written,
    shared: Shared,
    /// The user namespace of the pod's network.
    owner: Option<File>,
}

fn prepare(request: &CreateSandboxRequest) -> Result<Prepared, Denied> {
    if !request.rootfs.is_empty() {
        let why = "the sandbox is to have a root file system, for which nothing in it has any use";
        return Err(invalid(why.into()));
    }
    let (id, folder) = (request.sandbox_id.clone(), PathBuf::from(&request.bundle_path));
    let config = config::read(request.options.as_ref())?;
    let network = Some(Path::new(&request.netns_path)).filter(|path| !path.as_os_str().is_empty());
    let owner = network.filter(|_| config.users.is_some()).map(owner_of).transpose();
    let owner = owner.map_err(|e| failed(&e))?;
    let userns =
        owner.as_ref().map(|fd| PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())));
    let draft =
        pod::pod(&id, &config, network, userns.as_deref()).map_err(|refusal| refused(&refusal))?;
    let written = Written::new(folder.clone(), &id);
    let shared = Shared { id, folder, shm: draft.shm.is_some() };
    let there = put_up(&draft, &shared, &written);
    let there = there.and_then(|()| match &draft.holder {
        pod::Holder::Thread(_) => Ok(()),
        pod::Holder::Process(_) => process::make_root(&shared, config.users.as_ref()),
    });
    match there {
        Ok(()) => Ok(Prepared { draft, written, shared, owner }),
        Err(why) => {
            take_down(&shared.folder, &written);
            Err(why)
        }
    }
}

fn put_up(draft: &Pod, shared: &Shared, written: &Written) -> Result<(), Denied> {
    for (name, content) in &draft.files {
        let path = shared.folder.join(name);
        let bytes = match content {
            Content::Text(text) => Ok(text.clone().into_bytes()),
            Content::NodeName => {
                Ok([rustix::system::uname().nodename().to_bytes(), b"\n"].concat())
            }
            Content::OfNode(path) => fs::read(path),
        };
        bytes.and_then(|bytes| fs::write(&path, bytes)).map_err(|e| {
            let sentence = format!("cannot make the file {name} of the pod: {e}");
            Denied::new(Code::FailedPrecondition, sentence)
        })?;
    }
    let Some(bytes) = draft.shm else { return Ok(()) };
    let target = shared.folder.join(pod::SHM);
    written.change(|state| state.rootfs = Some(target.clone())).map_err(|e| {
        let sentence = format!("cannot write wherry.json into the bundle: {e}");
        Denied::new(Code::FailedPrecondition, sentence)
    })?;
    mount_shm(&target, bytes).map_err(|e| failed(&e))
}

/// For containers that SELinux confines to a label, as containerd labels what it makes for a pod (`SelinuxRelabel` of
/// its mounts). The same for all containers of a pod, so that it does not matter who comes first.
pub(crate) fn label(shared: &Shared, label: &str) -> Result<(), Denied> {
    let files = pod::names().map(|name| shared.folder.join(name));
    let shm = shared.shm.then(|| shared.folder.join(pod::SHM));
    for path in files.chain(shm) {
        rustix::fs::lsetxattr(&path, LABEL, label.as_bytes(), XattrFlags::empty()).map_err(
            |e| {
                let sentence = format!(
                    "cannot label {} of the pod with {label} (linux.mountLabel): {e}",
                    path.display()
                );
                Denied::new(Code::FailedPrecondition, sentence)
            },
        )?;
    }
    Ok(())
}

/// selinux(8) keeps it there.
const LABEL: &str = "security.selinux";

/// The files go with the bundle.
fn take_down(folder: &Path, written: &Written) {
    match unmount_rootfs(&folder.join(pod::SHM)) {
        Ok(()) => written.remove(),
        // `delete` will try again.
        Err(error) => log::error!("{}", error.sentence()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_pod_have_the_label_of_its_containers() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for name in pod::names() {
            fs::write(folder.path().join(name), "").expect("written");
        }
        fs::create_dir(folder.path().join(pod::SHM)).expect("made");
        let shared = Shared { id: "p".into(), folder: folder.path().to_owned(), shm: true };
        let wanted = "system_u:object_r:container_file_t:s0:c1,c2";
        label(&shared, wanted).expect("labelled, as root");
        for name in pod::names().chain([pod::SHM]) {
            let mut found = [0; 128];
            let size = rustix::fs::lgetxattr(folder.path().join(name), LABEL, &mut found);
            let found = found[..size.expect("a label")].to_vec();
            assert_eq!(String::from_utf8_lossy(&found).trim_end_matches('\0'), wanted, "{name}");
        }
        fs::remove_file(folder.path().join("hosts")).expect("removed");
        let told = label(&shared, wanted).expect_err("a file is missing").to_string();
        assert!(told.contains("hosts of the pod with system_u"), "{told}");
    }
}
