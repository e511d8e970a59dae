//! The command line: words in, a command out.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use lexopt::prelude::*;
use lexopt::{Error, Parser};

pub(crate) const HELP: &str = "\
wherry: compiles, inspects and looks after WebAssembly on a node.

Usage: wherry COMMAND [OPTIONS]

Commands:
  doctor                  Tell whether this node can run Wasm containers, and what to do if not (root).
      --address SOCKET        containerd's, where several run
      --config FILE           its configuration, where it does not run
      --root DIR              the node's file system, if it is mounted there
      --json                  as JSON; the exit code is 1 if anything failed
  ps                      List shims and containers: processes, memory, modules (root).
      --namespace NAME        of this namespace of containerd only
      --address SOCKET        of this containerd only
      --json                  as JSON
  compile FILE -o OUT     Compile a module, a component or .wat text, in a jail.
  compile                 The same from stdin to stdout; the answer is a line of JSON on stderr.
      --memory BYTES          memory the compiler may use (default 2 GiB)
      --cpu-seconds N         processor time it may use (default 120)
      --threads N             threads it may use (default: as many as there are processors, at most 4)
      --no-jail               without the jail, to look for a fault in the compiler
  inspect FILE            Tell what a file is, what it imports and exports, and how it would run.
      --json                  as JSON
  image FILE --name NAME -o OUT
                          Pack a program as an image: ctr images import, docker load or skopeo take the file.
  engine-id               Print the id under which compiled code is kept.
  cache ls                List the node's compiled code, the least recently used first.
  cache verify            Hash all of it, and remove what is damaged.
  cache prune             Bring it below its bound.
  cache warm FILE...      Compile files before a container asks for them.
      --dir DIR               the cache (default /var/lib/wherry/cache)
      --max-bytes N           its bound (default 4 GiB)
      --json                  as JSON
  fetch                   Write the WebAssembly layer of a container's image to stdout.
      --address SOCKET        containerd's (default /run/containerd/containerd.sock)
      --namespace NAME        containerd's namespace
      --container ID          the container
      --digest-only           print its digest alone
  fleet ...               A cluster's nodes and their rollout, by wherry-fleet: see wherry fleet help.
  help, --help            Print this.
  --version               Print the version.
