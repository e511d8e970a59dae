//! The control groups of a container: made, filled, watched, killed, removed.
//!
//! A v1 container has a group in every hierarchy, a v2 container has one. All of it is folders and
//! files below where the hierarchies are mounted; the [`Locator`] is a list of those folders, so
//! that another process, which knows nothing but it, can kill and remove them.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxResources};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use wherry_core::plan;

use crate::error::Doing;
use crate::{Error, Result};

mod allowed;
mod dbus;
mod devices;
mod hierarchy;
mod kill;
mod oom;
mod settings;
mod systemd;
mod v1;
mod v2;

pub use hierarchy::{Hierarchies, Hierarchy};
pub use oom::OomWatch;

use settings::Setting;

/// Where a container's groups are: all that another process needs to kill and remove them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locator {
    pub folders: Vec<Folder>,
    /// The systemd unit, if systemd made the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// One group in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// Controllers as the kernel names them, `name=systemd` included; empty for v2.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controllers: Vec<String>,
    pub path: PathBuf,
}

/// The groups of one container.
#[derive(Debug)]
pub struct Cgroup {
    locator: Locator,
    /// Keeps a scope of systemd's alive until the guest is in it.
    placeholder: Mutex<Option<systemd::Placeholder>>,
}

/// How a process gets into the groups as it is born.
#[derive(Debug)]
pub(crate) enum Entrance {
    /// Opened, for `CLONE_INTO_CGROUP`.
    V2(OwnedFd),
    /// The `tasks` files.
    V1(Vec<OwnedFd>),
}

impl Cgroup {
    /// Makes the groups with their resources. Undoes everything on failure.
    pub fn create(plan: &plan::Cgroup) -> Result<Cgroup> {
        Cgroup::create_in(Hierarchies::of_this_node()?, plan)
    }

    /// As [`Cgroup::create`], below other roots: what tests do.
    pub fn create_in(hierarchies: &Hierarchies, plan: &plan::Cgroup) -> Result<Cgroup> {
        let resources = plan.resources.clone().unwrap_or_default();
        // What cannot be honoured is refused before anything is made.
        let settings = settings_for(hierarchies, &resources)?;
        let (path, unit) = match &plan.place {
            plan::CgroupPlace::Path(path) => (path.clone(), None),
            plan::CgroupPlace::Systemd { slice, prefix, name } => {
                let scope = systemd::Scope::new(slice, prefix, name)?;
                (scope.path(), Some(scope))
            }
        };
        let mut folders = hierarchies.folders(&path)?;
        // Whoever is there would get our limits now, and be killed when this container is deleted.
        for folder in &folders {
            let inside = kill::count_in(&folder.path);
            if inside > 0 {
                return Err(Error::Refused(format!(
                    "container's cgroup is not empty: {inside} process(es) found in {}: give this \
                     container a linux.cgroupsPath of its own",
                    folder.path.display()
                )));
            }
        }
        let name = unit.as_ref().map(|u| u.unit.clone());
        let placeholder = unit.map(|u| systemd::start(&u, hierarchies, &resources, &plan.devices));
        let placeholder = placeholder.transpose()?;
        if placeholder.is_some() {
            folders.extend(hierarchies.watched_by_systemd(&path));
        }
        let locator = Locator { folders, unit: name };
        let cgroup = Cgroup { locator, placeholder: Mutex::new(placeholder) };
        let made = cgroup
            .make(hierarchies)
            .and_then(|()| cgroup.apply(&settings))
            .and_then(|()| cgroup.limit_devices(&plan.devices));
        if let Err(error) = made {
            cgroup.release_placeholder();
            // The first failure is the one to tell.
            let _ = cgroup.delete();
            return Err(error);
        }
        Ok(cgroup)
    }

    /// The groups that another process made. They may be gone.
    pub fn locate(locator: Locator) -> Cgroup {
        Cgroup { locator, placeholder: Mutex::new(None) }
    }

    /// The groups that somebody else may be about to make for this path.
    pub fn expected(path: &Path) -> Result<Locator> {
        let hierarchies = Hierarchies::of_this_node()?;
        let mut folders = hierarchies.folders(path)?;
        folders.extend(hierarchies.beside(path));
        Ok(Locator { folders, unit: None })
    }

