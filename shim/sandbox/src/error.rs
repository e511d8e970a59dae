//! What goes wrong: what was being done and to what, or what cannot be honoured.

use std::error::Error as _;
use std::io;

/// A step that failed. Nobody branches on more than the errno; people read the sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel said no.
    #[error("{doing}")]
    System { doing: String, source: io::Error },
    /// A field of the spec which cannot be honoured here; says which and what to do about it.
    #[error("{0}")]
    Refused(String),
    /// The other side of the wire said why it gave up.
    #[error("{0}")]
    Peer(String),
    /// A hook failed; what it wrote to stderr is in the sentence.
    #[error("{0}")]
    Hook(String),
}

impl Error {
    /// The whole chain in one line, as a person reads it.
    pub fn sentence(&self) -> String {
        let mut line = self.to_string();
        let mut source = self.source();
        while let Some(cause) = source {
            line.push_str(": ");
            line.push_str(&cause.to_string());
            source = cause.source();
        }
        line
    }

    /// The kernel's error number, if it was the kernel who said no.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::System { source, .. } => source.raw_os_error(),
            Error::Refused(_) | Error::Peer(_) | Error::Hook(_) => None,
        }
    }
}

/// Says what was being done when the kernel said no.
pub(crate) trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Error> {
        self.map_err(|source| Error::System { doing: what(), source: source.into() })
    }
}