";

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Help,
    Version,
    EngineId,
    Compile(Compile),
    Fetch(Fetch),
    Cache(Cache),
    Doctor(Doctor),
    Ps(Ps),
    Inspect {
        file: PathBuf,
        json: bool,
    },
    Image(Image),
    /// Another program's, as they are.
    Fleet(Vec<OsString>),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Compile {
    /// From stdin to stdout without.
    pub(crate) files: Option<(PathBuf, PathBuf)>,
    pub(crate) memory: u64,
    pub(crate) cpu_seconds: u64,
    pub(crate) threads: NonZeroUsize,
    pub(crate) jailed: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fetch {
    pub(crate) address: PathBuf,
    pub(crate) namespace: String,
    pub(crate) container: String,
    pub(crate) digest_only: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cache {
    pub(crate) action: Action,
    pub(crate) dir: PathBuf,
    pub(crate) max_bytes: u64,
    pub(crate) json: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) file: PathBuf,
    /// Of the image, with its registry.
    pub(crate) name: String,
    pub(crate) out: PathBuf,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Doctor {
    /// containerd's socket.
    pub(crate) address: Option<PathBuf>,
    /// containerd's main configuration file.
    pub(crate) config: Option<PathBuf>,
    /// The node's root.
    pub(crate) root: Option<PathBuf>,
    pub(crate) json: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ps {
    /// Of containerd.
    pub(crate) namespace: Option<String>,
    /// containerd's socket.
    pub(crate) address: Option<PathBuf>,
    pub(crate) json: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    List,
    Verify,
    Prune,
    Warm(Vec<PathBuf>),
}

pub(crate) fn parse(mut parser: Parser) -> Result<Command, Error> {
    match parser.next()? {
        None | Some(Long("help") | Short('h')) => Ok(Command::Help),
        Some(Long("version") | Short('V')) => Ok(Command::Version),
        Some(Value(word)) => match word.string()?.as_str() {
            "help" => Ok(Command::Help),
            "version" => Ok(Command::Version),
            "engine-id" => end(&mut parser, Command::EngineId),
            "compile" => compile(parser),
            "inspect" => inspect(parser),
            "image" => image(parser),
            "cache" => cache(parser),
            "doctor" => doctor(parser),
            "ps" => ps(parser),
            "fetch" => fetch(parser),
            "fleet" => Ok(Command::Fleet(parser.raw_args()?.collect())),
            other => Err(format!("there is no command {other:?}").into()),
        },
        Some(arg) => Err(arg.unexpected()),
    }
}

fn end(parser: &mut Parser, command: Command) -> Result<Command, Error> {
    match parser.next()? {
        None => Ok(command),
        Some(Long("help") | Short('h')) => Ok(Command::Help),
        Some(arg) => Err(arg.unexpected()),
    }
}

fn compile(mut parser: Parser) -> Result<Command, Error> {
    let processors = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    // More threads hardly make a module of usual size faster, and other pods want to start, too.
    let most = NonZeroUsize::MIN.saturating_add(3);
    let (mut file, mut out) = (None, None);
    let mut compile = Compile {
        files: None,
        memory: 2 << 30,
        cpu_seconds: 120,
        threads: processors.min(most),
        jailed: true,
    };
    while let Some(arg) = parser.next()? {
        match arg {
            Long("memory") => compile.memory = parser.value()?.parse()?,
            Long("cpu-seconds") => compile.cpu_seconds = parser.value()?.parse()?,
            Long("threads") => compile.threads = parser.value()?.parse()?,
            Long("no-jail") => compile.jailed = false,
            Long("jailed") => compile.jailed = true,
            Short('o') | Long("output") => out = Some(PathBuf::from(parser.value()?)),
            Value(path) if file.is_none() => file = Some(PathBuf::from(path)),
            Long("help") | Short('h') => return Ok(Command::Help),
            other => return Err(other.unexpected()),
        }
    }
    compile.files = match (file, out) {
        (None, None) => None,
        (Some(file), Some(out)) => Some((file, out)),
        (Some(_), None) => return Err("say where to write with -o OUT".into()),
        (None, Some(_)) => return Err("name the file to compile".into()),
    };
    Ok(Command::Compile(compile))
}

fn inspect(mut parser: Parser) -> Result<Command, Error> {
    let (mut file, mut json) = (None, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("json") => json = true,
            Value(path) if file.is_none() => file = Some(PathBuf::from(path)),
            Long("help") | Short('h') => return Ok(Command::Help),
            other => return Err(other.unexpected()),
        }
    }
    match file {
        Some(file) => Ok(Command::Inspect { file, json }),
        None => Err("name the file to inspect".into()),
    }
}

fn image(mut parser: Parser) -> Result<Command, Error> {
    let (mut file, mut name, mut out) = (None, None, None);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("name") => name = Some(parser.value()?.string()?),
            Short('o') | Long("output") => out = Some(PathBuf::from(parser.value()?)),
            Value(path) if file.is_none() => file = Some(PathBuf::from(path)),
            Long("help") | Short('h') => return Ok(Command::Help),
            other => return Err(other.unexpected()),
        }
    }
    match (file, name, out) {
        (Some(file), Some(name), Some(out)) => Ok(Command::Image(Image { file, name, out })),
        (None, ..) => Err("name the file to pack".into()),
        (_, None, _) => Err("name the image with --name NAME".into()),
        (.., None) => Err("say where to write with -o OUT".into()),
    }
}

fn cache(mut parser: Parser) -> Result<Command, Error> {
    let standard = wherry_core::spec::Options::default();
    let (mut dir, mut max_bytes, mut json) = (standard.cache_dir, standard.cache_max_bytes, false);
    let mut words = Vec::new();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("dir") => dir = parser.value()?.into(),
            Long("max-bytes") => max_bytes = parser.value()?.parse()?,
            Long("json") => json = true,
            Value(word) => words.push(word),
            Long("help") | Short('h') => return Ok(Command::Help),
            other => return Err(other.unexpected()),
        }
    }
    let mut words = words.into_iter();
    let action = match words.next().map(|word| word.string()).transpose()?.as_deref() {
        Some("ls") => Action::List,
        Some("verify") => Action::Verify,
        Some("prune") => Action::Prune,
        Some("warm") if words.len() > 0 => {
            Action::Warm(words.by_ref().map(PathBuf::from).collect())
        }
        Some("warm") => return Err("name the files to compile".into()),
        Some(other) => return Err(format!("there is no command \"cache {other}\"").into()),
        None => return Err("say what to do with the cache: ls, verify, prune or warm".into()),
    };
    match words.next() {
        None => Ok(Command::Cache(Cache { action, dir, max_bytes, json })),
        Some(word) => Err(Error::UnexpectedArgument(word)),
    }
}

