//! Much at once: a gigabyte through the streams, lines as fast as they come, two hundred containers. What is
//! measured is printed beside the same of runc, in the same run on the same containerd.
//!
//! The cases measure, so they run one after another.

use std::io::{Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use wherry_e2e::command;
use wherry_e2e::measure::{self, quantile};
use wherry_e2e::rig::Runtime;
use wherry_e2e::suite::{self, Case, For, World};
use wherry_e2e::task::{Container, RUN, Task};

const CASES: &[Case] = &[
    ("a_gigabyte_of_stdin_comes_out_again", For::Any, |w| gigabyte(w, "cat")),
    ("a_gigabyte_of_stdin_comes_out_again_p2", For::Wherry, |w| gigabyte(w, "cat-p2")),
    ("a_hundred_thousand_lines_a_second", For::Any, lines),
    ("two_hundred_at_once_cost_what_twenty_cost", For::Wherry, crowd),
];

fn main() -> ExitCode {
    suite::main_in_order("load", CASES)
}

const BLOCK: usize = 1 << 20;
const BLOCKS: u64 = 1 << 10;

/// A mebibyte that no other looks like: noise, and its own number in front.
struct Blocks(Vec<u8>);

impl Blocks {
    fn new() -> Blocks {
        // Marsaglia's xorshift64: any bytes do that don't repeat.
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let words = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        Blocks(words.take(BLOCK / 8).flatten().collect())
    }

    fn nth(&mut self, number: u64) -> &[u8] {
        self.0[..8].copy_from_slice(&number.to_le_bytes());
        &self.0
    }
}

/// As a person would: `ctr run IMAGE <file >copy`, with pipes in the place of files.
fn gigabyte(world: &World, guest: &str) -> Result<()> {
    let image = world.image(guest)?;
    let runtime = world.runtime().name();
    let mut ctr = world.containerd.ctr(&["run", "--rm", "--runtime", runtime]);
    ctr.args([&image.reference, "gigabyte"]);
    let mut ctr = spawned(&mut ctr)?;
    let (mut stdin, mut stdout) = (ctr.stdin.take().context("stdin")?, ctr.stdout.take());
    let before = Instant::now();
    let feeder = thread::spawn(move || -> Result<()> {
        let mut blocks = Blocks::new();
        (0..BLOCKS).try_for_each(|number| stdin.write_all(blocks.nth(number)))?;
        Ok(())
    });
    let reader = thread::spawn(move || -> Result<u64> {
        let stdout = stdout.as_mut().context("stdout")?;
        let (mut blocks, mut found) = (Blocks::new(), vec![0; BLOCK]);
        for number in 0..BLOCKS {
            stdout.read_exact(&mut found).with_context(|| format!("mebibyte {number}"))?;
            ensure!(found == blocks.nth(number), "mebibyte {number} is another");
        }
        Ok(stdout.read_to_end(&mut found)? as u64)
    });
    let status = command::wait(&mut ctr, 4 * RUN)?;
    let took = before.elapsed();
    feeder.join().expect("no panic").context("stdin")?;
    let more = reader.join().expect("no panic").context("stdout")?;
    ensure!(more == 0, "{more} bytes too many");
    ensure!(status == 0, "ctr ended with {status}");
    println!("  {guest}: 1 GiB in and out in {:.1} s", took.as_secs_f64());
    Ok(())
}

fn spawned(command: &mut Command) -> Result<std::process::Child> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command.spawn().context("ctr")
}

/// Lines that are written one by one. The rate that is asked for is a fraction of what a machine of two
/// processors does, so the best of three is enough to be safe from what else runs there.
fn lines(world: &World) -> Result<()> {
    const COUNT: usize = 400_000;
    const WANTED: f64 = 100_000.0;
    let rates: Vec<f64> = (0..3).map(|_| rate(world, COUNT)).collect::<Result<_>>()?;
    let best = rates.iter().copied().fold(0.0, f64::max);
    println!(
        "  lines a second: {}",
        rates.iter().map(|rate| format!("{rate:.0} ")).collect::<String>()
    );
    ensure!(best >= WANTED, "{best:.0} lines a second at best");
    Ok(())
}

fn rate(world: &World, count: usize) -> Result<f64> {
    let mut task = world.guest("lines")?.args(&[&count.to_string()]).create(&world.containerd)?;
    let before = Instant::now();
    task.start()?;
    ensure!(task.wait(RUN)? == 0);
    let (stdout, _) = task.output();
    let took = before.elapsed();
    task.delete()?;
    let came = stdout.lines().count();
    ensure!(came == count, "{came} lines of {count}");
    Ok(count as f64 / took.as_secs_f64())
}

const FEW: usize = 20;
const MANY: usize = 200;

/// What a create takes, ours and runc's in turns, and what each container holds.
struct Cost {
    ours: Vec<Duration>,
    runc: Vec<Duration>,
    bytes: f64,
}

fn crowd(world: &World) -> Result<()> {
    let sleep = world.image("sleep")?;
    let mut crowd: Vec<Task> = Vec::new();
    let mut grown_to = |count: usize| -> Result<Cost> {
        while crowd.len() < count {
            let task = Container::of(&sleep).create(&world.containerd)?;
            task.start()?;
            crowd.push(task);
        }
        cost(world, count)
    };
    let (few, many) = (grown_to(FEW)?, grown_to(MANY)?);
    for (count, cost) in [(FEW, &few), (MANY, &many)] {
        let ms = |times: &[Duration], share| quantile(times, share).as_secs_f64() * 1e3;
        println!(
            "  among {count}: {:.2} MB each; create {:.1} ms (p99 {:.1}), runc's {:.1} ms (p99 {:.1})",
            cost.bytes / 1e6,
            ms(&cost.ours, 0.5),
            ms(&cost.ours, 0.99),
            ms(&cost.runc, 0.5),
            ms(&cost.runc, 0.99),
        );
    }
    for task in &mut crowd {
        task.kill(9)?;
        ensure!(task.wait(RUN)? == 137);
        task.delete()?;
    }
    ensure!(many.bytes <= 1.2 * few.bytes, "{:.0} bytes each, not {:.0}", many.bytes, few.bytes);
    // What both take longer by is the machine's doing and containerd's.
    let growth = |of: fn(&Cost) -> &[Duration]| {
        quantile(of(&many), 0.25).as_secs_f64() / quantile(of(&few), 0.25).as_secs_f64()
    };
    let (ours, runc) = (growth(|cost| &cost.ours), growth(|cost| &cost.runc));
    println!("  a create among {MANY} takes {ours:.2} of one among {FEW}; runc's {runc:.2}");
    ensure!(ours <= 1.2 * runc.max(1.0), "a create takes {ours:.2} times as long");
    Ok(())
}

fn cost(world: &World, crowd: usize) -> Result<Cost> {
    const ROUNDS: usize = 50;
    let bytes = measure::memory(&world.containerd) as f64 / crowd as f64;
    let (hello, busybox) = (world.image("hello")?, world.busybox()?);
    let (mut ours, mut runc) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let native = Container::of(&busybox).runtime(Runtime::Runc.name()).args(&["true"]);
        for (container, times) in [(Container::of(&hello), &mut ours), (native, &mut runc)] {
            times.push(measure::phases(&world.containerd, container, None)?.create);
        }
    }
    Ok(Cost { ours, runc, bytes })
}
