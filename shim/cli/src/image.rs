//! `wherry image`: a program as an image, in a tar file that everybody imports: `ctr images import`, `docker load`,
//! `skopeo copy oci-archive:…`.
//!
//! It is an OCI layout ("image-layout.md" of the image spec) of one layer with one file. The file is the same for all
//! processors, so there is an image for each that nodes have, all of the same layer: any containerd and any Docker
//! finds its own, without being told of a platform. Nothing in it tells the time: the same program is the same image.

use anyhow::{Context, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wherry_core::image::{Kind, PREFIX};

use crate::args::Image;
use crate::inspect;

const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

pub(crate) fn run(what: &Image) -> anyhow::Result<()> {
    let file = what.file.display();
    let program = inspect::read(&what.file).with_context(|| format!("can't read {file}"))?;
    let kind = Kind::of(&program[..program.len().min(PREFIX)]);
    if let Some(why) = kind.refusal() {
        bail!("{file} {why}");
    }
    let name = what.file.file_name().context("the program has no name")?.to_string_lossy();
    let layout = pack(&name, &program, &reference(&what.name)?)?;
    std::fs::write(&what.out, layout).with_context(|| format!("can't write {}", what.out.display()))
}

/// As containerd and Docker keep it: with a registry and with a tag.
fn reference(name: &str) -> anyhow::Result<String> {
    let (first, rest) = name.split_once('/').unwrap_or(("", name));
    let is_registry = first.contains(['.', ':']) || first == "localhost";
    let name = match (is_registry, first) {
        (true, _) => name.to_owned(),
        (false, "") => format!("docker.io/library/{rest}"),
        (false, _) => format!("docker.io/{name}"),
    };
    let last = name.rsplit('/').next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/:".contains(c);
    let (path, tag) = last.split_once(':').unwrap_or((last, "latest"));
    let below = &name[..name.len() - last.len()];
    if path.is_empty() || tag.is_empty() || !below.chars().chain(path.chars()).all(plain) {
        bail!("{name:?} is no name of an image: write it as registry.example/hello:1");
    }
    Ok(format!("{below}{path}:{tag}"))
}

fn pack(name: &str, program: &[u8], reference: &str) -> anyhow::Result<Vec<u8>> {
    let mut blobs = Blobs::default();
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, name, program)?;
    let layer = blobs.add("application/vnd.oci.image.layer.v1.tar", layer.into_inner()?);
    let image = |blobs: &mut Blobs, architecture: &str| {
        let config = json!({
            "os": "linux", "architecture": architecture,
            "config": { "Entrypoint": [format!("/{name}")], "Env": ["PATH=/"] },
            "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
        });
        let config = blobs.json("application/vnd.oci.image.config.v1+json", &config);
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer],
        });
        let mut told = blobs.json(kind, &manifest);
        told["platform"] = json!({ "os": "linux", "architecture": architecture });
        (told, config)
    };
    let images = ARCHITECTURES.map(|architecture| image(&mut blobs, architecture));
    let kind = "application/vnd.oci.image.index.v1+json";
    let manifests: Vec<&Value> = images.iter().map(|(manifest, _)| manifest).collect();
    let index = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": manifests });
    let mut index = blobs.json(kind, &index);
    let tag = reference.rsplit(':').next().unwrap_or_default();
    index["annotations"] = json!({
        "io.containerd.image.name": reference, "org.opencontainers.image.ref.name": tag,
    });
    // What Docker reads that keeps images itself: those of one processor.
    let own = usize::from(std::env::consts::ARCH == "aarch64");
    let archive = json!([{
        "Config": path(&images[own].1), "RepoTags": [reference], "Layers": [path(&layer)],
    }]);
    let index = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": [index] });
    let mut layout = tar::Builder::new(Vec::new());
    append(&mut layout, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    append(&mut layout, "index.json", index.to_string().as_bytes())?;
    append(&mut layout, "manifest.json", archive.to_string().as_bytes())?;
    for (hash, content) in &blobs.0 {
        append(&mut layout, &format!("blobs/sha256/{hash}"), content)?;
    }
    Ok(layout.into_inner()?)
}

/// Where a descriptor's blob is in the layout.
fn path(descriptor: &Value) -> String {
    let digest = descriptor["digest"].as_str().unwrap_or_default();
    format!("blobs/{}", digest.replace(':', "/"))
}

fn append(tar: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8]) -> std::io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    tar.append_data(&mut header, name, content)
}

/// By their hashes.
#[derive(Default)]
struct Blobs(Vec<(String, Vec<u8>)>);

impl Blobs {
    /// The descriptor of what is added.
    fn add(&mut self, kind: &str, content: Vec<u8>) -> Value {
        let hash: String = Sha256::digest(&content).iter().map(|b| format!("{b:02x}")).collect();
        let told = json!({
            "mediaType": kind, "digest": format!("sha256:{hash}"), "size": content.len(),
        });
        self.0.push((hash, content));
        told
    }

    fn json(&mut self, kind: &str, value: &Value) -> Value {
        self.add(kind, value.to_string().into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str) -> String {
        reference(name).unwrap_or_else(|error| format!("refused: {error}"))
    }

    #[test]
    fn names_are_those_that_containerd_keeps() {
        assert_eq!(told("registry.example/hello:1"), "registry.example/hello:1");
        assert_eq!(told("localhost:5000/a/b"), "localhost:5000/a/b:latest");
        assert_eq!(told("hello"), "docker.io/library/hello:latest");
        assert_eq!(told("me/hello:v2"), "docker.io/me/hello:v2");
        assert!(told("Hello").starts_with("refused: "));
        assert!(told("registry.example/").starts_with("refused: "));
    }

    #[test]
    fn the_same_program_is_the_same_image() {
        let pack = |program: &[u8]| pack("a.wasm", program, "x.example/a:1").expect("packed");
        assert_eq!(pack(b"\0asm"), pack(b"\0asm"));
        assert_ne!(pack(b"\0asm"), pack(b"\0asn"));
    }

    /// Every blob is where its digest says, and every digest that is named is there.
    #[test]
    fn the_layout_is_whole() {
        let layout = pack("a.wasm", b"\0asm", "x.example/a:1").expect("packed");
        let mut files = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(layout.as_slice()).entries().expect("a tar") {
            let mut entry = entry.expect("an entry");
            let name = entry.path().expect("a name").display().to_string();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).expect("content");
            files.insert(name, content);
        }
        let mut named = 0;
        for (name, content) in &files {
            let text = String::from_utf8_lossy(content);
            for (at, _) in text.match_indices("sha256:") {
                let hash = &text[at + 7..at + 71];
                assert!(files.contains_key(&format!("blobs/sha256/{hash}")), "{hash} of {name}");
                named += 1;
            }
            if let Some(hash) = name.strip_prefix("blobs/sha256/") {
                let found: String =
                    Sha256::digest(content).iter().map(|b| format!("{b:02x}")).collect();
                assert_eq!(hash, found);
            }
        }
        // The index; its two images; of each a config, a layer, and the layer's id.
        assert_eq!(named, 1 + 2 + 2 * 3);
    }
}
