//! Blobs, and what describes them.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::EntryType;

use crate::layer::append;
use crate::{IMAGE_NAME, INDEX, MANIFEST, REF_NAME};

const OCI_LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// The content of a layout, by the hashes.
#[derive(Clone, Debug, Default)]
pub struct Blobs(Vec<(String, Vec<u8>)>);

/// An image of a layout, by its descriptor and by its whole name, as `registry.example/hello:1`.
#[derive(Clone, Debug)]
pub struct Member {
    pub descriptor: Value,
    pub name: String,
    /// What [`REF_NAME`] says: the tag, or where there are several, the whole name.
    pub reference: String,
}

impl Member {
    /// The only image of a layout, which its tag tells from none.
    pub fn only(descriptor: Value, name: &str) -> Member {
        let tag = name.rsplit(':').next().unwrap_or(name).to_owned();
        Member { descriptor, name: name.to_owned(), reference: tag }
    }

    fn entry(&self) -> Value {
        let mut entry = self.descriptor.clone();
        entry["annotations"] = json!({ IMAGE_NAME: self.name, REF_NAME: self.reference });
        entry
    }
}

impl Blobs {
    /// Adds a blob, and describes it.
    pub fn add(&mut self, media_type: &str, content: Vec<u8>) -> Value {
        let hash = sha256(&content);
        let descriptor = json!({
            "mediaType": media_type, "digest": format!("sha256:{hash}"), "size": content.len()
        });
        if !self.0.iter().any(|(known, _)| *known == hash) {
            self.0.push((hash, content));
        }
        descriptor
    }

    pub fn json(&mut self, media_type: &str, value: &Value) -> Value {
        self.add(media_type, value.to_string().into_bytes())
    }

    /// A manifest of blobs that were added.
    pub fn manifest(&mut self, config: Value, layers: &[Value]) -> Value {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers
        });
        self.json(MANIFEST, &manifest)
    }

    /// An index of manifests that were added.
    pub fn index(&mut self, manifests: &[Value]) -> Value {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        self.json(INDEX, &index)
    }

    /// What a blob says that is JSON.
    pub fn find(&self, descriptor: &Value) -> Option<Value> {
        let wanted = descriptor["digest"].as_str()?.strip_prefix("sha256:")?;
        let (_, content) = self.0.iter().find(|(hash, _)| hash == wanted)?;
        serde_json::from_slice(content).ok()
    }

    /// Writes a layout as a folder, with an image for each of the descriptors; whoever reads it meanwhile sees the
    /// index of before or of after.
    ///
    /// # Errors
    /// The disk's.
    pub fn write_folder(&self, folder: &Path, images: &[Value]) -> Result<()> {
        let told = || format!("can't write the layout {}", folder.display());
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).with_context(told)?;
        for (hash, content) in &self.0 {
            fs::write(blobs.join(hash), content).with_context(told)?;
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": images });
        fs::write(folder.join("oci-layout"), OCI_LAYOUT).with_context(told)?;
        fs::write(folder.join("index.new"), index.to_string()).with_context(told)?;
        fs::rename(folder.join("index.new"), folder.join("index.json")).with_context(told)
    }

    /// As [`Blobs::write_folder`], with the names of the images.
    ///
    /// # Errors
    /// The disk's.
    pub fn write_members(&self, folder: &Path, members: &[Member]) -> Result<()> {
        let entries: Vec<Value> = members.iter().map(Member::entry).collect();
        self.write_folder(folder, &entries)
    }

    /// Writes a layout as an archive, which containerd imports, Docker loads and `skopeo` copies.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_archive(&self, to: impl Write, members: &[Member], own: &str) -> Result<()> {
        let entries: Vec<Value> = members.iter().map(Member::entry).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        let docker: Vec<Value> = members.iter().filter_map(|one| self.docker(one, own)).collect();
        let mut tar = tar::Builder::new(to);
        let mut add = |name: &str, content: &[u8]| {
            append(&mut tar, Path::new(name), EntryType::Regular, 0o755, content)
        };
        add("oci-layout", OCI_LAYOUT.as_bytes())?;
        add("index.json", index.to_string().as_bytes())?;
        add("manifest.json", Value::Array(docker).to_string().as_bytes())?;
        for (hash, content) in &self.0 {
            add(&format!("blobs/sha256/{hash}"), content)?;
        }
        Ok(tar.into_inner()?.flush()?)
    }

    /// What Docker without the containerd image store reads of an archive, and `docker save` writes beside a layout:
    /// where the config and the layers of an image are. Of an index, the image of the architecture `own`, or the first.
    fn docker(&self, member: &Member, own: &str) -> Option<Value> {
        let mut manifest = self.find(&member.descriptor)?;
        if let Some(all) = manifest["manifests"].as_array() {
            let is_own = |one: &&Value| one["platform"]["architecture"] == own;
            manifest = self.find(all.iter().find(is_own).or(all.first())?)?;
        }
        let layers = manifest["layers"].as_array()?.iter().map(path);
        let layers: Option<Vec<String>> = layers.collect();
        Some(json!({
            "Config": path(&manifest["config"])?, "RepoTags": [member.name], "Layers": layers?,
        }))
    }
}

/// Where a descriptor's blob is in a layout.
fn path(descriptor: &Value) -> Option<String> {
    Some(format!("blobs/{}", descriptor["digest"].as_str()?.replace(':', "/")))
}

/// In hexadecimal.
pub fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}
