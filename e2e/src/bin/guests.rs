//! Builds the guests (`e2e/guests`) into `WHERRY_GUESTS`: all of them, or those named as arguments.
//!
//! Cargo and Go know by themselves what changed, so a run with nothing to do takes a second or two.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use wherry_e2e::guests::{self, Kind};
use wherry_e2e::rig;

fn main() -> Result<()> {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        names = guests::ALL.iter().map(|(name, _)| name.to_string()).collect();
    }
    let builder = Builder::new()?;
    let kinds = names.iter().map(|name| guests::kind(name)).collect::<Result<Vec<_>>>()?;
    builder.rust(&kinds, &names)?;
    for (name, kind) in names.iter().zip(&kinds) {
        builder.place(name, *kind).with_context(|| format!("guest {name}"))?;
    }
    Ok(())
}

struct Builder {
    source: PathBuf,
    out: PathBuf,
    target: PathBuf,
}

impl Builder {
    fn new() -> Result<Builder> {
        let out = rig::guests();
        fs::create_dir_all(out.join("native")).with_context(|| out.display().to_string())?;
        Ok(Builder {
            source: Path::new(env!("CARGO_MANIFEST_DIR")).join("guests"),
            target: out.join("target"),
            out,
        })
    }

    /// One call of cargo for each target that someone wants something of.
    fn rust(&self, kinds: &[Kind], names: &[String]) -> Result<()> {
        let native = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        let mut calls: BTreeSet<(&str, &str)> = BTreeSet::new();
        for (kind, name) in kinds.iter().zip(names) {
            match kind {
                Kind::Command => {
                    calls.insert(("wasm32-wasip1", "commands"));
                    calls.insert((&native, "commands"));
                }
                Kind::CommandP2(_) => {
                    calls.insert(("wasm32-wasip2", "commands"));
                }
                Kind::Sockets => {
                    calls.insert(("wasm32-wasip2", "commands"));
                    calls.insert((&native, "commands"));
                }
                Kind::Component => {
                    calls.insert(("wasm32-wasip2", name));
                }
                Kind::C | Kind::Go | Kind::Wat(_) => {}
            }
        }
        let targets: BTreeSet<&str> = calls.iter().map(|(target, _)| *target).collect();
        for target in targets {
            let packages = calls.iter().filter(|(of, _)| *of == target);
            let mut cargo = Command::new("cargo");
            cargo.current_dir(&self.source).args(["build", "--quiet", "--release", "--locked"]);
            cargo.args(["--target", target, "--target-dir"]).arg(&self.target);
            cargo.args(packages.flat_map(|(_, package)| ["-p", package]));
            run(&mut cargo)?;
        }
        Ok(())
    }

    fn place(&self, name: &str, kind: Kind) -> Result<()> {
        let to = self.out.join(guests::file_name(name)?);
        let built = |target: &str, file: &str| self.target.join(target).join("release").join(file);
        let native = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        match kind {
            Kind::Command => {
                copy(&built("wasm32-wasip1", &format!("{name}.wasm")), &to)?;
                copy(&built(&native, name), &self.out.join("native").join(name))
            }
            Kind::CommandP2(source) => {
                copy(&built("wasm32-wasip2", &format!("{source}.wasm")), &to)
            }
            Kind::Sockets => {
                copy(&built("wasm32-wasip2", &format!("{name}.wasm")), &to)?;
                copy(&built(&native, name), &self.out.join("native").join(name))
            }
            Kind::Component => {
                // A program keeps its name, a library's dashes become underscores.
                let library = built("wasm32-wasip2", &format!("{}.wasm", name.replace('-', "_")));
                copy(&library, &to)
            }
            Kind::C => self.c(&to),
            Kind::Go => self.go(&to),
            Kind::Wat(file) => copy(&self.source.join("wat").join(file), &to),
        }
    }

    fn c(&self, to: &Path) -> Result<()> {
        let source = self.source.join("c/hello.c");
        let native = self.out.join("native/hello-c");
        if newer(to, &source)? && newer(&native, &source)? {
            return Ok(());
        }
        // Debian's wasi-libc: headers and libraries beside the machine's own, by triplet.
        let mut clang = Command::new("clang");
        clang.args(["--target=wasm32-wasi", "--sysroot=/usr", "-I/usr/include/wasm32-wasi"]);
        clang.args(["-L/usr/lib/wasm32-wasi", "-Os", "-s", "-o"]).arg(to).arg(&source);
        run(&mut clang)?;
        run(Command::new("musl-gcc").args(["-static", "-Os", "-s", "-o"]).arg(native).arg(source))
    }

    fn go(&self, to: &Path) -> Result<()> {
        // Where fetch.sh puts a Go of its own, on a machine that had none.
        let own = rig::root().join("go/bin/go");
        let mut go = Command::new(if own.exists() { own } else { "go".into() });
        go.current_dir(self.source.join("go")).env("GOOS", "wasip1").env("GOARCH", "wasm");
        go.env("GOFLAGS", "-buildvcs=false");
        go.args(["build", "-trimpath", "-ldflags", "-s -w", "-o"]).arg(to).arg("./hello");
        run(&mut go)
    }
}

fn newer(built: &Path, source: &Path) -> Result<bool> {
    Ok(built.exists() && fs::metadata(built)?.modified()? >= fs::metadata(source)?.modified()?)
}

/// Leaves a file alone that has the right content already: caches of images go by its time.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let content = fs::read(from).with_context(|| from.display().to_string())?;
    if fs::read(to).is_ok_and(|old| old == content) {
        return Ok(());
    }
    fs::copy(from, to).with_context(|| to.display().to_string())?;
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    // Flags meant for whoever started us (a target folder, a toolchain's linker) are not for guests.
    command.env_remove("CARGO_TARGET_DIR").env_remove("RUSTFLAGS");
    // Debian's musl-gcc knows no static-pie and makes a program with an interpreter of it.
    let musl = format!("CARGO_TARGET_{}_UNKNOWN_LINUX_MUSL_RUSTFLAGS", std::env::consts::ARCH);
    command.env(musl.to_uppercase(), "-Crelocation-model=static");
    let status =
        command.status().with_context(|| format!("{program}: run e2e/rig/fetch.sh guests"))?;
    if !status.success() {
        bail!("{program} ended with {status}");
    }
    Ok(())
}
