//! The images of the operator and of the node agent.
//!
//! ```text
//! index.json ─► wherry-operator ─► linux/amd64   /wherry-operator
//!           │                  ├─► linux/arm64
//!           │                  └─► what is known of each: its SBOM, its provenance
//!           └─► wherry-node     ─► linux/amd64   /wherry-node /smoke.wat, over /programs
//!                              ⋮
//! ```
//!
//! Nothing else is in them: no shell, no libraries, no certificates. They are packed here and not by a builder with a
//! daemon, so that the same programs are the same image, to the byte, wherever that is done.

mod image;
mod known;

use std::fs;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use wherry_layout::{Blobs, Member};

pub use image::{IMAGES, Image};
pub use known::Source;

/// The programs of a release for one architecture.
#[derive(Clone, Debug)]
pub struct Programs {
    /// As OCI names it.
    pub architecture: String,
    pub folder: PathBuf,
    /// A folder with `<program>.cdx.json` for each program; none where nobody asks what they are made of.
    pub boms: Option<PathBuf>,
}

/// What is to be built.
#[derive(Clone, Debug)]
pub struct Order {
    pub programs: Vec<Programs>,
    /// Where the images will be pulled from: `registry.example/wherry`.
    pub repository: String,
    pub tag: String,
    /// When they were made, in seconds since 1970; unsaid if nobody says.
    pub epoch: Option<i64>,
    pub source: Source,
}

/// Built images, not written yet.
#[derive(Clone, Debug)]
pub struct Built {
    blobs: Blobs,
    members: Vec<Member>,
    order: Order,
}

/// Builds all images.
///
/// # Errors
/// A program that is missing, or is not for its architecture.
pub fn build(order: &Order) -> Result<Built> {
    let mut blobs = Blobs::default();
    let mut members = Vec::new();
    for image in IMAGES {
        let descriptor = image.pack(&mut blobs, order).with_context(|| image.name)?;
        let name = format!("{}/{}:{}", order.repository, image.name, order.tag);
        members.push(Member { descriptor, reference: name.clone(), name });
    }
    Ok(Built { blobs, members, order: order.clone() })
}

impl Built {
    /// By digest: what a cluster is told to pull.
    pub fn pinned(&self, image: &str) -> Result<String> {
        let digests = self.digests();
        let Some(digest) = digests[image]["digest"].as_str() else {
            bail!("there is no image {image}")
        };
        Ok(format!("{}/{image}@{digest}", self.order.repository))
    }

    /// Where each image is.
    pub fn digests(&self) -> Value {
        let of = |(image, member): (&Image, &Member)| {
            let repository = format!("{}/{}", self.order.repository, image.name);
            let told = json!({
                "repository": repository, "tag": self.order.tag, "digest": member.descriptor["digest"],
            });
            (image.name.to_owned(), told)
        };
        Value::Object(IMAGES.iter().zip(&self.members).map(of).collect())
    }

    /// The same as values of the chart.
    pub fn values(&self) -> Value {
        let digests = self.digests();
        let of = |name: &str| {
            let told = &digests[name];
            json!({ "repository": told["repository"], "digest": told["digest"] })
        };
        json!({ "images": { "operator": of("wherry-operator"), "node": of("wherry-node") } })
    }

    /// A layout as a folder, which is what `skopeo copy oci:…` and `crane push` read. What it has is kept.
    ///
    /// # Errors
    /// The disk's.
    pub fn write_folder(&self, folder: &Path) -> Result<()> {
        self.blobs.write_members(folder, &self.members)
    }

    /// The same as one file, for places without a network: `ctr images import`, `docker load`.
    ///
    /// # Errors
    /// The disk's.
    pub fn write_archive(&self, file: &Path) -> Result<()> {
        let told = || file.display().to_string();
        let to = BufWriter::new(fs::File::create(file).with_context(told)?);
        let own = wherry_layout::architecture(std::env::consts::ARCH);
        self.blobs.write_archive(to, &self.members, own).with_context(told)
    }

    /// All that the images are made of.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Descriptors of the images, by their whole names.
    pub fn members(&self) -> &[Member] {
        &self.members
    }
}
