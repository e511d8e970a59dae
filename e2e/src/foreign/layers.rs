//! What the images of foreign suites are made of: busybox or one multi-call Wasm program under busybox's names, and
//! layers with owners, modes and links as they are told.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tar::EntryType;

use crate::command;
use crate::containerd::COMMAND;
use crate::image::{Blobs, CONFIG, LAYER};
use crate::rig;

pub(crate) const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
sys:x:3:3:sys:/dev:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
backup:x:34:34:backup:/var/backups:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
";

pub(crate) const GROUP: &str = "\
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

/// One program, its name in `/bin`, the names that lead to it, and scripts beside it.
pub(crate) struct Programs {
    pub(crate) program: (&'static str, Vec<u8>),
    pub(crate) links: Vec<String>,
    pub(crate) scripts: &'static [(&'static str, &'static str)],
}

pub(crate) fn busybox() -> Result<Programs> {
    let file = rig::busybox()?;
    let list = command::run(Command::new(&file).arg("--list"), b"", COMMAND)?.ok()?;
    let mut links: Vec<String> = list.stdout.split_whitespace().map(str::to_string).collect();
    links.push("bash".to_string());
    links.retain(|name| name != "busybox" && name != "nc" && name != "bash");
    Ok(Programs {
        program: ("busybox", fs::read(&file).with_context(|| file.display().to_string())?),
        links,
        scripts: &[("nc", NC), ("bash", "#!/bin/sh\nexec /bin/sh \"$@\"\n")],
    })
}

/// The names are those that are asked for: a shell of Wasm has no others to lead to.
pub(crate) fn wasmbox(names: &[&str]) -> Result<Programs> {
    let file = rig::need(&rig::programs()?.join("wasmbox.wasm"), "make programs")?;
    Ok(Programs {
        program: ("wasmbox.wasm", fs::read(&file).with_context(|| file.display().to_string())?),
        links: names.iter().map(|name| name.to_string()).collect(),
        scripts: &[],
    })
}

/// A root file system with these programs, and what is mounted on and looked up in it.
pub(crate) fn base(programs: &Programs) -> Layer {
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
    // Not symbolic links, as in the authors' busybox: a path that is mounted over is one program, and not all.
    for link in &programs.links {
        layer = layer.name(&format!("bin/{link}"), &format!("bin/{name}"));
    }
    layer
}

/// An image of these layers, and what its config says besides.
pub(crate) fn manifest(
    blobs: &mut Blobs,
    (os, architecture, variant): (&str, &str, &str),
    config: Value,
    layers: &[Vec<u8>],
) -> Value {
    let layers: Vec<Value> = layers.iter().map(|layer| blobs.add(LAYER, layer.clone())).collect();
    let diff_ids: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
    let mut platform = json!({ "os": os, "architecture": architecture });
    if !variant.is_empty() {
        platform["variant"] = json!(variant);
    }
    let mut document = platform.clone();
    document["config"] = config;
    document["rootfs"] = json!({ "type": "layers", "diff_ids": diff_ids });
    let config = blobs.json(CONFIG, &document);
    let mut manifest = blobs.manifest(config, &layers);
    manifest["platform"] = platform;
    manifest
}

/// A layer with owners, modes and links as they are told.
#[derive(Default)]
pub(crate) struct Layer(Vec<Entry>);

struct Entry {
    path: String,
    kind: EntryType,
    mode: u32,
    content: Vec<u8>,
    link: String,
}

impl Layer {
    pub(crate) fn folder(self, path: &str, mode: u32) -> Layer {
        self.entry(path, EntryType::Directory, mode, b"", "")
    }

    pub(crate) fn file(self, path: &str, mode: u32, content: &[u8]) -> Layer {
        self.entry(path, EntryType::Regular, mode, content, "")
    }

    /// Another name of a file of this layer.
    pub(crate) fn name(self, path: &str, target: &str) -> Layer {
        self.entry(path, EntryType::Link, 0o755, b"", target)
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

    pub(crate) fn pack(self) -> Result<Vec<u8>> {
        let mut tar = tar::Builder::new(Vec::new());
        for entry in self.0 {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(entry.kind);
            header.set_mode(entry.mode);
            header.set_size(entry.content.len() as u64);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            let packed = if entry.kind == EntryType::Link {
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
