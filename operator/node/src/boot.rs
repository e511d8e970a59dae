//! The guard of a node that boots in the midst of the work: timers of systemd's are gone then, and without a runtime no
//! Job comes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::durable;

const UNITS: &str = "/etc/systemd/system";
const NAME: &str = "wherry-node-guard-boot.service";

fn unit() -> PathBuf {
    Path::new(UNITS).join(NAME)
}

/// What has systemd start it (systemd.unit(5), `.wants/`).
fn wanted() -> PathBuf {
    Path::new(UNITS).join("multi-user.target.wants").join(NAME)
}

/// Has the guard of this journal started at the next boot, which gives whoever comes then so long for the proof.
pub(crate) fn arm(program: &str, id: &str, after: Duration) -> Result<()> {
    let text = format!(
        "[Unit]\nDescription=puts containerd's configuration back, unless Wherry is proved to run\n\
         [Service]\nExecStart={program} guard --of {id} --after {}\n",
        after.as_secs()
    );
    durable::write(&unit(), text.as_bytes(), 0o644)?;
    durable::folders(Path::new(&wanted()).parent().unwrap_or(Path::new(UNITS)))?;
    durable::link(&wanted(), &unit())
}

pub(crate) fn disarm() -> Result<()> {
    durable::remove(&wanted())?;
    durable::remove(&unit())
}
