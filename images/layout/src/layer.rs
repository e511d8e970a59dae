//! A layer: files, folders and links of root's, all from the same moment.

use std::collections::BTreeSet;
use std::io::Result;
use std::path::{Path, PathBuf};

use tar::{Builder, EntryType, Header};

/// A tar file under way.
pub struct Layer {
    tar: Builder<Vec<u8>>,
    folders: BTreeSet<PathBuf>,
}

impl Default for Layer {
    fn default() -> Layer {
        Layer { tar: Builder::new(Vec::new()), folders: BTreeSet::new() }
    }
}

impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Layer").field("folders", &self.folders).finish_non_exhaustive()
    }
}

impl Layer {
    /// A file, and the folders above it that are not there yet.
    ///
    /// # Errors
    /// A path that a tar file can't hold.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        let above: Vec<&Path> = Path::new(path).ancestors().skip(1).collect();
        for folder in above.into_iter().rev().filter(|folder| *folder != Path::new("")) {
            if self.folders.insert(folder.to_path_buf()) {
                append(&mut self.tar, folder, EntryType::Directory, 0o755, &[])?;
            }
        }
        append(&mut self.tar, Path::new(path), EntryType::Regular, mode, content)
    }

    /// A symbolic link.
    ///
    /// # Errors
    /// A path that a tar file can't hold.
    pub fn link(&mut self, path: &str, target: &str) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        self.tar.append_link(&mut header, path, target)
    }

    /// The whole, as the bytes of a tar file.
    ///
    /// # Errors
    /// None that a memory has.
    pub fn bytes(self) -> Result<Vec<u8>> {
        self.tar.into_inner()
    }
}

pub(crate) fn append(
    tar: &mut Builder<impl std::io::Write>,
    path: &Path,
    kind: EntryType,
    mode: u32,
    content: &[u8],
) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    tar.append_data(&mut header, path, content)
}
