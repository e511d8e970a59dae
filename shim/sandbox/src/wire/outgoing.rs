//! The setup on its way, for a sender that has more to do than to wait for one guest.

use rustix::net::SendFlags;

use super::{Channel, Setup, SetupFds, ToGuest, frame};
use crate::Result;

/// [`ToGuest::Setup`], and what of it was sent already.
#[derive(Debug)]
pub struct Outgoing {
    frame: Vec<u8>,
    sent: usize,
    /// Until the first byte takes them along.
    fds: Option<SetupFds>,
}

impl Outgoing {
    /// [`ToGuest::Setup`] with its descriptors.
    pub fn setup(mut setup: Setup, fds: SetupFds) -> Result<Outgoing> {
        setup.memory = fds.memory.is_some();
        let frame = frame(&ToGuest::Setup(Box::new(setup)))?;
        Ok(Outgoing { frame, sent: 0, fds: Some(fds) })
    }

    /// Sends what the socket takes now. Whether that was all of it. Never blocks.
    pub fn try_send(&mut self, channel: &Channel) -> Result<bool> {
        while self.sent < self.frame.len() {
            let fds = self.fds.as_ref().map(SetupFds::all).unwrap_or_default();
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match channel.send_some(&self.frame[self.sent..], &fds, flags)? {
                0 => return Ok(false),
                n => self.sent += n,
            }
            self.fds = None;
        }
        Ok(true)
    }
}
