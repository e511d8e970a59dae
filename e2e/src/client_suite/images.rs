//! The images that the suite pulls, made here under their own names.
//!
//! What the tests rely on, and therefore is so: `www-data` is 33, `sys` is 3 and `backup` 34; the images are
//! indexes of several platforms, of which only this machine's has programs; the one for user namespaces has a
//! `bash` and a `/usr/bin/passwd` with its set-user-id bit; the one with several layers has three above busybox.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};

use crate::foreign::Column;
use crate::foreign::layers::{Layer, base, busybox, manifest, wasmbox};
use crate::image::{Blobs, INDEX, architecture};

/// The programs that the suite runs.
const PROGRAMS: &[&str] = &[
    "bash", "cat", "echo", "false", "hostname", "id", "ls", "nc", "ps", "seq", "sh", "sleep",
    "stty", "test", "top", "true",
];

/// Writes a layout with all images of a column into `folder`.
pub fn write(column: Column, folder: &Path) -> Result<()> {
    let programs = match column {
        Column::Runc | Column::Native => busybox()?,
        Column::Wasmbox => wasmbox(PROGRAMS)?,
    };
    let mut blobs = Blobs::default();
    let base = base(&programs).pack()?;
    let mut images = Vec::new();
    let mut image = |name: &str, layers: &[Vec<u8>]| -> Result<()> {
        let mut descriptor = index(&mut blobs, name, layers)?;
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        images.push(descriptor);
        Ok(())
    };
    image("ghcr.io/containerd/busybox:1.36", std::slice::from_ref(&base))?;
    image(
        "ghcr.io/containerd/volume-copy-up:2.2",
        &[
            base.clone(),
            Layer::default().file("test_dir/test_file", 0o644, b"test_content\n").pack()?,
            Layer::default().file("C:/weird/weird_file", 0o644, b"test_content\n").pack()?,
            Layer::default().file(":colon/colon_file", 0o644, b"test_content\n").pack()?,
        ],
    )?;
    let owned = Layer::default()
        .folder("test_dir", 0o755)
        .file("usr/bin/passwd", 0o4755, &programs.program.1)
        .pack()?;
    image("ghcr.io/containerd/volume-ownership:2.1", &[base.clone(), owned])?;
    // Tests delete images and then look whether blobs are gone: none is shared between these and the others.
    for name in [
        "registry.k8s.io/pause:3.10.2",
        "registry.k8s.io/pause:3.6",
        "registry.k8s.io/e2e-test-images/busybox:1.29-2",
    ] {
        let layer = Layer::default().file("pause", 0o755, &programs.program.1);
        image(name, &[layer.file("name", 0o644, name.as_bytes()).pack()?])?;
    }
    let windows = Layer::default().folder("Files", 0o755).pack()?;
    let windows = manifest(&mut blobs, ("windows", architecture(), ""), config(), &[windows]);
    let mut windows = blobs
        .json(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [windows] }));
    windows["annotations"] = json!({ "org.opencontainers.image.ref.name": "ghcr.io/containerd/windows/nanoserver:1809" });
    images.push(windows);
    blobs.write_folder(folder, &images)
}

/// An index: these layers for this machine, and a file for each of three others.
fn index(blobs: &mut Blobs, name: &str, layers: &[Vec<u8>]) -> Result<Value> {
    let mut manifests = vec![manifest(blobs, ("linux", architecture(), ""), config(), layers)];
    for (other, variant) in [("amd64", ""), ("arm64", "v8"), ("s390x", "")] {
        if other != architecture() {
            let text = format!("{name} for {other}");
            let layer = Layer::default().file("name", 0o644, text.as_bytes()).pack()?;
            manifests.push(manifest(blobs, ("linux", other, variant), config(), &[layer]));
        }
    }
    Ok(blobs
        .json(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests })))
}

fn config() -> Value {
    json!({
        "Cmd": ["sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    })
}
