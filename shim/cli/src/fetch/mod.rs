//! `wherry fetch`: the program of an image that carries it as a layer.
//!
//! containerd doesn't unpack such a layer into the root file system; it keeps the blob. Its gRPC
//! services lead there: container → image → manifest (perhaps by an index) → layer.
//!
//! The answer is one line of JSON on descriptor 2: `{"digest": …, "size": …}`, `{"none": why}`
//! where the image has no such layer, or `{"error": why}`. The blob goes to descriptor 1.

mod messages;

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use wherry_core::image::{Descriptor, Document, MAX_PROGRAM_BYTES, Platform};
use wherry_grpc::{Connection, Failure};

use crate::args::Fetch;
use messages::{
    ContainerRequest, ContainerResponse, ImageRequest, ImageResponse, ReadRequest, ReadResponse,
};

/// A manifest is a few kilobytes; containerd itself refuses larger ones than this.
const MANIFEST_BYTES: usize = 8 << 20;

pub(crate) fn run(what: &Fetch) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    let fetched = match runtime {
        Ok(runtime) => runtime.block_on(fetch(what)),
        Err(error) => Err(error.into()),
    };
    let (told, code): (Value, _) = match fetched {
        Ok(told) => (told, ExitCode::SUCCESS),
        Err(error) => (json!({ "error": format!("{error:#}") }), ExitCode::FAILURE),
    };
    eprintln!("{told}");
    code
}

async fn fetch(what: &Fetch) -> anyhow::Result<Value> {
    let mut containerd = Connection::open(&what.address, &what.namespace).await?;
    let id = what.container.clone();
    let answer: ContainerResponse = containerd
        .unary("/containerd.services.containers.v1.Containers/Get", &ContainerRequest { id })
        .await
        .with_context(|| format!("can't ask containerd for the container {}", what.container))?;
    let name = answer.container.map(|container| container.image).unwrap_or_default();
    if name.is_empty() {
        let why = "containerd doesn't know which image the container is from \
                   (Docker tells it with the containerd image store only, and 26 not at all)";
        return Ok(json!({ "none": why }));
    }
    let answer: ImageResponse = containerd
        .unary("/containerd.services.images.v1.Images/Get", &ImageRequest { name: name.clone() })
        .await
        .with_context(|| format!("can't ask containerd for the image {name}"))?;
    let Some(target) = answer.image.and_then(|image| image.target) else {
        bail!("containerd knows no content of the image {name}");
    };
    let Some(layer) = program(&mut containerd, &target.digest)
        .await
        .with_context(|| format!("the image {name}"))?
    else {
        return Ok(json!({ "none": format!("the image {name} has no WebAssembly layer") }));
    };
    match what.digest_only {
        true => writeln!(io::stdout(), "{}", layer.digest)?,
        false => copy(&mut containerd, &layer).await?,
    }
    Ok(json!({ "digest": layer.digest, "size": layer.size }))
}

/// The layer that is the program, in the manifest or in the first manifest of the index that
/// containerd has and that has one.
async fn program(containerd: &mut Connection, target: &str) -> anyhow::Result<Option<Descriptor>> {
    let index = match Document::parse(&read(containerd, target).await?)? {
        Document::Manifest(manifest) => return Ok(manifest.program()?.cloned()),
        Document::Index(index) => index,
    };
    for entry in Platform::host().choose(&index) {
        let manifest = match read(containerd, &entry.digest).await {
            // Manifests of platforms that were not pulled are not there.
            Err(Failure::NotFound(_)) => continue,
            other => other?,
        };
        if let Document::Manifest(manifest) = Document::parse(&manifest)?
            && let Some(layer) = manifest.program()?
        {
            return Ok(Some(layer.clone()));
        }
    }
    Ok(None)
}

async fn read(containerd: &mut Connection, digest: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let request = ReadRequest { digest: digest.to_owned(), offset: 0, size: 0 };
    containerd
        .stream("/containerd.services.content.v1.Content/Read", &request, |part: ReadResponse| {
            bytes.extend_from_slice(&part.data);
            match bytes.len() > MANIFEST_BYTES {
                true => Err(io::Error::other(format!("{digest} is larger than a manifest may be"))),
                false => Ok(()),
            }
        })
        .await?;
    Ok(bytes)
}

/// Writes the blob out, and makes sure that it is what its digest says.
async fn copy(containerd: &mut Connection, layer: &Descriptor) -> anyhow::Result<()> {
    use sha2::Digest;
    if layer.size > MAX_PROGRAM_BYTES {
        bail!(
            "the layer {} has {} bytes, and a program may have {MAX_PROGRAM_BYTES}",
            layer.digest,
            layer.size
        );
    }
    let mut left = layer.size;
    let mut hash = sha2::Sha256::new();
    let mut out = io::stdout().lock();
    let request = ReadRequest { digest: layer.digest.clone(), offset: 0, size: 0 };
    containerd
        .stream("/containerd.services.content.v1.Content/Read", &request, |part: ReadResponse| {
            // No more than it says it has, whatever comes.
            left = left.checked_sub(part.data.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
            hash.update(&part.data);
            out.write_all(&part.data)
        })
        .await
        .with_context(|| format!("can't read the layer {}", layer.digest))?;
    out.flush()?;
    let found = wherry_cache::Digest::from(hash);
    match layer.digest.strip_prefix("sha256:") {
        Some(digest) if digest != found.as_str() => {
            bail!("the layer {} is damaged: its bytes have the digest sha256:{found}", layer.digest)
        }
        _ => Ok(()),
    }
}
