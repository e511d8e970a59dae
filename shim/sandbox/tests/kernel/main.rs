//! Sandboxes entered for real: as root, in namespaces and cgroups of their own.

mod confinement;
mod files;
mod groups;
mod identity;
mod idmap;
mod jail;
mod lifecycle;
mod pods;
mod rig;
