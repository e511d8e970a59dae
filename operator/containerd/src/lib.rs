//! containerd's configuration on a node of any kind: where it lies, what it comes to, and how a handler gets into it
//! without a setting of anybody else being lost.
//!
//! ```text
//! Node (files, dump, release, distribution) ──► way ──► install / remove ──► Plan: files to write, and what to prove
//! ```
//!
//! What decides is not the version of one file. containerd 1.x replaces the *whole* section of a plugin by that of the
//! last file which has one, and names of plugins and versions of files are matched in 2.x in ways that lose settings
//! silently (`tests/releases.rs` has the table, measured). So: drop-ins where the release merges them, without a header
//! and with the plugin's name of the root file's version; an edit of the one file that counts where it does not.
//!
//! Pure: files and the output of `containerd config dump` come in as text, and text goes out.

mod distribution;
mod edit;
mod effective;
mod host;
mod plan;
mod release;
mod shadow;

pub use distribution::{Distribution, Seen};
pub use edit::{NotEdited, Own, imports as imports_of, version as version_of};
pub use effective::{Cri, Difference, Effective, NotRead, RUNTIME, SHIM};
pub use host::{flag, imported};
pub use plan::{Change, FOLDER, File, Node, Plan, Refusal, Wanted, Way, install, remove, way};
pub use release::Release;
