//! Runs containerd's own suite on runc, on our shim with busybox, and on our shim with Wasm, and says what
//! `CLIENT-SUITE.md` does not explain.
//!
//!   client-suite [--only REGEX] [runc] [native] [wasmbox]

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use wherry_e2e::client_suite::{images, results, runc_flavor};
use wherry_e2e::foreign::report::{self, Run};
use wherry_e2e::foreign::{Column, expected};
use wherry_e2e::rig::{self, Version};
use wherry_e2e::{command, rig::need};

const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/CLIENT-SUITE.md");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/rig/client-suite.sh");
/// A run takes four minutes; a test that waits for ever takes all of this.
const LIMIT: Duration = Duration::from_secs(20 * 60);

fn main() -> ExitCode {
    match judge() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(unexplained) => {
            eprintln!("{unexplained} results are not what {DOCS} says");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// How many results the table does not explain.
fn judge() -> Result<usize> {
    let (columns, only) = arguments()?;
    let rows = expected::read(&fs::read_to_string(DOCS)?).context(DOCS)?;
    let mut runs = Vec::new();
    for column in columns {
        let mut run = run(column, only.as_deref())?;
        run.unexplained = expected::differences(column, only.is_none(), &run.cases, &rows);
        report::print(&run, &rows);
        runs.push(run);
    }
    if runs.len() > 1 {
        report::beside_each_other(&runs);
    }
    Ok(runs.iter().map(|run| run.unexplained.len()).sum())
}

fn arguments() -> Result<(Vec<Column>, Option<String>)> {
    let (mut columns, mut only) = (Vec::new(), None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match Column::named(&word) {
            Some(column) => columns.push(column),
            None if word == "--only" => only = Some(words.next().context("--only wants a regex")?),
            None => bail!("{word} is none of runc, native, wasmbox and --only"),
        }
    }
    if columns.is_empty() {
        columns = Column::ALL.to_vec();
    }
    Ok((columns, only))
}

fn run(column: Column, only: Option<&str>) -> Result<Run> {
    let client = rig::root().join("client-suite");
    need(&client.join("client.test"), "e2e/rig/fetch.sh client-suite")?;
    // Not below /tmp, which is another one inside, and on a disk, because overlayfs asks for one.
    let parent = rig::root().join("client-suite-runs");
    fs::create_dir_all(&parent)?;
    let folder = tempfile::Builder::new().prefix(column.name()).tempdir_in(&parent)?;
    let layout = folder.path().join("layout");
    images::write(column, &layout)?;

    let log = parent.join(format!("{}.log", column.name()));
    let mut suite = Command::new("setpriv");
    suite.args(["--pdeathsig", "TERM", SCRIPT]).arg(folder.path()).arg(column.runtime());
    suite.args(["-test.parallel=2", &format!("-test.timeout={}s", LIMIT.as_secs())]);
    if let Some(only) = only {
        suite.arg(format!("-test.run={only}"));
    }
    suite.env("RUNC_FLAVOR", runc_flavor(column));
    suite.env("PATH", search_path(column, folder.path())?);
    suite.stdout(File::create(&log)?).stderr(File::create(log.with_extension("err"))?);
    println!("{}: running; {} tells more", column.name(), log.display());
    let started = Instant::now();
    let mut child = suite.spawn().context("setpriv (util-linux)")?;
    command::wait(&mut child, LIMIT + Duration::from_secs(60))?;
    let took = started.elapsed();
    let cases = results::read(&String::from_utf8_lossy(&fs::read(&log)?));
    if cases.is_empty() {
        bail!("no test ran:\n{}", fs::read_to_string(log.with_extension("err"))?);
    }
    Ok(Run { column, cases, took, log, unexplained: Vec::new() })
}

/// The programs under test in a folder of this run, then those of the rig: the suite's daemon looks nowhere else.
fn search_path(column: Column, folder: &Path) -> Result<String> {
    let programs = folder.join("programs");
    fs::create_dir(&programs)?;
    if column != Column::Runc {
        let from = rig::programs()?;
        for name in ["containerd-shim-wherry-v1", "wherry-guest", "wherry", "wasmbox.wasm"] {
            // Which of them must be there is for `rig::programs` to say.
            if from.join(name).exists() {
                fs::copy(from.join(name), programs.join(name)).context(name)?;
            }
        }
    }
    let rig = [programs, rig::root().join("client-suite"), Version::V2_4.programs()?, rig::runc()?];
    let mut path: Vec<String> = rig.iter().map(|folder| folder.display().to_string()).collect();
    path.push("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_string());
    Ok(path.join(":"))
}
