//! `wherry image`: a program as an image, in a tar file that everybody imports: `ctr images import`, `docker load`,
//! `skopeo copy oci-archive:…`.
//!
//! It is an OCI layout ("image-layout.md" of the image spec) of one layer with one file. The file is the same for all
//! processors, so there is an image for each that nodes have, all of the same layer: any containerd and any Docker
//! finds its own, without being told of a platform. Nothing in it tells the time: the same program is the same image.

use anyhow::{Context, bail};
use serde_json::json;
use wherry_core::image::{Kind, PREFIX};
use wherry_layout::{Blobs, CONFIG, LAYER, Layer, Member};

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
    let mut layer = Layer::default();
    layer.file(name, 0o755, program)?;
    let layer = blobs.add(LAYER, layer.bytes()?);
    let images = ARCHITECTURES.map(|architecture| {
        let config = json!({
            "os": "linux", "architecture": architecture,
            "config": { "Entrypoint": [format!("/{name}")], "Env": ["PATH=/"] },
            "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
        });
        let config = blobs.json(CONFIG, &config);
        let mut manifest = blobs.manifest(config, std::slice::from_ref(&layer));
        manifest["platform"] = json!({ "os": "linux", "architecture": architecture });
        manifest
    });
    let member = Member::only(blobs.index(&images), reference);
    let (mut layout, own) = (Vec::new(), wherry_layout::architecture(std::env::consts::ARCH));
    blobs.write_archive(&mut layout, &[member], own)?;
    Ok(layout)
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
                assert_eq!(hash, wherry_layout::sha256(content));
            }
        }
        // The index; its two images; of each a config, a layer, and the layer's id.
        assert_eq!(named, 1 + 2 + 2 * 3);
    }
}
