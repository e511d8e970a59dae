//! An archive with two images: the pause image by its names, and that of the proof.

use std::path::Path;

use sha2::{Digest, Sha256};

const SMOKE: &[u8] = include_bytes!("../../smoke.wat");

/// Writes an OCI archive, as `ctr images import` takes it.
pub(crate) fn write(to: &Path) {
    let mut layer = tar::Builder::new(Vec::new());
    append(&mut layer, "smoke.wat", SMOKE);
    append(&mut layer, "pause", b"#!/bin/sh\n");
    let layer = layer.into_inner().expect("a layer");
    let config = format!(
        r#"{{"architecture":"{}","os":"linux","config":{{"Entrypoint":["/pause"]}},"rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}}}}"#,
        if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" },
        digest(&layer)
    );
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{},"layers":[{}]}}"#,
        descriptor("application/vnd.oci.image.config.v1+json", config.as_bytes(), ""),
        descriptor("application/vnd.oci.image.layer.v1.tar", &layer, "")
    );
    // The second is what containerd 1.7 takes unless it is told another.
    let names = ["wherry.test/pause:1", "registry.k8s.io/pause:3.8", "wherry.test/smoke:1"];
    let named = names.map(|name| {
        let name = format!(r#","annotations":{{"io.containerd.image.name":"{name}"}}"#);
        descriptor("application/vnd.oci.image.manifest.v1+json", manifest.as_bytes(), &name)
    });
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, named.join(","));
    let mut archive = tar::Builder::new(std::fs::File::create(to).expect("a file"));
    append(&mut archive, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    append(&mut archive, "index.json", index.as_bytes());
    for blob in [config.as_bytes(), manifest.as_bytes(), &layer] {
        append(&mut archive, &format!("blobs/sha256/{}", digest(blob)), blob);
    }
    archive.finish().expect("an archive");
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn descriptor(kind: &str, bytes: &[u8], more: &str) -> String {
    let (digest, size) = (digest(bytes), bytes.len());
    format!(r#"{{"mediaType":"{kind}","digest":"sha256:{digest}","size":{size}{more}}}"#)
}

fn append<W: std::io::Write>(archive: &mut tar::Builder<W>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o755);
    archive.append_data(&mut header, name, bytes).expect("a file in an archive");
}
