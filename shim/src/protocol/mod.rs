//! containerd's side of the shim: the actions of the program and the Task service.

pub(crate) mod bootstrap;
pub(crate) mod delete;
pub(crate) mod info;
pub(crate) mod messages;
pub(crate) mod service;
pub(crate) mod socket;
pub(crate) mod start;
