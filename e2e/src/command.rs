//! Runs programs with a time limit and everything they say captured.

use std::fmt;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// What a program answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The exit code; 128+n where signal n ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The output of a program that did well, or an error with all it said.
    pub fn ok(self) -> Result<Output> {
        if self.code != 0 {
            bail!("{self}");
        }
        Ok(self)
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}\nstdout: {:?}\nstderr: {:?}", self.code, self.stdout, self.stderr)
    }
}

/// Runs to the end, at most `limit`, with `input` on stdin.
pub fn run(command: &mut Command, input: &[u8], limit: Duration) -> Result<Output> {
    run_with(command, input, limit, false)
}

/// As [`run`], but stdin ends only when all of the input has come back, for `ctr run` with a program that
/// copies: an end that comes before the container is made is never told to containerd (`ctr`'s
/// `tasks_unix.go` sets the closer after `NewTask`), and any container then waits for ever, runc's too.
pub fn run_piped(command: &mut Command, input: &[u8], limit: Duration) -> Result<Output> {
    run_with(command, input, limit, true)
}

fn run_with(command: &mut Command, input: &[u8], limit: Duration, held: bool) -> Result<Output> {
    let told = format!("{command:?}");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| told.clone())?;
    let came = Arc::new(AtomicUsize::new(0));
    let stdout = collect(child.stdout.take(), came.clone());
    let stderr = collect(child.stderr.take(), Arc::default());
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // The program may end without reading, which breaks the pipe and is its right.
        thread::spawn(move || {
            stdin.write_all(&input).ok();
            until(limit, || !held || came.load(Ordering::Relaxed) >= input.len());
        });
    }
    let code = wait(&mut child, limit);
    let output = Output {
        code: code.as_ref().copied().unwrap_or(-1),
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
    };
    code.with_context(|| format!("{told}\n{output}"))?;
    Ok(output)
}

fn collect(
    from: Option<impl Read + Send + 'static>,
    came: Arc<AtomicUsize>,
) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut buffer = [0; 16 * 1024];
        if let Some(mut from) = from {
            while let Ok(size @ 1..) = from.read(&mut buffer) {
                bytes.extend_from_slice(&buffer[..size]);
                came.store(bytes.len(), Ordering::Relaxed);
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The exit code of `child`, killed if it takes longer than `limit`.
pub fn wait(child: &mut Child, limit: Duration) -> Result<i32> {
    use std::os::unix::process::ExitStatusExt;
    let mut ended = None;
    until(limit, || {
        ended = child.try_wait().ok().flatten();
        ended.is_some()
    });
    match ended {
        Some(status) => {
            Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
        }
        None => {
            child.kill().ok();
            child.wait().ok();
            bail!("still running after {limit:?}")
        }
    }
}

/// `kill -9`; an error if there is no such process.
pub fn kill_9(pid: u32) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("pid 0")?;
    kill_process(pid, Signal::KILL).with_context(|| format!("{pid:?}"))
}

/// A time limit as it is on this machine: `WHERRY_PATIENCE` times as long.
pub fn patient(limit: Duration) -> Duration {
    static TIMES: LazyLock<u32> = LazyLock::new(|| {
        let times = std::env::var("WHERRY_PATIENCE").ok();
        times.map_or(1, |times| times.parse().expect("WHERRY_PATIENCE is a whole number"))
    });
    limit * *TIMES
}

/// Asks again and again until `done` or the [`patient`] `limit` is over; says which.
pub fn until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let (start, limit) = (Instant::now(), patient(limit));
    let mut pause = Duration::from_micros(200);
    loop {
        if done() {
            return true;
        }
        if start.elapsed() > limit {
            return false;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Starts a program which outlives the thread that asks for it: `PR_SET_PDEATHSIG` is about the end of the thread that
/// is the parent, not of its process (prctl(2)), and cases run in threads that end.
pub fn spawn_lasting(mut command: Command) -> Result<Child> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let told = tell.send(command.spawn());
        while told.is_ok() {
            thread::park();
        }
    });
    Ok(told.recv()??)
}
