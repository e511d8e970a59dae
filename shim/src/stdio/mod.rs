//! The streams of a process: what containerd names, opened, one end for the guest and one kept.
//!
//! Without a terminal the guest reads and writes containerd's FIFOs itself; nothing is copied. The shim keeps the
//! other end of each open:
//! - of an output, a reader that never reads, so that a guest which writes while containerd is away
//!   waits instead of dying of EPIPE (containerd, `cmd/containerd-shim-runc-v2/process/io.go`
//!   `copyPipes` opens each FIFO both ways for the same reason);
//! - of the input, a writer, so that a client which detaches does not end the guest's input. Only
//!   `CloseIO` does, by closing it (the same file, `Init.stdin`). A client whose input is short may
//!   be done before the task is started, and then knows no task to call `CloseIO` for (`ctr run`
//!   with a pipe): so the writer comes at the start, and only if no client has come and gone.
//!
//! Besides FIFOs: `file://`, and `binary://`, a program that takes the logs (containerd,
//! `core/runtime/v2/README.md`, "Logging": descriptors 3 and 4 are stdout and stderr, closing 5
//! says that it is ready). No name means no stream.

mod logger;
pub(crate) mod terminal;

use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use percent_encoding::percent_decode_str;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;
use tokio::task::JoinHandle;
use wherry_core::lifecycle::Stdio;
use wherry_core::plan::Terminal;

pub(crate) use logger::Logger;

#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error("{stream} cannot be opened at {name}")]
    Open { stream: &'static str, name: String, source: io::Error },
    #[error(
        "{stream} is {name}, of a kind that is not supported: give the path of a FIFO, file:// or \
         binary://"
    )]
    Scheme { stream: &'static str, name: String },
    #[error("the log program {} cannot be started", program.display())]
    Logger { program: PathBuf, source: io::Error },
    #[error("the log program {} {how} before it was ready", program.display())]
    NotReady { program: PathBuf, how: String },
    #[error("a terminal cannot be made (process.terminal)")]
    Terminal { source: io::Error },
}

/// What a process is to be connected to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams<'a> {
    pub(crate) stdio: &'a Stdio,
    pub(crate) terminal: Option<Terminal>,
    /// The user whose terminal it is, as the node counts users.
    pub(crate) owner: Option<u32>,
    /// For a log program.
    pub(crate) namespace: &'a str,
    pub(crate) id: &'a str,
}

/// The guest's ends.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    /// All three are one.
    pub(crate) terminal: bool,
}

/// The shim's ends, for as long as the process is known.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    stdin: Input,
    /// Never read: they are there so that somebody could.
    _readers: Vec<OwnedFd>,
    logger: Option<Logger>,
    console: Option<terminal::Console>,
}

#[derive(Debug, Default)]
enum Input {
    /// There is none, or it has been closed.
    #[default]
    None,
    /// Until the start: a reader, which tells whether a client has come and gone.
    Before { reader: OwnedFd, path: PathBuf },
    /// Never written: it is there so that the input does not end.
    Held { _writer: OwnedFd },
}

/// Opens all three. Starts the log program if one is named.
pub(crate) fn open(streams: Streams<'_>) -> Result<(Ends, Kept), Error> {
    if let Some(size) = streams.terminal {
        return terminal::open(streams, size);
    }
    let mut kept = Kept::default();
    let stdio = streams.stdio;
    let stdin = input(&stdio.stdin, &mut kept)?;
    let (stdout, stderr) = match logger::binary(&stdio.stdout) {
        Some(uri) => {
            let (stdout, stderr, logger) = logger::start(uri, streams.namespace, streams.id)?;
            kept.logger = Some(logger);
            (stdout, stderr)
        }
        None => (
            output("stdout", &stdio.stdout, &mut kept)?,
            output("stderr", &stdio.stderr, &mut kept)?,
        ),
    };
    Ok((Ends { stdin, stdout, stderr, terminal: false }, kept))
}

impl Kept {
    /// `CloseIO`: the guest reads the end of its input once the client has closed its end too. A client that had
    /// nothing to say may never have opened it; who waits for it to be readable hears of no end then ([`has_ended`]).
    pub(crate) fn close_stdin(&mut self) {
        if let Input::Before { path, .. } = std::mem::take(&mut self.stdin)
            && let Err(errno) = open_at(&path, OFlags::WRONLY | OFlags::NONBLOCK)
        {
            log::warn!("cannot end the input at {}: {errno}", path.display());
        }
    }

    /// The guest is about to start: from here on its input ends by [`Kept::close_stdin`] only.
    pub(crate) fn hold_stdin(&mut self) {
        self.stdin = match std::mem::take(&mut self.stdin) {
            Input::Before { reader, path } if !has_ended(&reader) => {
                match open_at(&path, OFlags::WRONLY | OFlags::NONBLOCK) {
                    Ok(writer) => Input::Held { _writer: writer },
                    Err(errno) => {
                        log::warn!("cannot hold the input at {}: {errno}", path.display());
                        Input::None
                    }
                }
            }
            Input::Before { .. } | Input::None => Input::None,
            held @ Input::Held { .. } => held,
        };
    }

