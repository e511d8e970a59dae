//! containerd's side of the shim: the actions of the program, the Task service and the Sandbox service.

pub(crate) mod bootstrap;
pub(crate) mod connections;
pub(crate) mod delete;
pub(crate) mod info;
pub(crate) mod messages;
pub(crate) mod sandbox;
pub(crate) mod service;
pub(crate) mod socket;
pub(crate) mod start;