    /// The groups that somebody has made for a process: those that it is in and we are not.
    pub fn of_process(pid: u32) -> Result<Cgroup> {
        let hierarchies = Hierarchies::of_this_node()?;
        let read = |file: String| {
            let table = fs::read_to_string(&file).doing(|| format!("reading {file}"))?;
            Ok(hierarchies.folders_in(&table))
        };
        // In a hierarchy that its maker does not know it is where it was born: with us.
        let ours = read("/proc/self/cgroup".into())?;
        let mut folders = read(format!("/proc/{pid}/cgroup"))?;
        folders.retain(|folder| !ours.contains(folder));
        if folders.is_empty() {
            return Err(Error::Refused(format!("process {pid} is in no cgroup of its own")));
        }
        Ok(Cgroup::locate(Locator { folders, unit: None }))
    }

    pub fn locator(&self) -> &Locator {
        &self.locator
    }

    /// The group's folder in the hierarchy of this v1 controller, or the v2 group.
    pub fn folder(&self, controller: &str) -> Option<&Path> {
        let mut folders = self.locator.folders.iter();
        let holds = |f: &&Folder| f.is_v2() || f.controllers.iter().any(|c| c == controller);
        folders.find(holds).map(|f| f.path.as_path())
    }

    /// The file that tells the group's memory limit, whatever becomes of it; `None` without a
    /// memory controller.
    pub fn memory_limit(&self) -> Option<File> {
        let name = if self.is_v2() { "memory.max" } else { "memory.limit_in_bytes" };
        File::open(self.folder("memory")?.join(name)).ok()
    }

    /// The group is one of the unified hierarchy.
    pub fn is_v2(&self) -> bool {
        self.locator.folders.iter().any(Folder::is_v2)
    }

    /// Moves a process in, with all its threads.
    pub fn add(&self, pid: u32) -> Result<()> {
        for folder in &self.locator.folders {
            write(&folder.path.join("cgroup.procs"), &pid.to_string())
                .doing(|| format!("moving process {pid} into {}", folder.path.display()))?;
        }
        self.release_placeholder();
        Ok(())
    }

    /// Changes what is named and leaves the rest. Devices stay as they were: whoever updates a limit sends the rules of
    /// the spec along, without those that every container has, and means nothing by it (runc 1.5.2 `update.go`,
    /// `SkipDevices`).
    pub fn update(&self, resources: &LinuxResources) -> Result<()> {
        let resources = &self.whole_bandwidth(resources)?;
        if let Some(unit) = &self.locator.unit {
            systemd::update(unit, Hierarchies::of_this_node()?, resources)?;
        }
        if self.is_v2() {
            self.apply(&v2::settings(resources)?)?;
        } else {
            let held = |c: &str| self.folder(c).is_some();
            self.apply(&v1::settings(resources, held)?)?;
        }
        Ok(())
    }

    /// Quota and period are one value in v2 and for systemd: the half that is not named is as it was
    /// (runc `update.go`: "leave the unset parameter at the old value").
    fn whole_bandwidth(&self, resources: &LinuxResources) -> Result<LinuxResources> {
        let mut whole = resources.clone();
        let (Some(cpu), Some(folder)) = (whole.cpu_mut(), self.folder("cpu")) else {
            return Ok(whole);
        };
        let (has_quota, has_period) =
            (cpu.quota().is_some_and(|q| q != 0), cpu.period().is_some_and(|p| p != 0));
        let apart = !self.is_v2() && self.locator.unit.is_none();
        if apart || has_quota == has_period {
            return Ok(whole);
        }
        let read = |name: &str| {
            let file = folder.join(name);
            fs::read_to_string(&file).doing(|| format!("reading {}", file.display()))
        };
        let now = match self.is_v2() {
            true => read("cpu.max")?,
            false => read("cpu.cfs_quota_us")? + " " + &read("cpu.cfs_period_us")?,
        };
        let (quota, period) = bandwidth(&now);
        if has_quota {
            cpu.set_period(period);
        } else {
            cpu.set_quota(quota);
        }
        Ok(whole)
    }

    /// Removes the groups with their children. Gone already is done.
    pub fn delete(&self) -> Result<()> {
        self.release_placeholder();
        if let Some(unit) = &self.locator.unit {
            systemd::stop(unit);
        }
        let mut failed = Ok(());
        for folder in &self.locator.folders {
            // One that does not go must not keep the others.
            failed = failed.and(kill::remove_tree(&folder.path));
        }
        failed
    }