    /// Tells the terminal its size; without a terminal there is nothing to tell.
    pub(crate) fn resize(&self, size: Terminal) -> io::Result<()> {
        self.console.as_ref().map_or(Ok(()), |console| console.resize(size))
    }

    /// What has to be waited for before the task can be deleted: a terminal's last output, and the
    /// log program, which is told by the end of its pipes.
    pub(crate) fn take_draining(&mut self) -> (Option<JoinHandle<()>>, Option<Logger>) {
        (self.console.as_mut().and_then(terminal::Console::take_output), self.logger.take())
    }
}

/// Waits until a terminal's last output has been handed on and the log program has ended.
pub(crate) async fn drained(output: Option<JoinHandle<()>>, logger: Option<Logger>) {
    if let Some(output) = output {
        // Aborted is as good as done.
        let _ = output.await;
    }
    if let Some(logger) = logger {
        let _ = tokio::task::spawn_blocking(move || logger.end()).await;
    }
}

fn input(name: &str, kept: &mut Kept) -> Result<OwnedFd, Error> {
    let failed = |source: rustix::io::Errno| Error::Open {
        stream: "stdin",
        name: name.to_owned(),
        source: source.into(),
    };
    if name.is_empty() {
        return null("stdin", OFlags::RDONLY);
    }
    let path = fifo("stdin", name)?;
    // Without NONBLOCK this would wait for a writer; with a reader there, the writer does not.
    let reader = open_at(path, OFlags::RDONLY | OFlags::NONBLOCK).map_err(failed)?;
    rustix::fs::fcntl_setfl(&reader, OFlags::empty()).map_err(failed)?;
    let copy = rustix::io::fcntl_dupfd_cloexec(&reader, 0).map_err(failed)?;
    kept.stdin = Input::Before { reader: copy, path: path.to_owned() };
    Ok(reader)
}

/// A FIFO hangs up only if somebody had opened it for writing since we opened it (poll(2), and the
/// kernel's `pipe_poll`): one that nobody has opened yet has not ended.
fn has_ended(reader: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(reader, PollFlags::empty())];
    let now = Timespec::default();
    rustix::event::poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}

fn output(stream: &'static str, name: &str, kept: &mut Kept) -> Result<OwnedFd, Error> {
    if name.is_empty() {
        return null(stream, OFlags::WRONLY);
    }
    if let Some(path) = name.strip_prefix("file://") {
        return append(path).map_err(|source| Error::Open {
            stream,
            name: name.to_owned(),
            source,
        });
    }
    let path = fifo(stream, name)?;
    let failed = |source: rustix::io::Errno| Error::Open {
        stream,
        name: name.to_owned(),
        source: source.into(),
    };
    let writer = writer_for_a_reader(path).map_err(failed)?;
    kept._readers.push(open_at(path, OFlags::RDONLY | OFlags::NONBLOCK).map_err(failed)?);
    match writer {
        Some(writer) => Ok(writer),
        None => open_at(path, OFlags::WRONLY).map_err(failed),
    }
}

/// How long the client may be behind us with opening its end, in steps of [`STEP`].
const STEPS: u32 = 500;
const STEP: Duration = Duration::from_millis(1);

/// A client opens its ends before it asks for the process, but from threads of their own (containerd's fifo
/// package, `OpenFifo` with `O_NONBLOCK`), which may come after us. If the process were over before they do,
/// they would wait for a writer for ever, and what it said would be lost: so they are let come first, as by
/// containerd's own shim, for which opening waits. A client that stays away is not waited for.
fn writer_for_a_reader(path: &Path) -> rustix::io::Result<Option<OwnedFd>> {
    for _ in 0..STEPS {
        match open_at(path, OFlags::WRONLY | OFlags::NONBLOCK) {
            Err(Errno::NXIO) => std::thread::sleep(STEP),
            Err(errno) => return Err(errno),
            Ok(writer) => {
                rustix::fs::fcntl_setfl(&writer, OFlags::empty())?;
                return Ok(Some(writer));
            }
        }
    }
    Ok(None)
}

/// The path of a FIFO: a bare one, or behind `fifo://`.
fn fifo<'a>(stream: &'static str, name: &'a str) -> Result<&'a Path, Error> {
    let path = name.strip_prefix("fifo://").unwrap_or(name);
    if path.contains("://") {
        return Err(Error::Scheme { stream, name: name.to_owned() });
    }
    Ok(Path::new(path))
}

fn open_at(path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    rustix::io::retry_on_intr(|| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()))
}

fn null(stream: &'static str, flags: OFlags) -> Result<OwnedFd, Error> {
    open_at(Path::new("/dev/null"), flags).map_err(|source| Error::Open {
        stream,
        name: "/dev/null".into(),
        source: source.into(),
    })
}

/// A file that logs are added to, made with its folder if it is not there.
fn append(uri_path: &str) -> io::Result<OwnedFd> {
    let path = PathBuf::from(unescape(uri_path.split(['?', '#']).next().unwrap_or_default()));
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    let file = OpenOptions::new().create(true).append(true).mode(0o644).open(path)?;
    Ok(file.into())
}

