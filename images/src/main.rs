//! `wherry-images`: builds the images of a release out of its programs.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use lexopt::prelude::*;
use wherry_images::{Order, Programs, Source, build};

const HELP: &str = "\
wherry-images: builds the images of the operator and of the node agent, without a daemon

  --programs ARCH=DIR   the programs of a release for amd64 or arm64, once for each
  --boms ARCH=DIR       what they are made of: <program>.cdx.json for each, from cargo cyclonedx
  --repository NAME     where they will be pulled from (registry.example/wherry)
  --tag TAG             (the version of this checkout)
  --out DIR             the folder that they are written to: oci/, wherry-images.tar, digests.json,
                        and values.json for the chart
  --source URL          of the sources, and --commit HASH, for the provenance
  --builder URI         who builds, for the provenance

  SOURCE_DATE_EPOCH     when they are made, in seconds since 1970; without it nothing says when
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wherry-images: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let (order, out) = read()?;
    let built = build(&order)?;
    fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let layout = out.join("oci");
    // Blobs of an earlier build are nobody's any more.
    if layout.exists() {
        fs::remove_dir_all(&layout).with_context(|| layout.display().to_string())?;
    }
    built.write_folder(&layout)?;
    built.write_archive(&out.join("wherry-images.tar"))?;
    let digests = serde_json::to_string_pretty(&built.digests())? + "\n";
    fs::write(out.join("digests.json"), digests)?;
    let values = serde_json::to_string_pretty(&built.values())? + "\n";
    fs::write(out.join("values.json"), values)?;
    for image in wherry_images::IMAGES {
        println!("{}", built.pinned(image.name)?);
    }
    Ok(())
}

fn read() -> Result<(Order, PathBuf)> {
    let mut order = Order {
        programs: Vec::new(),
        repository: "registry.example/wherry".into(),
        tag: env!("CARGO_PKG_VERSION").into(),
        epoch: None,
        source: Source { builder: "https://wherry.dev/images/by-hand".into(), ..Source::default() },
    };
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        let told = || format!("SOURCE_DATE_EPOCH={epoch}");
        order.epoch = Some(epoch.parse().with_context(told)?);
    }
    let mut out = PathBuf::from("dist/images");
    let mut boms = Vec::new();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("programs") => {
                let (architecture, folder) = pair(&parser.value()?.string()?)?;
                order.programs.push(Programs { architecture, folder, boms: None });
            }
            Long("boms") => boms.push(pair(&parser.value()?.string()?)?),
            Long("repository") => order.repository = parser.value()?.string()?,
            Long("tag") => order.tag = parser.value()?.string()?,
            Long("out") => out = parser.value()?.into(),
            Long("source") => order.source.repository = Some(parser.value()?.string()?),
            Long("commit") => order.source.commit = Some(parser.value()?.string()?),
            Long("builder") => order.source.builder = parser.value()?.string()?,
            Long("help") | Short('h') => {
                print!("{HELP}");
                std::process::exit(0);
            }
            other => return Err(other.unexpected()).context(HELP),
        }
    }
    for (architecture, folder) in boms {
        let mut all = order.programs.iter_mut();
        let Some(programs) = all.find(|one| one.architecture == architecture) else {
            bail!("--boms of {architecture}, and no --programs")
        };
        programs.boms = Some(folder);
    }
    if order.programs.is_empty() {
        bail!("no --programs\n\n{HELP}");
    }
    order.programs.sort_by(|a, b| a.architecture.cmp(&b.architecture));
    Ok((order, out))
}

fn pair(text: &str) -> Result<(String, PathBuf)> {
    let (architecture, folder) = text.split_once('=').with_context(|| format!("{text:?}"))?;
    Ok((architecture.to_owned(), folder.into()))
}
