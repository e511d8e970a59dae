//! What can be wrong with a cache, for whoever has to repair it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    #[error("can't open the cache folder {}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("the cache folder {} {why}: it must belong to root alone (mode 0700)", path.display())]
    Untrusted { path: PathBuf, why: String },
    #[error("can't read {} in the cache", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("can't write {} in the cache", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("no space is left for {} in the cache: free some, or lower cache_max_bytes", path.display())]
    Full { path: PathBuf },
    #[error("{id:?} is no id of an engine")]
    EngineId { id: String },
    #[error("{text:?} is no SHA-256 digest (64 hexadecimal digits)")]
    Digest { text: String },
    #[error("the compiler left {what} instead of code")]
    NotCode { what: &'static str },
}

/// Filling failed in the cache or in the compiler.
#[derive(Debug, Error)]
pub enum FillError<E> {
    #[error(transparent)]
    Cache(#[from] Error),
    #[error(transparent)]
    Compile(E),
}

impl Error {
    pub(crate) fn write(path: PathBuf, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full { path },
            _ => Error::Write { path, source },
        }
    }
}
