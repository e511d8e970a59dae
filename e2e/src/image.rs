//! Packs images as OCI layouts in a tar file, in every form that people use, and broken on purpose.

use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use wherry_layout::{Layer, Member};

pub use wherry_layout::sha256;
pub(crate) use wherry_layout::{Blobs, CONFIG, INDEX, LAYER};

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
        let member = Member::only(descriptor, &self.reference);
        let told = || tar.display().to_string();
        let file = BufWriter::new(fs::File::create(tar).with_context(told)?);
        blobs.write_archive(file, &[member], architecture()).with_context(told)?;
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
                (blobs.index(&[wasi, linux]), chain_id)
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
    wherry_layout::architecture(std::env::consts::ARCH)
}

/// A layer with the files, executable, the folders above them, and links beside them.
fn layer(files: &[(String, Vec<u8>)], links: &[(String, String)]) -> Result<Vec<u8>> {
    let mut layer = Layer::default();
    for (path, content) in files {
        layer.file(path, 0o755, content).with_context(|| path.clone())?;
    }
    for (path, target) in links {
        layer.link(path, target).with_context(|| path.clone())?;
    }
    Ok(layer.bytes()?)
}

#[cfg(test)]
mod tests {
    use wherry_layout::MANIFEST;

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
