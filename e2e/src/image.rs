//! Packs images as OCI layouts in a tar file, in every form that people use, and broken on purpose.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const OCI_LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
const WASM_LAYER: &str = "application/wasm";

/// How Wasm is wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An ordinary image of this machine's platform with the program as a file.
    Linux,
    /// The same, of platform `wasi/wasm`.
    Wasi,
    /// An image whose one layer is the module itself, with an ordinary config.
    WasmLayer,
    /// The CNCF Wasm OCI artifact.
    Artifact,
    /// An index of a [`Form::Linux`] and a [`Form::Wasi`] image.
    Index,
}

/// An image to be packed.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub reference: String,
    pub form: Form,
    /// Path in the image, content. The first is the program.
    pub files: Vec<(String, Vec<u8>)>,
    /// Path in the image, where the symbolic link leads.
    pub links: Vec<(String, String)>,
    pub entrypoint: Vec<String>,
    pub env: Vec<String>,
    pub workdir: Option<String>,
}

/// A packed image.
#[derive(Clone, Debug)]
pub struct Image {
    pub reference: String,
    pub tar: PathBuf,
    pub entrypoint: Vec<String>,
    pub env: Vec<String>,
    pub form: Form,
    /// containerd's name of the unpacked layers; empty if there is nothing to unpack.
    pub chain_id: String,
}

impl Recipe {
    /// An image that holds one program at `/<name>`.
    pub fn program(reference: &str, name: &str, content: Vec<u8>) -> Recipe {
        Recipe {
            reference: reference.to_string(),
            form: Form::Linux,
            files: vec![(name.to_string(), content)],
            links: Vec::new(),
            entrypoint: vec![format!("/{name}")],
            env: vec!["PATH=/bin:/".to_string()],
            workdir: None,
        }
    }

    pub fn form(mut self, form: Form) -> Recipe {
        self.form = form;
        self
    }

    pub fn file(mut self, path: &str, content: &[u8]) -> Recipe {
        self.files.push((path.to_string(), content.to_vec()));
        self
    }

    pub fn link(mut self, path: &str, target: &str) -> Recipe {
        self.links.push((path.to_string(), target.to_string()));
        self
    }

    pub fn entrypoint(mut self, words: &[&str]) -> Recipe {
        self.entrypoint = words.iter().map(|word| word.to_string()).collect();
        self
    }

    pub fn pack(self, tar: &Path) -> Result<Image> {
        let mut blobs = Blobs::default();
        let (descriptor, chain_id) = self.add_to(&mut blobs)?;
        blobs.write(tar, descriptor, &self.reference)?;
        Ok(Image {
            reference: self.reference,
            tar: tar.to_path_buf(),
            entrypoint: self.entrypoint,
            env: self.env,
            form: self.form,
            chain_id,
        })
    }

    /// What describes the image among these blobs, and its chain id.
    pub(crate) fn add_to(&self, blobs: &mut Blobs) -> Result<(Value, String)> {
        Ok(match self.form {
            Form::Linux => self.ordinary(blobs, "linux", architecture())?,
            Form::Wasi => self.ordinary(blobs, "wasi", "wasm")?,
            Form::WasmLayer => self.wasm_layer(blobs),
            Form::Artifact => self.artifact(blobs),
            Form::Index => {
                let (linux, chain_id) = self.ordinary(blobs, "linux", architecture())?;
                let (wasi, _) = self.ordinary(blobs, "wasi", "wasm")?;
                let index = json!({
                    "schemaVersion": 2, "mediaType": INDEX, "manifests": [wasi, linux]
                });
                (blobs.json(INDEX, &index), chain_id)
            }
        })
    }

    fn config(&self, os: &str, architecture: &str, diff_ids: &[String]) -> Value {
        let mut config = json!({
            "os": os,
            "architecture": architecture,
            "config": { "Entrypoint": self.entrypoint, "Env": self.env },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "history": []
        });
        if let Some(workdir) = &self.workdir {
            config["config"]["WorkingDir"] = json!(workdir);
        }
        config
    }