fn doctor(mut parser: Parser) -> Result<Command, Error> {
    let mut doctor = Doctor { address: None, config: None, root: None, json: false };
    while let Some(arg) = parser.next()? {
        match arg {
            Long("address") => doctor.address = Some(socket(&mut parser)?),
            Long("config") => doctor.config = Some(parser.value()?.into()),
            Long("root") => doctor.root = Some(parser.value()?.into()),
            Long("json") => doctor.json = true,
            Long("help") | Short('h') => return Ok(Command::Help),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Doctor(doctor))
}

fn ps(mut parser: Parser) -> Result<Command, Error> {
    let mut ps = Ps { namespace: None, address: None, json: false };
    while let Some(arg) = parser.next()? {
        match arg {
            Long("namespace") => ps.namespace = Some(parser.value()?.string()?),
            Long("address") => ps.address = Some(socket(&mut parser)?),
            Long("json") => ps.json = true,
            Long("help") | Short('h') => return Ok(Command::Help),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Command::Ps(ps))
}

/// A path; some write it as an address.
fn socket(parser: &mut Parser) -> Result<PathBuf, Error> {
    let text = parser.value()?.string()?;
    Ok(text.strip_prefix("unix://").unwrap_or(&text).into())
}

fn fetch(mut parser: Parser) -> Result<Command, Error> {
    let (mut namespace, mut container) = (None, None);
    let mut address = PathBuf::from("/run/containerd/containerd.sock");
    let mut digest_only = false;
    while let Some(arg) = parser.next()? {
        match arg {
            Long("address") => address = parser.value()?.into(),
            Long("namespace") => namespace = Some(parser.value()?.string()?),
            Long("container") => container = Some(parser.value()?.string()?),
            Long("digest-only") => digest_only = true,
            Long("help") | Short('h') => return Ok(Command::Help),
            other => return Err(other.unexpected()),
        }
    }
    let (Some(namespace), Some(container)) = (namespace, container) else {
        return Err("say which with --namespace NAME --container ID".into());
    };
    Ok(Command::Fetch(Fetch { address, namespace, container, digest_only }))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(line: &str, expected: Expect) {
        let told = match parse(Parser::from_args(line.split_whitespace())) {
            Ok(command) => format!("{command:?}"),
            Err(error) => format!("refused: {error}"),
        };
        expected.assert_eq(&told);
    }

    #[test]
    fn each_command_takes_its_own_words() {
        check("", expect!["Help"]);
        check("--version", expect!["Version"]);
        check("engine-id", expect!["EngineId"]);
        check(
            "compile --memory 1000 --cpu-seconds 5 --threads 2",
            expect![
                "Compile(Compile { files: None, memory: 1000, cpu_seconds: 5, threads: 2, jailed: true })"
            ],
        );
        check(
            "compile a.wasm -o a.cwasm --threads 1 --no-jail",
            expect![[
                r#"Compile(Compile { files: Some(("a.wasm", "a.cwasm")), memory: 2147483648, cpu_seconds: 120, threads: 1, jailed: false })"#
            ]],
        );
        check("inspect a.wasm --json", expect![[r#"Inspect { file: "a.wasm", json: true }"#]]);
        check(
            "cache --dir /c warm a b",
            expect![[
                r#"Cache(Cache { action: Warm(["a", "b"]), dir: "/c", max_bytes: 4294967296, json: false })"#
            ]],
        );
        check(
            "cache ls --json",
            expect![[
                r#"Cache(Cache { action: List, dir: "/var/lib/wherry/cache", max_bytes: 4294967296, json: true })"#
            ]],
        );
        check(
            "doctor --address unix:///c.sock --root /host --json",
            expect![[
                r#"Doctor(Doctor { address: Some("/c.sock"), config: None, root: Some("/host"), json: true })"#
            ]],
        );
        check(
            "ps --namespace k8s.io",
            expect![[r#"Ps(Ps { namespace: Some("k8s.io"), address: None, json: false })"#]],
        );
        check("ps --help", expect!["Help"]);
        check("fleet status --watch", expect![[r#"Fleet(["status", "--watch"])"#]]);
        check(
            "image a.wasm --name x.example/a:1 -o a.tar",
            expect![[r#"Image(Image { file: "a.wasm", name: "x.example/a:1", out: "a.tar" })"#]],
        );
        check(
            "fetch --namespace k8s.io --container c1 --digest-only",
            expect![[
                r#"Fetch(Fetch { address: "/run/containerd/containerd.sock", namespace: "k8s.io", container: "c1", digest_only: true })"#
            ]],
        );
    }

    #[test]
    fn what_is_missing_or_unknown_is_told() {
        check("frobnicate", expect![[r#"refused: there is no command "frobnicate""#]]);
        check("compile a.wasm", expect!["refused: say where to write with -o OUT"]);
        check("compile -o out", expect!["refused: name the file to compile"]);
        check(
            "compile --threads 0",
            expect![[
                r#"refused: cannot parse argument "0": number would be zero for non-zero type"#
            ]],
        );
        check(
            "cache",
            expect!["refused: say what to do with the cache: ls, verify, prune or warm"],
        );
        check("cache warm", expect!["refused: name the files to compile"]);
        check("cache ls more", expect![[r#"refused: unexpected argument "more""#]]);
        check(
            "fetch --namespace x",
            expect!["refused: say which with --namespace NAME --container ID"],
        );
        check("image a.wasm -o a.tar", expect!["refused: name the image with --name NAME"]);
        check("doctor web", expect![[r#"refused: unexpected argument "web""#]]);
        check("ps --all", expect!["refused: invalid option '--all'"]);
        check("engine-id --json", expect!["refused: invalid option '--json'"]);
    }
}
