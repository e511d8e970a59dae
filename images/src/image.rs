//! What is in an image, and how it is packed.

use std::fs;
use std::io::Write;

use anyhow::{Context, Result, bail};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use wherry_layout::{Blobs, CONFIG, LAYER, Layer, MANIFEST};

use crate::{Order, Programs, known};

/// An image, of layers that change at different times.
#[derive(Debug)]
pub struct Image {
    pub name: &'static str,
    title: &'static str,
    /// Who it runs as, unless somebody says otherwise.
    user: &'static str,
    layers: &'static [&'static [Content]],
}

/// A file of an image.
#[derive(Debug)]
enum Content {
    /// A program of this name, and where it goes.
    Program(&'static str, &'static str),
    /// The same of one that is for every machine.
    Wasm(&'static str, &'static str),
    Text(&'static str, &'static str),
}

use Content::{Program, Text, Wasm};

/// All of a release.
pub const IMAGES: &[Image] = &[
    Image {
        name: "wherry-operator",
        title: "Wherry's operator",
        // Nobody's number on any machine, as distroless images have it.
        user: "65532:65532",
        layers: &[&[Program("wherry-operator", "wherry-operator")]],
    },
    Image {
        name: "wherry-node",
        title: "Wherry for a node: its agent, and the programs that it installs",
        user: "0:0",
        layers: &[
            &[
                Program("containerd-shim-wherry-v1", "programs/containerd-shim-wherry-v1"),
                Program("wherry-guest", "programs/wherry-guest"),
                Program("wherry", "programs/wherry"),
                Wasm("wasmbox.wasm", "programs/wasmbox.wasm"),
            ],
            &[
                Program("wherry-node", "wherry-node"),
                Text("smoke.wat", include_str!("../../operator/node/smoke.wat")),
            ],
        ],
    },
];

impl Image {
    /// The programs in it.
    pub(crate) fn programs(&self) -> impl Iterator<Item = &'static str> {
        self.layers.iter().flat_map(|layer| layer.iter()).filter_map(|content| match content {
            Program(name, _) | Wasm(name, _) => Some(*name),
            Text(..) => None,
        })
    }

    /// An index of the image for each architecture, and behind them what is known of each.
    pub(crate) fn pack(&self, blobs: &mut Blobs, order: &Order) -> Result<Value> {
        let mut manifests = Vec::new();
        for programs in &order.programs {
            let manifest = self.of(blobs, programs, order);
            manifests.push(manifest.with_context(|| programs.architecture.clone())?);
        }
        for (at, programs) in order.programs.iter().enumerate() {
            let known = known::attest(blobs, self, &manifests[at], programs, order)?;
            manifests.push(known);
        }
        Ok(blobs.index(&manifests))
    }

    fn of(&self, blobs: &mut Blobs, programs: &Programs, order: &Order) -> Result<Value> {
        let (mut layers, mut ids) = (Vec::new(), Vec::new());
        for content in self.layers {
            let tar = layer(content, programs)?;
            ids.push(format!("sha256:{}", wherry_layout::sha256(&tar)));
            layers.push(blobs.add(&format!("{LAYER}+gzip"), gzip(&tar)?));
        }
        let entry = self.layers.iter().flat_map(|layer| layer.iter()).find_map(|it| match it {
            Program(name, path) if *name == self.name => Some(format!("/{path}")),
            _ => None,
        });
        let mut config = json!({
            "architecture": programs.architecture, "os": "linux",
            "config": {
                "Entrypoint": [entry], "User": self.user, "Env": ["PATH=/"], "WorkingDir": "/",
                "Labels": self.labels(order),
            },
            "rootfs": { "type": "layers", "diff_ids": ids },
        });
        if let Some(created) = order.epoch.map(known::time) {
            config["created"] = json!(created);
        }
        let config = blobs.json(CONFIG, &config);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
            "annotations": self.labels(order),
        });
        let mut told = blobs.json(MANIFEST, &manifest);
        told["platform"] = json!({ "os": "linux", "architecture": programs.architecture });
        Ok(told)
    }

    /// Of the image spec, "annotations.md".
    fn labels(&self, order: &Order) -> Value {
        let mut labels = json!({
            "org.opencontainers.image.title": self.title,
            "org.opencontainers.image.version": order.tag,
            "org.opencontainers.image.licenses": "Apache-2.0",
        });
        if let Some(commit) = &order.source.commit {
            labels["org.opencontainers.image.revision"] = json!(commit);
        }
        if let Some(repository) = &order.source.repository {
            labels["org.opencontainers.image.source"] = json!(repository);
        }
        labels
    }
}

fn layer(contents: &[Content], programs: &Programs) -> Result<Vec<u8>> {
    let mut layer = Layer::default();
    for content in contents {
        match content {
            Text(path, text) => layer.file(path, 0o644, text.as_bytes())?,
            Wasm(name, path) => layer.file(path, 0o644, &read(programs, name)?)?,
            Program(name, path) => {
                let program = read(programs, name)?;
                is_for(&program, &programs.architecture).with_context(|| (*name).to_owned())?;
                layer.file(path, 0o755, &program)?;
            }
        }
    }
    Ok(layer.bytes()?)
}

fn read(programs: &Programs, name: &str) -> Result<Vec<u8>> {
    let file = programs.folder.join(name);
    fs::read(&file).with_context(|| format!("{} is missing: make images", file.display()))
}

/// `e_machine` of an ELF header (elf(5)): programs of another machine would be found out only on a node.
fn is_for(program: &[u8], architecture: &str) -> Result<()> {
    let machine = program.get(18..20).map(|two| u16::from_le_bytes([two[0], two[1]]));
    let expected = match architecture {
        "amd64" => 62,
        "arm64" => 183,
        other => bail!("there are no images for {other}"),
    };
    if !program.starts_with(b"\x7fELF") || machine != Some(expected) {
        bail!("this is no program for {architecture}");
    }
    Ok(())
}

/// Without a name and a time in its header.
fn gzip(content: &[u8]) -> Result<Vec<u8>> {
    let mut to = GzBuilder::new().mtime(0).write(Vec::new(), Compression::new(6));
    to.write_all(content)?;
    Ok(to.finish()?)
}