    fn ordinary(&self, blobs: &mut Blobs, os: &str, architecture: &str) -> Result<(Value, String)> {
        let layer = blobs.add(LAYER, layer(&self.files, &self.links)?);
        let diff_id = layer["digest"].as_str().unwrap_or_default().to_string();
        let config = self.config(os, architecture, std::slice::from_ref(&diff_id));
        let config = blobs.json(CONFIG, &config);
        let mut manifest = blobs.manifest(config, &[layer]);
        manifest["platform"] = json!({ "os": os, "architecture": architecture });
        // The chain id of a single layer is its diff id.
        Ok((manifest, diff_id))
    }

    fn wasm_layer(&self, blobs: &mut Blobs) -> (Value, String) {
        let layer = blobs.add(WASM_LAYER, self.files[0].1.clone());
        // A layer that nobody unpacks must not be among the diff ids: containerd counts both and compares.
        let config = blobs.json(CONFIG, &self.config("wasi", "wasm", &[]));
        (blobs.manifest(config, &[layer]), String::new())
    }

    fn artifact(&self, blobs: &mut Blobs) -> (Value, String) {
        let layer = blobs.add(WASM_LAYER, self.files[0].1.clone());
        let component = self.files[0].1.get(4..8) == Some(&[0x0d, 0, 1, 0]);
        let mut config = json!({
            "created": "2026-01-01T00:00:00Z",
            "architecture": "wasm",
            "os": if component { "wasip2" } else { "wasip1" },
            "layerDigests": [layer["digest"]]
        });
        if component {
            config["component"] = json!({ "exports": [], "imports": [] });
        }
        let config = blobs.json(WASM_CONFIG, &config);
        (blobs.manifest(config, &[layer]), String::new())
    }
}

/// As OCI names this machine's architecture.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A layer with the files, executable, the folders above them, and links beside them.
fn layer(files: &[(String, Vec<u8>)], links: &[(String, String)]) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut folders = std::collections::BTreeSet::new();
    for (path, content) in files {
        let parents: Vec<_> = Path::new(path).ancestors().skip(1).collect();
        for parent in parents.into_iter().rev().filter(|parent| *parent != Path::new("")) {
            if folders.insert(parent.to_path_buf()) {
                append(&mut tar, parent, tar::EntryType::Directory, &[])?;
            }
        }
        append(&mut tar, Path::new(path), tar::EntryType::Regular, content)?;
    }
    for (path, target) in links {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        tar.append_link(&mut header, path, target).with_context(|| path.clone())?;
    }
    Ok(tar.into_inner()?)
}

fn append(
    tar: &mut tar::Builder<Vec<u8>>,
    path: &Path,
    kind: tar::EntryType,
    content: &[u8],
) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    tar.append_data(&mut header, path, content).with_context(|| path.display().to_string())
}

/// The content of an OCI layout.
#[derive(Default)]
pub(crate) struct Blobs(Vec<(String, Vec<u8>)>);

impl Blobs {
    pub(crate) fn add(&mut self, media_type: &str, content: Vec<u8>) -> Value {
        let hash = sha256(&content);
        let descriptor = json!({
            "mediaType": media_type, "digest": format!("sha256:{hash}"), "size": content.len()
        });
        if !self.0.iter().any(|(known, _)| *known == hash) {
            self.0.push((hash, content));
        }
        descriptor
    }

    pub(crate) fn json(&mut self, media_type: &str, value: &Value) -> Value {
        self.add(media_type, value.to_string().into_bytes())
    }

