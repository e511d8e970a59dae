//! The images that the suite pulls, made here under their own names.
//!
//! What the tests rely on, and therefore is so: `www-data` is 33, `sys` is 3 and `backup` 34; the images are
//! indexes of several platforms, of which only this machine's has programs; the one for user namespaces has a
//! `bash` and a `/usr/bin/passwd` with its set-user-id bit; the one with several layers has three above busybox.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tar::EntryType;

use super::Column;
use crate::command;
use crate::containerd::COMMAND;
use crate::image::{Blobs, CONFIG, INDEX, LAYER, architecture};
use crate::rig;

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
sys:x:3:3:sys:/dev:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
backup:x:34:34:backup:/var/backups:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
";

const GROUP: &str = "\
root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
www-data:x:33:
backup:x:34:
nogroup:x:65534:
";

/// The busybox of the authors is built with NC_110_COMPAT, whose `nc` answers SIGTERM even as PID 1, where the
/// kernel drops a signal that nobody handles. Debian's is not.
const NC: &str = "\
#!/bin/sh
trap 'kill $!; exit 143' TERM
busybox nc \"$@\" &
wait $!
";

/// The programs that the suite runs.
const PROGRAMS: &[&str] = &[
    "bash", "cat", "echo", "false", "hostname", "id", "ls", "nc", "ps", "seq", "sh", "sleep",
    "stty", "test", "top", "true",
];

/// Writes a layout with all images of a column into `folder`.
pub fn write(column: Column, folder: &Path) -> Result<()> {
    let programs = match column {
        Column::Runc | Column::Native => busybox()?,
        Column::Wasmbox => wasmbox()?,
    };
    let mut blobs = Blobs::default();
    let base = base(&programs)?;
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
    let windows = manifest(&mut blobs, "windows", architecture(), "", &[windows]);
    let mut windows = blobs
        .json(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [windows] }));
    windows["annotations"] = json!({ "org.opencontainers.image.ref.name": "ghcr.io/containerd/windows/nanoserver:1809" });
    images.push(windows);
    blobs.write_folder(folder, &images)
}

/// One program, its name in `/bin`, the names that lead to it, and scripts beside it.
struct Programs {
    program: (&'static str, Vec<u8>),
    links: Vec<String>,
    scripts: &'static [(&'static str, &'static str)],
}

fn busybox() -> Result<Programs> {
    let file = rig::busybox()?;
    let list = command::run(std::process::Command::new(&file).arg("--list"), b"", COMMAND)?.ok()?;
    let mut links: Vec<String> = list.stdout.split_whitespace().map(str::to_string).collect();
    links.push("bash".to_string());
    links.retain(|name| name != "busybox" && name != "nc" && name != "bash");
    Ok(Programs {
        program: ("busybox", fs::read(&file).with_context(|| file.display().to_string())?),
        links,
        scripts: &[("nc", NC), ("bash", "#!/bin/sh\nexec /bin/sh \"$@\"\n")],
    })
}

fn wasmbox() -> Result<Programs> {
    let file = rig::need(&rig::programs()?.join("wasmbox.wasm"), "make programs")?;
    Ok(Programs {
        program: ("wasmbox.wasm", fs::read(&file).with_context(|| file.display().to_string())?),
        links: PROGRAMS.iter().map(|name| name.to_string()).collect(),
        scripts: &[],
    })
}

fn base(programs: &Programs) -> Result<Vec<u8>> {
    let (name, content) = &programs.program;
    let mut layer = Layer::default();
    // Those that are mounted on, because a root that is only read can't be given them later.
    for folder in ["dev", "proc", "run", "sys", "usr/bin", "var"] {
        layer = layer.folder(folder, 0o755);
    }
    layer = layer
        .folder("root", 0o700)
        .folder("tmp", 0o1777)
        .file("etc/passwd", 0o644, PASSWD.as_bytes())
        .file("etc/group", 0o644, GROUP.as_bytes())
        .file(&format!("bin/{name}"), 0o755, content);
    for (script, text) in programs.scripts {
        layer = layer.file(&format!("bin/{script}"), 0o755, text.as_bytes());
    }
    for link in &programs.links {
        layer = layer.link(&format!("bin/{link}"), name);
    }
    layer.pack()
}

/// An index: these layers for this machine, and a file for each of three others.
fn index(blobs: &mut Blobs, name: &str, layers: &[Vec<u8>]) -> Result<Value> {
    let mut manifests = vec![manifest(blobs, "linux", architecture(), "", layers)];
    for (other, variant) in [("amd64", ""), ("arm64", "v8"), ("s390x", "")] {
        if other != architecture() {
            let text = format!("{name} for {other}");
            let layer = Layer::default().file("name", 0o644, text.as_bytes()).pack()?;
            manifests.push(manifest(blobs, "linux", other, variant, &[layer]));
        }
    }
    Ok(blobs
        .json(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests })))
}

fn manifest(
    blobs: &mut Blobs,
    os: &str,
    architecture: &str,
    variant: &str,
    layers: &[Vec<u8>],
) -> Value {
    let layers: Vec<Value> = layers.iter().map(|layer| blobs.add(LAYER, layer.clone())).collect();
    let diff_ids: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
    let mut platform = json!({ "os": os, "architecture": architecture });
    if !variant.is_empty() {
        platform["variant"] = json!(variant);
    }
    let mut config = platform.clone();
    config["config"] = json!({
        "Cmd": ["sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    });
    config["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
    let config = blobs.json(CONFIG, &config);
    let mut manifest = blobs.manifest(config, &layers);
    manifest["platform"] = platform;
    manifest
}

/// A layer with owners, modes and links as they are told.
#[derive(Default)]
struct Layer(Vec<Entry>);

struct Entry {
    path: String,
    kind: EntryType,
    mode: u32,
    content: Vec<u8>,
    link: String,
}

impl Layer {
    fn folder(self, path: &str, mode: u32) -> Layer {
        self.entry(path, EntryType::Directory, mode, b"", "")
    }

    fn file(self, path: &str, mode: u32, content: &[u8]) -> Layer {
        self.entry(path, EntryType::Regular, mode, content, "")
    }

    fn link(self, path: &str, target: &str) -> Layer {
        self.entry(path, EntryType::Symlink, 0o777, b"", target)
    }

    fn entry(
        mut self,
        path: &str,
        kind: EntryType,
        mode: u32,
        content: &[u8],
        link: &str,
    ) -> Layer {
        if let Some((parent, _)) = path.rsplit_once('/')
            && !self.0.iter().any(|entry| entry.path == parent)
        {
            self = self.folder(parent, 0o755);
        }
        let (path, link) = (path.to_string(), link.to_string());
        self.0.push(Entry { path, kind, mode, content: content.to_vec(), link });
        self
    }

    fn pack(self) -> Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        for entry in self.0 {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(entry.kind);
            header.set_mode(entry.mode);
            header.set_size(entry.content.len() as u64);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            let packed = if entry.kind == EntryType::Symlink {
                tar.append_link(&mut header, &entry.path, &entry.link)
            } else {
                tar.append_data(&mut header, &entry.path, entry.content.as_slice())
            };
            if let Err(error) = packed {
                bail!("{}: {error}", entry.path);
            }
        }
        Ok(tar.into_inner()?)
    }
}
