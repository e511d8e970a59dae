//! Runs critest on runc, on our shim with busybox, and on our shim with Wasm, on the oldest and the newest containerd,
//! and says what `src/critest/expected.rs` does not explain.
//!
//!   critest [--write] [--only REGEX] [1.7] [2.4] [runc] [native] [wasmbox]
//!
//! `--write` makes a new `CRITEST.md` of what came out.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use wherry_e2e::command;
use wherry_e2e::critest::document::{self, Section};
use wherry_e2e::critest::{self, VERSIONS, expected, images, results};
use wherry_e2e::foreign::expected::differences;
use wherry_e2e::foreign::report::{self, Run};
use wherry_e2e::foreign::{Case, Column};
use wherry_e2e::rig::{self, Version, need};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/CRITEST.md");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rig/critest.sh");
/// Cases wait for others by minutes, one after another.
const LIMIT: Duration = Duration::from_secs(25 * 60);

fn main() -> ExitCode {
    match judge() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(unexplained) => {
            eprintln!("{unexplained} results have no reason in src/critest/expected.rs");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Default)]
struct Arguments {
    columns: Vec<Column>,
    versions: Vec<Version>,
    only: Option<String>,
    write: bool,
}

fn arguments() -> Result<Arguments> {
    let mut told = Arguments::default();
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let version = VERSIONS.into_iter().find(|version| version.name() == word);
        match (Column::named(&word), version) {
            (Some(column), _) => told.columns.push(column),
            (_, Some(version)) => told.versions.push(version),
            _ if word == "--write" => told.write = true,
            _ if word == "--only" => {
                told.only = Some(words.next().context("--only wants a regex")?)
            }
            _ => bail!("{word} is none of --write, --only, 1.7, 2.4, runc, native and wasmbox"),
        }
    }
    let some = told.only.is_some() || !told.columns.is_empty() || !told.versions.is_empty();
    ensure!(!(told.write && some), "--write wants all of it");
    if told.columns.is_empty() {
        told.columns = Column::ALL.to_vec();
    }
    if told.versions.is_empty() {
        told.versions = VERSIONS.to_vec();
    }
    Ok(told)
}

/// How many results nothing explains.
fn judge() -> Result<usize> {
    let told = arguments()?;
    let mut sections = Vec::new();
    for version in &told.versions {
        println!("== containerd {}", version.name());
        let runs = side_by_side(*version, &told)?;
        let rows = expected::rows(*version);
        runs.iter().for_each(|run| report::print(run, &rows));
        if runs.len() > 1 {
            report::beside_each_other(&runs);
        }
        sections.push(Section { version: *version, runs });
    }
    if told.write {
        fs::write(DOCS, document::write(&sections)).context(DOCS)?;
    }
    Ok(sections.iter().flat_map(|one| &one.runs).map(|run| run.unexplained.len()).sum())
}

/// All columns at once: they wait more than they do, and do not see each other.
fn side_by_side(version: Version, told: &Arguments) -> Result<Vec<Run>> {
    thread::scope(|threads| {
        let start = |column: &Column| {
            let column = *column;
            threads.spawn(move || run(version, column, told.only.as_deref()))
        };
        let runs: Vec<_> = told.columns.iter().map(start).collect();
        let ended = runs.into_iter().map(|run| run.join().map_err(|_| anyhow!("a panic"))?);
        ended.collect()
    })
}

fn run(version: Version, column: Column, only: Option<&str>) -> Result<Run> {
    need(&rig::root().join("bin/critest"), "e2e/rig/fetch.sh critest")?;
    // Not below /tmp, which is another one inside, and on a disk, because overlayfs asks for one.
    let parent = rig::root().join("critest-runs");
    fs::create_dir_all(&parent)?;
    let name = format!("{}-{}", version.name(), column.name());
    let folder = tempfile::Builder::new().prefix(&name).tempdir_in(&parent)?;
    furnish(version, column, folder.path())?;

    let log = parent.join(format!("{name}.log"));
    let mut suite = Command::new("setpriv");
    suite.args(["--pdeathsig", "TERM", SCRIPT]).arg(folder.path()).arg(critest::handler(column));
    suite.arg(format!("-ginkgo.timeout={}s", LIMIT.as_secs()));
    if let Some(only) = only {
        suite.arg(format!("-ginkgo.focus={only}"));
    }
    suite.env("PATH", search_path(version, column, folder.path())?);
    let out = File::create(&log)?;
    suite.stdout(out.try_clone()?).stderr(out);
    let started = Instant::now();
    let mut child = suite.spawn().context("setpriv (util-linux)")?;
    command::wait(&mut child, LIMIT + Duration::from_secs(60))?;
    let took = started.elapsed();

    fs::copy(folder.path().join("containerd.log"), log.with_extension("containerd")).ok();
    let report = folder.path().join("report.json");
    let report = fs::read_to_string(&report)
        .with_context(|| format!("no report; {} says why", log.display()))?;
    let cases = results::read(&report)?;
    let mut unexplained = differences(column, only.is_none(), &cases, &expected::rows(version));
    unexplained.extend(left(folder.path(), &cases)?);
    Ok(Run { column, cases, took, log, unexplained })
}

/// The images, and the files that containerd reads.
fn furnish(version: Version, column: Column, folder: &Path) -> Result<()> {
    images::write(column, &folder.join("layout"))?;
    let mut files = critest::files(folder).to_vec();
    files.push(("config.toml", critest::config(version, folder, &rig::cni()?)));
    files.push(("spec.json", critest::base_spec(version)?.to_string()));
    for (name, content) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().context("in the folder")?)?;
        fs::write(&path, content).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// What was there of pods when all were gone; two cases of the same name are an error too.
fn left(folder: &Path, cases: &[Case]) -> Result<Vec<String>> {
    let left =
        fs::read_to_string(folder.join("left")).context("the run did not come to its end")?;
    let mut found: Vec<String> = left.lines().map(|line| format!("left behind: {line}")).collect();
    let twice = cases.windows(2).filter(|pair| pair[0].name == pair[1].name);
    found.extend(twice.map(|pair| format!("two cases are called {}", pair[0].name)));
    Ok(found)
}

/// The programs under test in a folder of this run, then those of the rig.
fn search_path(version: Version, column: Column, folder: &Path) -> Result<String> {
    let programs = folder.join("programs");
    fs::create_dir(&programs)?;
    if column != Column::Runc {
        let from = rig::programs()?;
        for name in rig::PROGRAMS {
            fs::copy(from.join(name), programs.join(name)).context(name)?;
        }
    }
    let folders: [PathBuf; 3] = [programs, version.programs()?, rig::runc()?];
    let mut path: Vec<String> = folders.iter().map(|one| one.display().to_string()).collect();
    path.push("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_string());
    Ok(path.join(":"))
}
