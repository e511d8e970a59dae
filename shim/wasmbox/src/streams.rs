//! Where a command reads from and writes to: the process's own streams, files, and buffers.

use std::cell::{OnceCell, RefCell};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::rc::Rc;

/// Something to read from. What one command leaves unread, the next one finds.
pub(crate) type In = Rc<RefCell<dyn BufRead>>;
/// Something to write to.
pub(crate) type Out = Rc<RefCell<dyn Write>>;

/// How much is read at once: what a pipe holds.
pub(crate) const CHUNK: usize = 64 * 1024;

/// A descriptor of a command.
#[derive(Clone)]
pub(crate) enum Fd {
    In(In),
    Out(Out),
}

thread_local! {
    static PROCESS: OnceCell<Streams> = const { OnceCell::new() };
}

/// What a command is connected to. Commands that share a stream share its buffer.
#[derive(Clone)]
pub(crate) struct Streams {
    pub(crate) stdin: In,
    pub(crate) stdout: Out,
    pub(crate) stderr: Out,
}

impl Streams {
    /// The process's own three.
    pub(crate) fn of_process() -> Streams {
        PROCESS.with(|process| {
            let own = process.get_or_init(|| Streams {
                stdin: input(BufReader::with_capacity(CHUNK, Stdin)),
                stdout: output(BufWriter::with_capacity(CHUNK, Stdout)),
                stderr: output(Stderr),
            });
            own.clone()
        })
    }

    /// Which of the three are terminals: those that are the process's own, if it has one there.
    pub(crate) fn terminals(&self) -> [bool; 3] {
        PROCESS.with(|process| {
            let Some(own) = process.get() else { return [false; 3] };
            [
                Rc::ptr_eq(&self.stdin, &own.stdin) && io::stdin().is_terminal(),
                Rc::ptr_eq(&self.stdout, &own.stdout) && io::stdout().is_terminal(),
                Rc::ptr_eq(&self.stderr, &own.stderr) && io::stderr().is_terminal(),
            ]
        })
    }
}

pub(crate) fn input(reader: impl BufRead + 'static) -> In {
    Rc::new(RefCell::new(reader))
}

pub(crate) fn output(writer: impl Write + 'static) -> Out {
    Rc::new(RefCell::new(writer))
}

pub(crate) fn file_input(file: File) -> In {
    input(BufReader::with_capacity(CHUNK, file))
}

pub(crate) fn file_output(file: File) -> Out {
    output(BufWriter::with_capacity(CHUNK, file))
}

/// Reads whole lines for as long as `each` wants more; a line has its end, unless it is the last.
pub(crate) fn read_line(stdin: &In) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    stdin.borrow_mut().read_until(b'\n', &mut line)?;
    Ok((!line.is_empty()).then_some(line))
}

struct Stdin;
struct Stdout;
struct Stderr;

// std's own handles have buffers of their own, and hide a closed stdin.
impl Read for Stdin {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match rustix::io::read(rustix::stdio::stdin(), &mut *buffer) {
                Err(rustix::io::Errno::INTR) => {}
                // Nobody gave us a stdin.
                Err(rustix::io::Errno::BADF) => return Ok(0),
                result => return Ok(result?),
            }
        }
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stdout(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::io::write(rustix::stdio::stderr(), bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A place for what a command writes before the next one reads it: small in memory, large in a
/// file that has no name as soon as it is open.
pub(crate) struct Spool {
    memory: Vec<u8>,
    file: Option<File>,
    length: u64,
}

/// What is kept in memory.
const IN_MEMORY: usize = 1024 * 1024;
/// What is kept in memory when there is no folder to write to: a container with a read-only root.
const AT_MOST: usize = 64 * 1024 * 1024;

impl Spool {
    pub(crate) fn new() -> Rc<RefCell<Spool>> {
        Rc::new(RefCell::new(Spool { memory: Vec::new(), file: None, length: 0 }))
    }

    /// All that was written, and nothing is left.
    pub(crate) fn take(spool: &Rc<RefCell<Spool>>) -> io::Result<In> {
        let mut spool = spool.borrow_mut();
        let memory = io::Cursor::new(std::mem::take(&mut spool.memory));
        match spool.file.take() {
            None => Ok(input(memory)),
            Some(mut file) => {
                file.seek(SeekFrom::Start(0))?;
                Ok(input(BufReader::with_capacity(CHUNK, memory.chain(file))))
            }
        }
    }

    /// The bytes in memory: for what is going to be one string anyway.
    pub(crate) fn take_bytes(spool: &Rc<RefCell<Spool>>) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        Spool::take(spool)?.borrow_mut().read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn overflow(&mut self) -> io::Result<()> {
        if let Ok(file) = unnamed_file() {
            self.file = Some(file);
            return Ok(());
        }
        if self.memory.len() < AT_MOST {
            return Ok(());
        }
        Err(io::Error::other(
            "what a pipe holds is too much for memory, and neither $TMPDIR nor /tmp can be written to",
        ))
    }
}

impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.file.is_none() && self.memory.len() + bytes.len() > IN_MEMORY {
            self.overflow()?;
        }
        let written = match &mut self.file {
            Some(file) => file.write(bytes)?,
            None => {
                self.memory.extend_from_slice(bytes);
                bytes.len()
            }
        };
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn unnamed_file() -> io::Result<File> {
    let path = unused_name(&temporary_folder(), "wasmbox-pipe.XXXXXX")?;
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(path)?;
    Ok(file)
}

pub(crate) fn temporary_folder() -> PathBuf {
    std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from)
}

/// A name that nothing has, from a template that ends in X's.
pub(crate) fn unused_name(folder: &std::path::Path, template: &str) -> io::Result<PathBuf> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let stem = template.trim_end_matches('X');
    for attempt in 0..100u64 {
        let mut random = random(attempt);
        let letters = (stem.len()..template.len()).map(|_| {
            random = random.rotate_left(11).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            char::from(LETTERS[(random >> 32) as usize % LETTERS.len()])
        });
        let path = folder.join(format!("{stem}{}", letters.collect::<String>()));
        if std::fs::symlink_metadata(&path).is_err() {
            return Ok(path);
        }
    }
    Err(io::Error::from(io::ErrorKind::AlreadyExists))
}

/// Not for secrets: std's seed of hash maps, which the host draws.
pub(crate) fn random(salt: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u64(salt);
    hasher.finish()
}
