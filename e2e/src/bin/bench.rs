//! Latency and memory of containers, of several runtimes in one interleaved run on one containerd.
//!
//! `bench [--rounds N] [--idle N] [RUNTIME…]`: runtimes named beyond ours, `runc` and the floor run the same
//! Wasm image as ours; their shims must be on `PATH`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use wherry_e2e::containerd::Containerd;
use wherry_e2e::leaks;
use wherry_e2e::measure::{self, Phases, quantile};
use wherry_e2e::place::Network;
use wherry_e2e::rig::{self, Runtime, Version};
use wherry_e2e::suite::World;
use wherry_e2e::task::Container;

const FLOOR: &str = "io.containerd.floor.v1";

struct Options {
    rounds: usize,
    idle: usize,
    others: Vec<String>,
}

/// A runtime, and what it runs.
struct Runner {
    label: String,
    runtime: String,
    /// What a run prints; the floor runs nothing.
    said: Option<&'static str>,
    image: &'static str,
    args: Vec<&'static str>,
    idle: Vec<&'static str>,
    times: Vec<Phases>,
}

fn main() -> Result<()> {
    let options = options()?;
    let beside = std::env::current_exe()?.parent().map(Path::to_path_buf).context("no folder")?;
    rig::need(&beside.join("containerd-shim-floor-v1"), "cargo build --release -p wherry-e2e")?;
    // WHERRY_RUNTIME=runc leaves ours out, to see what the machine does without it.
    let ours = Runtime::chosen()? == Runtime::Wherry;
    let mut folders = if ours { vec![rig::programs()?, beside] } else { vec![beside] };
    folders.extend(shims_on_path(&options.others)?);
    let containerd = Containerd::start(Version::V2_4, Runtime::Wherry, Network::Machine, &folders)?;
    let world = World::new(containerd);
    let mut runners = runners(&options, ours);

    let cold = if ours { cold(&world, &runners[0], 5)? } else { Vec::new() };
    for runner in &runners {
        run(&world, runner).with_context(|| runner.label.clone())?;
    }
    for _ in 0..options.rounds {
        for runner in &mut runners {
            let times = run(&world, runner).with_context(|| runner.label.clone())?;
            runner.times.push(times);
        }
    }
    report(&runners, &options, cold);
    for runner in runners.iter().filter(|runner| !runner.idle.is_empty()) {
        let each = idle(&world, runner, options.idle).with_context(|| runner.label.clone())?;
        println!(
            "{:28} {:>8.2} MB each of {} idle containers (PSS of shim and guest)",
            runner.label,
            each / 1e6,
            options.idle
        );
    }
    leaks::after(&world.containerd)
}

fn options() -> Result<Options> {
    let mut options = Options { rounds: 30, idle: 20, others: Vec::new() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number =
            || words.next().and_then(|n| n.parse().ok()).context("a number is missing");
        match word.as_str() {
            "--rounds" => options.rounds = number()?,
            "--idle" => options.idle = number()?,
            flag if flag.starts_with('-') => bail!("{flag} is unknown; see the top of bench.rs"),
            _ => options.others.push(word),
        }
    }
    Ok(options)
}

/// Folders of shims of foreign runtimes, `io.containerd.NAME.vN`.
fn shims_on_path(runtimes: &[String]) -> Result<Vec<PathBuf>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let find = |runtime: &String| {
        let mut parts = runtime.rsplit('.');
        let (version, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let shim = format!("containerd-shim-{name}-{version}");
        let found = folders.iter().find(|folder| folder.join(&shim).exists());
        found.cloned().with_context(|| format!("{shim} is not on PATH"))
    };
    runtimes.iter().map(find).collect()
}