    pub(crate) fn manifest(&mut self, config: Value, layers: &[Value]) -> Value {
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers
        });
        self.json(MANIFEST, &manifest)
    }

    /// Writes a layout as a folder, with an image for each of the descriptors; whoever reads it meanwhile sees the
    /// index of before or of after.
    pub(crate) fn write_folder(&self, folder: &Path, images: &[Value]) -> Result<()> {
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).with_context(|| blobs.display().to_string())?;
        for (hash, content) in &self.0 {
            fs::write(blobs.join(hash), content)?;
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": images });
        fs::write(folder.join("oci-layout"), OCI_LAYOUT)?;
        fs::write(folder.join("index.new"), index.to_string())?;
        fs::rename(folder.join("index.new"), folder.join("index.json"))?;
        Ok(())
    }

    fn find(&self, descriptor: &Value) -> Option<Value> {
        let wanted = descriptor["digest"].as_str()?.strip_prefix("sha256:")?;
        let (_, content) = self.0.iter().find(|(hash, _)| hash == wanted)?;
        serde_json::from_slice(content).ok()
    }

    /// What Docker without the containerd image store reads of a tar file, and `docker save` writes beside a
    /// layout: where the config and the layers of the image are. Of an index, the last image.
    fn archive(&self, descriptor: &Value, reference: &str) -> Option<Value> {
        let mut manifest = self.find(descriptor)?;
        if let Some(last) = manifest["manifests"].as_array().and_then(|all| all.last()) {
            manifest = self.find(last)?;
        }
        let path =
            |of: &Value| of["digest"].as_str().map(|at| format!("blobs/{}", at.replace(':', "/")));
        let layers: Option<Vec<String>> = manifest["layers"].as_array()?.iter().map(path).collect();
        Some(
            json!([{ "Config": path(&manifest["config"])?, "RepoTags": [reference], "Layers": layers? }]),
        )
    }

    fn write(&self, path: &Path, mut descriptor: Value, reference: &str) -> Result<()> {
        let archive =
            self.archive(&descriptor, reference).context("an image without a manifest")?;
        let tag = reference.rsplit(':').next().unwrap_or(reference);
        descriptor["annotations"] = json!({
            "io.containerd.image.name": reference, "org.opencontainers.image.ref.name": tag
        });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [descriptor] });
        let mut tar = tar::Builder::new(Vec::new());
        let regular = tar::EntryType::Regular;
        append(&mut tar, Path::new("oci-layout"), regular, OCI_LAYOUT.as_bytes())?;
        append(&mut tar, Path::new("index.json"), regular, index.to_string().as_bytes())?;
        append(&mut tar, Path::new("manifest.json"), regular, archive.to_string().as_bytes())?;
        for (hash, content) in &self.0 {
            append(&mut tar, &Path::new("blobs/sha256").join(hash), regular, content)?;
        }
        fs::write(path, tar.into_inner()?).with_context(|| path.display().to_string())
    }
}

pub fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(form: Form, media_types: &[&str], chained: bool) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let recipe = Recipe::program("test/app:1", "bin/app.wasm", b"\0asm\x0d\0\x01\0".to_vec());
        let image = recipe.form(form).pack(&folder.path().join("image.tar")).expect("packed");
        let tar = fs::read(&image.tar).expect("written");
        let mut seen = Vec::new();
        for entry in tar::Archive::new(tar.as_slice()).entries().expect("a tar") {
            let mut text = String::new();
            let mut entry = entry.expect("an entry");
            if std::io::Read::read_to_string(&mut entry, &mut text).is_ok() {
                let value: Value = serde_json::from_str(&text).unwrap_or_default();
                seen.extend(value["mediaType"].as_str().map(str::to_string));
            }
        }
        seen.sort();
        assert_eq!(seen, media_types, "{form:?}");
        assert_eq!(!image.chain_id.is_empty(), chained, "{form:?}");
    }

    #[test]
    fn each_form_has_its_documents() {
        check(Form::Linux, &[INDEX, MANIFEST], true);
        check(Form::Wasi, &[INDEX, MANIFEST], true);
        check(Form::WasmLayer, &[INDEX, MANIFEST], false);
        check(Form::Artifact, &[INDEX, MANIFEST], false);
        check(Form::Index, &[INDEX, INDEX, MANIFEST, MANIFEST], true);
    }
}