    pub(crate) fn entrance(&self) -> Result<Entrance> {
        let open = |path: &Path, flags| {
            rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
                .doing(|| format!("opening {}", path.display()))
        };
        match self.locator.folders.iter().find(|f| f.is_v2()) {
            Some(folder) => Ok(Entrance::V2(open(&folder.path, OFlags::PATH | OFlags::DIRECTORY)?)),
            None => {
                let door =
                    |f: &Folder| f.path.join(if f.is_beside() { "cgroup.procs" } else { "tasks" });
                let opened = self.locator.folders.iter().map(|f| open(&door(f), OFlags::WRONLY));
                Ok(Entrance::V1(opened.collect::<Result<_>>()?))
            }
        }
    }

    /// The guest is born: nothing else has to hold the group as soon as it is in there. In v1 it enters by itself, some
    /// time after its birth, and a scope that nobody is in until then, systemd removes.
    pub(crate) fn hand_over(&self, guest: u32) -> Result<()> {
        let held = self.placeholder.lock().is_ok_and(|held| held.is_some());
        if !held || self.is_v2() {
            self.release_placeholder();
            return Ok(());
        }
        match self.add(guest) {
            // It has ended already, and says why on the wire.
            Err(error) if error.errno() == Some(libc::ESRCH) => {
                self.release_placeholder();
                Ok(())
            }
            added => added,
        }
    }

    pub(crate) fn release_placeholder(&self) {
        if let Ok(mut held) = self.placeholder.lock() {
            *held = None;
        }
    }

    fn make(&self, hierarchies: &Hierarchies) -> Result<()> {
        for folder in &self.locator.folders {
            match fs::create_dir(&folder.path) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::NotFound => fs::create_dir_all(&folder.path)
                    .doing(|| format!("making the cgroup {}", folder.path.display()))?,
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => {
                    return Err(e).doing(|| format!("making the cgroup {}", folder.path.display()));
                }
            }
            match hierarchies {
                Hierarchies::Unified(root) => v2::enable_controllers(root, &folder.path)?,
                Hierarchies::Legacy(_) if folder.controllers.iter().any(|c| c == "cpuset") => {
                    v1::inherit_cpuset(&folder.path)?;
                }
                Hierarchies::Legacy(_) => {}
            }
        }
        Ok(())
    }

    fn apply(&self, settings: &[Setting]) -> Result<()> {
        Setting::write_all(settings, |setting| {
            self.folder(setting.controller).ok_or_else(|| {
                Error::Refused(format!(
                    "{} needs the cgroup controller {}, which this node does not have",
                    setting.field, setting.controller
                ))
            })
        })
    }

    fn limit_devices(&self, rules: &[LinuxDeviceCgroup]) -> Result<()> {
        if rules.is_empty() {
            return Ok(());
        }
        match self.folder("devices") {
            Some(folder) if self.is_v2() => devices::attach(folder, rules),
            Some(folder) => devices::write_v1(folder, rules),
            None => Err(Error::Refused(
                "linux.resources.devices needs the cgroup controller devices, which this node \
                 does not have"
                    .into(),
            )),
        }
    }
}

fn settings_for(hierarchies: &Hierarchies, resources: &LinuxResources) -> Result<Vec<Setting>> {
    match hierarchies {
        Hierarchies::Unified(_) => v2::settings(resources),
        Hierarchies::Legacy(all) => {
            let mounted = |c: &str| all.iter().any(|h| h.controllers.iter().any(|n| n == c));
            v1::settings(resources, mounted)
        }
    }
}

impl Folder {
    fn is_v2(&self) -> bool {
        self.controllers.is_empty()
    }

    /// Of the v2 hierarchy beside those of v1.
    fn is_beside(&self) -> bool {
        self.controllers == [hierarchy::BESIDE]
    }
}

impl Entrance {
    pub(crate) fn folder(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Entrance::V2(folder) => Some(folder.as_fd()),
            Entrance::V1(_) => None,
        }
    }

    pub(crate) fn tasks(&self) -> &[OwnedFd] {
        match self {
            Entrance::V2(_) => &[],
            Entrance::V1(tasks) => tasks,
        }
    }
}

/// Quota and period, where `max` is no limit.
fn bandwidth(text: &str) -> (Option<i64>, Option<u64>) {
    let mut words = text.split_whitespace();
    let quota = words.next().map(|word| word.parse().unwrap_or(-1));
    (quota, words.next().and_then(|word| word.parse().ok()))
}

/// One write, as control files want it: never created, never truncated.
fn write(path: &Path, value: &str) -> rustix::io::Result<()> {
    let file = rustix::fs::open(path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::retry_on_intr(|| rustix::io::write(&file, value.as_bytes())).map(drop)
}
