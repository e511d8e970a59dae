//! Where our things lie on a node.
//!
//! ```text
//! /opt/wherry/
//!   rev/<digest>/     the programs of one revision; never changed
//!   current           a link to one of these: what containerd starts
//!   installed.json    what was changed on the node, and how it was before
//!   transaction/      only while something is under way: the journal, the guard's program
//! ```

use std::path::Path;

use anyhow::Result;

use crate::durable;

pub(crate) const HOME: &str = "/opt/wherry";
pub(crate) const REVISIONS: &str = "/opt/wherry/rev";
pub(crate) const CURRENT: &str = "/opt/wherry/current";
pub(crate) const TRANSACTION: &str = "/opt/wherry/transaction";
/// What containerd starts: the path stays, whatever the link leads to.
pub(crate) const SHIM: &str = "/opt/wherry/current/containerd-shim-wherry-v1";
/// The shim's compiled code.
const CACHE: &str = "/var/lib/wherry";
/// What shims keep until the next boot.
const RUN: &str = "/run/wherry";

/// What our programs have left where they ran. Nobody runs them any more.
pub(crate) fn sweep() -> Result<()> {
    [CACHE, RUN].into_iter().try_for_each(|folder| durable::remove_tree(Path::new(folder)))
}
