//! `wherry inspect`: what a file is, before anyone runs it.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::{Context, bail};
use rustix::fs::{Mode, OFlags};
use serde_json::json;
use wasmparser::{Parser, Payload};
use wherry_core::image::{Kind, PREFIX};
use wherry_core::plan::Profile;
use wherry_engine::World;

use crate::print;

/// What the outermost module or component asks for and offers.
#[derive(Debug, Default)]
struct Surface {
    imports: Vec<String>,
    exports: Vec<String>,
}

pub(crate) fn run(path: &Path, as_json: bool) -> anyhow::Result<()> {
    let bytes = read(path).with_context(|| format!("can't read {}", path.display()))?;
    let kind = Kind::of(&bytes[..bytes.len().min(PREFIX)]);
    if let Some(why) = kind.refusal() {
        bail!("{} {why}", path.display());
    }
    let wasm =
        wat::parse_bytes(&bytes).with_context(|| format!("can't read {}", path.display()))?;
    let surface = Surface::read(&wasm).with_context(|| format!("{} is broken", path.display()))?;
    let world = surface.world(kind);
    let profile = match world.map_or(Profile::Command, World::profile) {
        Profile::Command => "command",
        Profile::Service => "service",
    };
    if as_json {
        let told = json!({
            "kind": kind.to_string(),
            "bytes": bytes.len(),
            "world": world.map(named),
            "profile": profile,
            "imports": surface.imports,
            "exports": surface.exports,
        });
        return print(&format!("{told}\n"));
    }
    let world = world.map_or("none: run it by an export, as path#export", named);
    let mut text =
        format!("kind     {kind}, {} bytes\nworld    {world}\nprofile  {profile}\n", bytes.len());
    for (title, names) in [("imports", &surface.imports), ("exports", &surface.exports)] {
        writeln!(text, "{title}")?;
        for name in names {
            writeln!(text, "  {name}")?;
        }
    }
    print(&text)
}

/// A file that is one: to open a FIFO waits for a writer, who may never come, and a device may have
/// no end.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file: copy it into one"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn named(world: World) -> &'static str {
    match world {
        World::Preview1 => "WASI preview 1 command",
        World::Command2 => "wasi:cli command 0.2",
        World::Command3 => "wasi:cli command 0.3",
        World::Proxy2 => "wasi:http/proxy 0.2",
        World::Service3 => "wasi:http/service 0.3",
    }
}

impl Surface {
    fn read(wasm: &[u8]) -> anyhow::Result<Surface> {
        let mut surface = Surface::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(wasm) {
            match payload? {
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ImportSection(section) if depth == 1 => {
                    for import in section.into_imports() {
                        let import = import?;
                        surface.imports.push(format!("{}.{}", import.module, import.name));
                    }
                }
                Payload::ExportSection(section) if depth == 1 => {
                    for export in section {
                        surface.exports.push(export?.name.to_owned());
                    }
                }
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section {
                        surface.imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section {
                        surface.exports.push(export?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(surface)
    }

    fn world(&self, kind: Kind) -> Option<World> {
        match kind {
            Kind::Component | Kind::ComponentText => {
                World::of_exports(self.exports.iter().map(String::as_str))
            }
            _ => self.exports.iter().any(|name| name == "_start").then_some(World::Preview1),
        }
    }
}
