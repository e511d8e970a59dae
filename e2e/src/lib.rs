//! Tests and benchmarks that use only the built programs.
//!
//! A suite starts a private [`containerd::Containerd`] inside a [`place::Place`] (its own mount namespace, with
//! a `/run` and a `/var/lib/wherry` of its own), packs [`image`]s of the [`guests`], runs them as
//! [`task::Task`]s or as a person would with `ctr` and `docker`, and at its end [`leaks`] proves that nothing
//! of it remains. What stands outside (which programs, which versions) is decided by the environment and read
//! in [`rig`].

pub mod cgroups;
pub mod client;
pub mod client_suite;
pub mod cluster;
pub mod collector;
pub mod command;
pub mod containerd;
pub mod cri;
pub mod critest;
pub mod docker;
pub mod exec;
pub mod foreign;
pub mod guests;
pub mod helm;
pub mod http;
pub mod image;
pub mod leaks;
pub mod measure;
pub mod operators;
pub mod pipes;
pub mod place;
pub mod recipes;
pub mod rig;
pub mod spec;
pub mod storm;
pub mod suite;
pub mod task;
pub mod tasks;
pub mod terminal;
pub mod traffic;
pub mod tree;
