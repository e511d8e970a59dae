//! Files, folders and links, with what is in them and who may what: whether a place is as it was.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::image::sha256;

/// By name, what each is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree(BTreeMap<String, String>);

impl Tree {
    /// What is there, under the name `name`. What is mounted below it is not of it.
    pub fn add(&mut self, path: &Path, name: &str) -> Result<()> {
        match path.symlink_metadata() {
            Ok(meta) => self.walk(path, name, meta.dev()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).with_context(|| name.to_owned()),
        }
    }

    fn walk(&mut self, path: &Path, name: &str, device: u64) -> Result<()> {
        let told = || name.to_owned();
        let meta = path.symlink_metadata().with_context(told)?;
        if meta.dev() != device {
            return Ok(());
        }
        let content = if meta.is_symlink() {
            fs::read_link(path).with_context(told)?.display().to_string()
        } else if meta.is_file() {
            sha256(&fs::read(path).with_context(told)?)
        } else {
            String::new()
        };
        if meta.is_dir() {
            for entry in fs::read_dir(path).with_context(told)? {
                let entry = entry.with_context(told)?;
                let below = format!("{name}/{}", entry.file_name().to_string_lossy());
                self.walk(&entry.path(), &below, device)?;
            }
        }
        let (mode, user, group) = (meta.mode(), meta.uid(), meta.gid());
        self.0.insert(name.to_owned(), format!("{mode:o} {user} {group} {content}"));
        Ok(())
    }

    /// The names of what is not the same.
    pub fn difference(&self, other: &Tree) -> Vec<String> {
        let names = self.0.keys().chain(other.0.keys());
        let mut names: Vec<String> =
            names.filter(|name| self.0.get(*name) != other.0.get(*name)).cloned().collect();
        names.sort();
        names.dedup();
        names
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn content_modes_and_links_are_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let tree = || {
            let mut tree = Tree::default();
            tree.add(folder.path(), "t").expect("a tree");
            tree.add(&at("nothing"), "n").expect("nothing");
            tree
        };
        fs::write(at("a"), "1").expect("a file");
        fs::write(at("b"), "1").expect("a file");
        symlink("a", at("l")).expect("a link");
        let before = tree();
        assert_eq!(before, tree());
        fs::write(at("a"), "2").expect("a file");
        fs::set_permissions(at("b"), fs::Permissions::from_mode(0o600)).expect("a mode");
        fs::remove_file(at("l")).expect("a link");
        symlink("b", at("l")).expect("a link");
        fs::create_dir(at("d")).expect("a folder");
        assert_eq!(before.difference(&tree()), ["t/a", "t/b", "t/d", "t/l"]);
    }
}