/// Percent signs of a URI; bytes that are no escape stay as they are.
fn unescape(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};

    fn open_plain(stdio: &Stdio) -> Result<(Ends, Kept), Error> {
        let (namespace, id) = ("ns", "id");
        super::open(Streams { stdio, terminal: None, owner: None, namespace, id })
    }

    fn make_fifo(folder: &Path, name: &str) -> String {
        let path = folder.join(name);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o700.into(), 0)
            .unwrap();
        path.to_str().unwrap().to_owned()
    }

    #[test]
    fn input_ends_when_the_client_and_the_hold_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let stdio = Stdio { stdin: make_fifo(folder.path(), "in"), ..Stdio::default() };
        let (ends, mut kept) = open_plain(&stdio).unwrap();
        kept.hold_stdin();
        let mut client = OpenOptions::new().write(true).open(&stdio.stdin).unwrap();
        client.write_all(b"hello").unwrap();
        drop(client);
        let mut guest = File::from(ends.stdin);
        let mut text = [0; 5];
        guest.read_exact(&mut text).unwrap();
        kept.close_stdin();
        assert_eq!(guest.read(&mut text).unwrap(), 0);
    }

    #[test]
    fn input_that_is_closed_before_any_client_came_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let stdio = Stdio { stdin: make_fifo(folder.path(), "in"), ..Stdio::default() };
        let (ends, mut kept) = open_plain(&stdio).unwrap();
        assert!(!has_ended(&ends.stdin));
        kept.close_stdin();
        kept.hold_stdin();
        assert!(has_ended(&ends.stdin));
    }

    #[test]
    fn input_ends_with_a_client_that_was_done_before_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let stdio = Stdio { stdin: make_fifo(folder.path(), "in"), ..Stdio::default() };
        let (ends, mut kept) = open_plain(&stdio).unwrap();
        let mut client = OpenOptions::new().write(true).open(&stdio.stdin).unwrap();
        client.write_all(b"hello").unwrap();
        drop(client);
        kept.hold_stdin();
        let mut text = String::new();
        File::from(ends.stdin).read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn a_reader_that_comes_late_hears_all_of_a_short_life() {
        let folder = tempfile::tempdir().unwrap();
        let stdio = Stdio { stdout: make_fifo(folder.path(), "out"), ..Stdio::default() };
        let path = stdio.stdout.clone();
        let client = std::thread::spawn(move || std::fs::read_to_string(path).unwrap());
        let (ends, kept) = open_plain(&stdio).unwrap();
        File::from(ends.stdout).write_all(b"short").unwrap();
        drop(kept);
        assert_eq!(client.join().unwrap(), "short");
    }

    #[test]
    fn output_without_a_reader_waits_and_is_not_lost() {
        let folder = tempfile::tempdir().unwrap();
        let stdio = Stdio { stdout: make_fifo(folder.path(), "out"), ..Stdio::default() };
        let (ends, kept) = open_plain(&stdio).unwrap();
        File::from(ends.stdout).write_all(b"kept").unwrap();
        // containerd comes back when the guest is gone: without a writer, opening would wait.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        let reader = open_at(Path::new(&stdio.stdout), flags).unwrap();
        drop(kept);
        let mut text = String::new();
        File::from(reader).read_to_string(&mut text).unwrap();
        assert_eq!(text, "kept");
    }

    #[test]
    fn a_log_program_gets_its_pipes_its_arguments_and_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let (script, log) = (folder.path().join("log me.sh"), folder.path().join("log"));
        let text = "#!/bin/sh\nexec 5>&-\n\
             echo \"$CONTAINER_NAMESPACE $CONTAINER_ID $1=$2\" > \"$2\"\ncat <&3 >> \"$2\"\n";
        std::fs::write(&script, text).unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let uri = format!(
            "binary://{}?path={}",
            script.to_str().unwrap().replace(' ', "%20"),
            log.display()
        );
        let stdio = Stdio { stdout: uri.clone(), stderr: uri, ..Stdio::default() };
        let (ends, mut kept) = open_plain(&stdio).unwrap();
        File::from(ends.stdout).write_all(b"a line\n").unwrap();
        drop(ends.stderr);
        kept.take_draining().1.unwrap().end();
        let expected = format!("ns id path={}\na line\n", log.display());
        assert_eq!(std::fs::read_to_string(&log).unwrap(), expected);
    }

    #[test]
    fn a_log_program_that_dies_is_told_so() {
        let stdio = Stdio { stdout: "binary:///bin/nothing-here".into(), ..Stdio::default() };
        let error = open_plain(&stdio).unwrap_err().to_string();
        assert_eq!(error, "the log program /bin/nothing-here cannot be started");
    }

    #[test]
    fn an_unknown_kind_of_stream_is_refused_by_name() {
        let stdio = Stdio { stdout: "ttrpc+unix:///x".into(), ..Stdio::default() };
        let error = open_plain(&stdio).unwrap_err().to_string();
        assert!(error.starts_with("stdout is ttrpc+unix:///x, of a kind"), "{error}");
    }
}
