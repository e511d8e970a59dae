//! One more process in a container that runs.
//!
//! An exec brings a `process` of its own and takes everything else from its container: namespaces
//! by joining those of the init process, mounts and devices with them, the cgroup, the system call
//! filter, and the folders a guest may open (runc, `libcontainer/factory_linux.go` and `exec.go`:
//! the same division).

use oci_spec::runtime::{LinuxNamespaceType as Kind, Process};

use super::{Facts, Refusal, capabilities, process, unsupported};
use crate::plan::{Exec, Namespace, Plan, Run, Sandbox};

/// Decides everything about a process that is added to the container of `plan`, whose init process
/// is `init` to the shim.
pub fn exec(given: &Process, plan: &Plan, init: u32, facts: &Facts) -> Result<Exec, Refusal> {
    unsupported::check_process(given)?;
    let args = process::args(given)?;
    let env = process::env(given)?;
    let cwd = process::cwd(given)?;
    let program = process::program(&args[0], &env, &cwd)?;
    let of = &plan.sandbox;
    let sandbox = Sandbox {
        namespaces: of.namespaces.iter().map(|n| joined(n.kind, init)).collect(),
        // Made with the container, and there already.
        uid_mappings: vec![],
        gid_mappings: vec![],
        mounts: vec![],
        devices: vec![],
        masked_paths: vec![],
        readonly_paths: vec![],
        hostname: None,
        domainname: None,
        sysctl: std::collections::BTreeMap::new(),
        rlimits: process::rlimits(given)?,
        user: process::user(given)?,
        capabilities: capabilities::of(given),
        no_new_privileges: given.no_new_privileges().unwrap_or(false),
        apparmor_profile: process::apparmor(given, facts)?,
        selinux_label: process::selinux(given, facts)?,
        oom_score_adj: process::oom_score_adj(given)?.or(of.oom_score_adj),
        cwd: cwd.clone().into(),
        ..of.clone()
    };
    let run = Run { args, env, cwd, export: program.export.clone(), ..plan.run.clone() };
    Ok(Exec { program, sandbox, run, terminal: process::terminal(given)? })
}

/// By the folder of the init process, as `nsenter(1)` does.
fn joined(kind: Kind, init: u32) -> Namespace {
    let file = match kind {
        Kind::Mount => "mnt",
        Kind::Network => "net",
        Kind::Cgroup => "cgroup",
        Kind::Uts => "uts",
        Kind::Ipc => "ipc",
        Kind::User => "user",
        Kind::Pid => "pid",
        Kind::Time => "time",
    };
    Namespace { kind, path: Some(format!("/proc/{init}/ns/{file}").into()) }
}