fn runners(options: &Options, ours: bool) -> Vec<Runner> {
    let wasm = |label: &str, runtime: &str| Runner {
        label: label.to_string(),
        runtime: runtime.to_string(),
        said: Some("Hello, bench!\n"),
        image: "hello",
        args: vec!["bench"],
        idle: vec!["sleep"],
        times: Vec::new(),
    };
    let busybox = |label: &str, runtime: &str, said, idle| Runner {
        label: label.to_string(),
        runtime: runtime.to_string(),
        said,
        image: "busybox",
        args: vec!["echo", "Hello, bench!"],
        idle,
        times: Vec::new(),
    };
    let mut all = Vec::new();
    if ours {
        all.push(wasm("wherry (warm)", Runtime::Wherry.name()));
    }
    all.extend([
        busybox(
            "runc, busybox echo",
            Runtime::Runc.name(),
            Some("Hello, bench!\n"),
            vec!["busybox", "sleep", "1000"],
        ),
        busybox("floor (does nothing)", FLOOR, None, Vec::new()),
    ]);
    all.extend(options.others.iter().map(|runtime| wasm(runtime, runtime)));
    all
}

fn container(world: &World, runtime: &str, image: &str, args: &[&str]) -> Result<Container> {
    let image = if image == "busybox" { world.busybox()? } else { world.image(image)? };
    Ok(Container::of(&image).runtime(runtime).args(args))
}

fn run(world: &World, runner: &Runner) -> Result<Phases> {
    let container = container(world, &runner.runtime, runner.image, &runner.args)?;
    measure::phases(&world.containerd, container, runner.said)
}

/// Total of a first start, with nothing compiled and nothing known.
fn cold(world: &World, runner: &Runner, rounds: usize) -> Result<Vec<Duration>> {
    let mut totals = Vec::new();
    for _ in 0..rounds {
        for folder in
            [world.containerd.place.path("wherry"), world.containerd.place.inside("/run/wherry")]
        {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() { fs::remove_dir_all(path)? } else { fs::remove_file(path)? }
            }
        }
        totals.push(run(world, runner).context("cold start")?.total);
    }
    Ok(totals)
}

/// Bytes for each of `count` containers that sleep.
fn idle(world: &World, runner: &Runner, count: usize) -> Result<f64> {
    let (image, args) = runner.idle.split_first().context("nothing to run idle")?;
    let mut tasks = Vec::new();
    for _ in 0..count {
        let task = container(world, &runner.runtime, image, args)?.create(&world.containerd)?;
        task.start()?;
        if *image == "sleep" {
            task.says("sleeping")?;
        }
        tasks.push(task);
    }
    Ok(measure::memory(&world.containerd) as f64 / count as f64)
}

fn report(runners: &[Runner], options: &Options, cold: Vec<Duration>) {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    println!(
        "bench --rounds {} --idle {} {}",
        options.rounds,
        options.idle,
        options.others.join(" ")
    );
    println!(
        "containerd {}, {} rounds, interleaved; ms, median (p99)\n",
        Version::V2_4.name(),
        options.rounds
    );
    print!("{:28}", "");
    for name in Phases::NAMES {
        print!("{name:>16}");
    }
    println!("{:>9}{:>9}", "/runc", "/floor");
    let column = |runner: &Runner, at: usize| -> Vec<Duration> {
        runner.times.iter().filter_map(|phases| phases.all()[at]).collect()
    };
    let total = |runner: &Runner| ms(quantile(&column(runner, 4), 0.5));
    let of =
        |name: &str| runners.iter().find(|runner| runner.runtime == name).map_or(f64::NAN, total);
    let (runc, floor) = (of(Runtime::Runc.name()), of(FLOOR));
    for runner in runners {
        print!("{:28}", runner.label);
        for at in 0..Phases::NAMES.len() {
            let times = column(runner, at);
            if times.is_empty() {
                print!("{:>16}", "-");
            } else {
                let told =
                    format!("{:.1} ({:.1})", ms(quantile(&times, 0.5)), ms(quantile(&times, 0.99)));
                print!("{told:>16}");
            }
        }
        println!("{:>9.3}{:>9.2}", total(runner) / runc, total(runner) / floor);
    }
    println!(
        "\nwherry, first start on a node (cold cache): {:.1} ms, median of {}",
        ms(quantile(&cold, 0.5)),
        cold.len()
    );
}
