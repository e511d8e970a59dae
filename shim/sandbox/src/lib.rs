//! The kernel's side of a container: namespaces, mounts, cgroups, privileges.
//!
//! The shim makes a [`cgroup`], mounts the root file system ([`mounts`]) and [`spawn`]s the guest
//! program into namespaces of its own; the guest [`enter`]s the sandbox that the plan describes,
//! step by step in the order the runtime spec and runc prescribe; both talk over the [`wire`].
//! The compiler, which meets hostile input, goes to [`jail`].
//!
//! Nothing here decides anything: a [`wherry_core::plan`] says what to do. What the kernel of
//! this node cannot do is an [`Error`] whose sentence names the field of the OCI spec.
//!
//! This is the only crate with unsafe code.

mod error;
mod idmap;
mod limits;
mod mountinfo;
mod seccomp;
mod sys;

pub mod cgroup;
pub mod enter;

pub mod hooks;
pub mod jail;
pub mod mounts;
pub mod pod;
pub mod process;
pub mod resolve;
pub mod spawn;
pub mod wire;

pub use enter::{Entered, enter};
pub use error::Error;

/// The version of Landlock that this kernel has, 0 without.
pub fn landlock_version() -> i64 {
    sys::landlock::version().max(0)
}

/// What everything here returns.
pub type Result<T> = std::result::Result<T, Error>;
