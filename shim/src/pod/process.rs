//! The process that is first in a pid or user namespace of a pod.

use std::sync::Arc;

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use serde_json::Value;
use wherry_core::lifecycle::{Code, Creation, Denied};
use wherry_core::spec::pod::{ROOT, Shared, Users};
use wherry_core::spec::{self, Role};
use wherry_sandbox::cgroup::Cgroup;
use wherry_sandbox::process;
use wherry_sandbox::wire::ToGuest;

use crate::body::{Guest, Guests, KILL, Parked, Planned, Product, Written};
use crate::create::{self, failed, refused};
use crate::introduction;
use crate::{code, options, reaper};

/// Alone in its cgroup.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) guest: Guest,
    pub(super) cgroup: Cgroup,
}

pub(super) struct Place {
    pub(super) shared: Shared,
    pub(super) namespace: Arc<str>,
    pub(super) written: Written,
}

/// An empty folder, which root of the pod may fill.
pub(super) fn make_root(shared: &Shared, users: Option<&Users>) -> Result<(), Denied> {
    let folder = shared.folder.join(ROOT);
    let root = |ids: &[wherry_core::plan::IdMapping]| {
        ids.iter().find(|one| one.container == 0).map(|one| one.host)
    };
    let owner = users.map(|users| (root(&users.uids), root(&users.gids)));
    let made = std::fs::create_dir_all(&folder).and_then(|()| match owner {
        Some((uid, gid)) => std::os::unix::fs::chown(&folder, uid, gid),
        None => Ok(()),
    });
    made.map_err(|e| {
        let sentence = format!("cannot make the root of the pod's process: {e}");
        Denied::new(Code::FailedPrecondition, sentence)
    })
}

/// Until it waits for its end. A failure has left nothing.
pub(super) async fn run(
    spec: Value,
    place: Place,
    options: Option<Any>,
    guests: Guests,
) -> Result<Running, Denied> {
    // It is our child before its pid is known.
    let expecting = guests.expect();
    let written = place.written.clone();
    let Born { planned, parked, running } =
        super::run(move || bear(&spec, &place, options.as_ref())).await?;
    guests.add(running.guest.pid);
    drop(expecting);
    let ready = start(planned, parked, &running.guest).await;
    if let Err(why) = ready {
        guests.remove(running.guest.pid);
        running.end().await;
        let _ = written.change(|state| (state.cgroup, state.guest) = (None, None));
        return Err(why);
    }
    Ok(running)
}

struct Born {
    planned: Planned,
    parked: Parked,
    running: Running,
}

/// The steps of any container, without those that it has no need of.
fn bear(json: &Value, place: &Place, options: Option<&Any>) -> Result<Born, Denied> {
    let Place { shared, namespace, written } = place;
    let options = options::of(options)?;
    let spec = spec::parse(&json.to_string()).map_err(|refusal| refused(&refusal))?;
    let plan = create::plan_of(&spec, &shared.id, namespace, &shared.folder, &options);
    let plan = plan.map_err(|refusal| refused(&refusal))?;
    let oci_version = spec.version().clone();
    let planned = Planned { role: Role::Pause, plan, options, oci_version };
    let cgroup = match create::cgroup(&planned, written).map_err(known)? {
        Product::Cgroup(cgroup, _) => cgroup,
        other => return Err(unexpected(&other)),
    };
    let creation = Creation::default();
    match create::guest(&planned, &cgroup, &creation, namespace, written) {
        // Nobody writes to streams that lead nowhere.
        Ok(Product::Guest(guest, parked, _)) => {
            Ok(Born { planned, parked, running: Running { guest, cgroup } })
        }
        Ok(other) => Err(unexpected(&other)),
        Err(why) => {
            remove(&cgroup);
            Err(known(why))
        }
    }
}

async fn start(planned: Planned, parked: Parked, guest: &Guest) -> Result<(), Denied> {
    let code = code::none()?;
    let ready = introduction::ready(Arc::new(planned), guest.pid, parked, code).await;
    ready.map_err(known)?.send(&ToGuest::Start, &[]).map_err(|e| failed(&e))
}

impl Running {
    pub(super) async fn end(self) {
        // Gone already is what we want; whoever waits for it takes its status.
        let _ = process::signal(&self.guest.pidfd, KILL);
        reaper::ended(&self.guest.pidfd).await;
        let cgroup = self.cgroup;
        let _ = tokio::task::spawn_blocking(move || remove(&cgroup)).await;
    }
}

/// What is left in it goes with it.
fn remove(cgroup: &Cgroup) {
    let removed = cgroup.delete().or_else(|_| cgroup.kill_all().and_then(|()| cgroup.delete()));
    if let Err(error) = removed {
        log::error!("cannot remove a cgroup: {}", error.sentence());
    }
}

fn known(why: Option<Denied>) -> Denied {
    why.unwrap_or_else(|| Denied::new(Code::Unknown, "the process of the pod ended at once"))
}

fn unexpected(product: &Product) -> Denied {
    Denied::new(Code::Unknown, format!("a step of the pod's process brought {product:?}"))
}
