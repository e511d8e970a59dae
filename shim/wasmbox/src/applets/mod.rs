//! The applets by name, and how a command of any name is run.

pub(crate) mod clock;
mod compare;
mod copy;
mod count;
mod cut;
mod digest;
mod dump;
mod ends;
mod env;
mod expr;
mod files;
mod find;
mod grep;
mod http;
mod ls;
mod nc;
mod numbers;
mod paths;
pub(crate) mod printf;
pub(crate) mod process;
mod refused;
mod regex;
mod remove;
mod sed;
mod serve;
mod sort;
mod stat;
mod system;
mod tar;
mod test;
mod text;
mod tr;
mod tree;
mod wget;
mod words;
mod xargs;

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use crate::call::{Call, Failure, Outcome, Variables};
use crate::filter::Filtering;
use crate::streams::Streams;

/// How an applet works.
#[derive(Clone, Copy)]
pub(crate) enum Applet {
    Run(fn(&Call<'_>) -> Outcome),
    Filter(fn(&[String]) -> Result<Filtering, Failure>),
}

use Applet::{Filter, Run};

const TABLE: &[(&str, Applet)] = &[
    ("[", Run(test::bracket)),
    ("[[", Run(test::bracket)),
    ("arch", Run(system::arch)),
    ("ash", Run(crate::shell::sh)),
    ("base64", Filter(digest::base64)),
    ("basename", Run(paths::basename)),
    ("busybox", Run(multi)),
    ("cat", Filter(text::cat)),
    ("chgrp", Run(refused::modes)),
    ("chmod", Run(refused::modes)),
    ("chown", Run(refused::modes)),
    ("cksum", Filter(digest::cksum)),
    ("clear", Run(|call| words::say(call, "\x1b[H\x1b[J"))),
    ("cmp", Run(compare::cmp)),
    ("cp", Run(copy::cp)),
    ("cut", Filter(cut::cut)),
    ("date", Run(clock::date)),
    ("dd", Run(files::dd)),
    ("df", Run(refused::space)),
    ("dirname", Run(paths::dirname)),
    ("du", Run(tree::du)),
    ("echo", Run(words::echo)),
    ("egrep", Filter(grep::egrep)),
    ("env", Run(env::env)),
    ("expr", Run(expr::expr)),
    ("false", Run(|_| Ok(1))),
    ("fgrep", Filter(grep::fgrep)),
    ("find", Run(find::find)),
    ("fold", Filter(cut::fold)),
    ("free", Run(system::free)),
    ("grep", Filter(grep::grep)),
    ("groups", Run(process::groups)),
    ("head", Filter(ends::head)),
    ("hexdump", Filter(dump::hexdump)),
    ("hostname", Run(system::hostname)),
    ("httpd", Run(serve::httpd)),
    ("id", Run(process::id)),
    ("install", Run(copy::install)),
    ("kill", Run(process::kill)),
    ("killall", Run(process::kill)),
    ("ln", Run(files::ln)),
    ("logname", Run(process::whoami)),
    ("ls", Run(ls::ls)),
    ("md5sum", Filter(digest::md5sum)),
    ("mkdir", Run(files::mkdir)),
    ("mkfifo", Run(refused::nodes)),
    ("mknod", Run(refused::nodes)),
    ("mktemp", Run(files::mktemp)),
    ("mount", Run(system::mount)),
    ("mv", Run(copy::mv)),
    ("nc", Run(nc::nc)),
    ("nice", Run(env::nice)),
    ("nl", Filter(text::nl)),
    ("nohup", Run(env::prefix)),
    ("nproc", Run(system::nproc)),
    ("nslookup", Run(nc::nslookup)),
    ("od", Filter(dump::od)),
    ("paste", Run(cut::paste)),
    ("pgrep", Run(process::pgrep)),
    ("pidof", Run(process::pidof)),
    ("ping", Run(refused::ping)),
    ("printenv", Run(env::printenv)),
    ("printf", Run(printf::printf)),
    ("ps", Run(process::ps)),
    ("pwd", Run(|call| words::say(call, &format!("{}\n", directory())))),
    ("readlink", Run(paths::readlink)),
    ("realpath", Run(paths::realpath)),
    ("rev", Filter(text::rev)),
    ("rm", Run(remove::rm)),
    ("rmdir", Run(remove::rmdir)),
    ("sed", Filter(sed::sed)),
    ("seq", Run(numbers::seq)),
    ("setsid", Run(env::prefix)),
    ("sh", Run(crate::shell::sh)),
    ("sha256sum", Filter(digest::sha256sum)),
    ("sleep", Run(clock::sleep)),
    ("sort", Filter(sort::sort)),
    ("stat", Run(stat::stat)),
    ("stty", Run(refused::stty)),
    ("sync", Run(|_| Ok(0))),
    ("tac", Filter(text::tac)),
    ("tail", Filter(ends::tail)),
    ("tar", Run(tar::tar)),
    ("tee", Filter(text::tee)),
    ("test", Run(test::test)),
    ("time", Run(clock::time)),
    ("timeout", Run(clock::timeout)),
    ("top", Run(process::top)),
    ("touch", Run(files::touch)),
    ("tr", Filter(tr::tr)),
    ("true", Run(|_| Ok(0))),
    ("truncate", Run(files::truncate)),
    ("tty", Run(system::tty)),
    ("umount", Run(refused::umount)),
    ("uname", Run(system::uname)),
    ("uniq", Filter(sort::uniq)),
    ("unlink", Run(remove::unlink)),
    ("uptime", Run(system::uptime)),
    ("usleep", Run(clock::usleep)),
    ("wasmbox", Run(multi)),
    ("wc", Filter(count::wc)),
    ("wget", Run(wget::wget)),
    ("which", Run(env::which_applet)),
    ("whoami", Run(process::whoami)),
    ("xargs", Run(xargs::xargs)),
    ("yes", Run(words::yes)),
];

pub(crate) fn named(name: &str) -> Option<Applet> {
    let found = TABLE.binary_search_by(|(known, _)| (*known).cmp(name)).ok()?;
    Some(TABLE[found].1)
}

/// Runs an applet, or says that there is none. What went wrong has been told.
pub(crate) fn run(name: &str, args: &[String], env: Rc<Variables>, streams: Streams) -> Outcome {
    let Some(applet) = named(name) else { return run_in_shell(name, args, env, streams) };
    let call = Call { name, args, env, streams };
    let outcome = match applet {
        Applet::Run(run) => run(&call),
        Applet::Filter(parse) => parse(args).and_then(|filtering| filtering.run(&call)),
    };
    let outcome = outcome.and_then(|status| {
        call.out().flush()?;
        Ok(status)
    });
    match outcome {
        Err(Failure::Said(sentence, status)) => {
            call.complain(sentence);
            Ok(status)
        }
        outcome => outcome,
    }
}

/// Folders where programs are, and where an applet of the name stands for a missing one.
const PROGRAMS: [&str; 6] =
    ["/bin", "/usr/bin", "/sbin", "/usr/sbin", "/usr/local/bin", "/.wherry/bin"];

/// Runs a command as a shell finds it: an applet, or a script in a file.
pub(crate) fn run_in_shell(
    name: &str,
    args: &[String],
    env: Rc<Variables>,
    streams: Streams,
) -> Outcome {
    if named(name).is_some() {
        return run(name, args, env, streams);
    }
    let path = match name.contains('/') {
        true => Some(name.to_string()),
        false => which(name, env.get("PATH").map(String::as_str)),
    };
    if let Some((folder, last)) = name.rsplit_once('/')
        && PROGRAMS.contains(&folder)
        && named(last).is_some()
    {
        return run(last, args, env, streams);
    }
    let Some(path) = path.filter(|path| Path::new(path).exists()) else {
        return Err(Failure::Said(format!("{name}: not found"), 127));
    };
    script(name, &path, args, env, streams)
}

/// A file that is called: a script, or something that only a process could run.
fn script(
    name: &str,
    path: &str,
    args: &[String],
    env: Rc<Variables>,
    streams: Streams,
) -> Outcome {
    let cannot = |why: &str| Err(Failure::Said(format!("{name}: {why}"), 126));
    let mut start = Vec::new();
    match File::open(path) {
        Ok(file) if file.metadata().is_ok_and(|file| file.is_dir()) => {
            return cannot("Permission denied");
        }
        Ok(file) => file.take(256).read_to_end(&mut start).map_err(Failure::from)?,
        Err(error) => return cannot(&crate::call::sentence(&error)),
    };
    if start.starts_with(b"\0asm") {
        return cannot(
            "a WebAssembly guest cannot start another one: let the container's runtime exec it",
        );
    }
    if start.contains(&0) {
        return cannot("it is not a script, and a WebAssembly guest runs no native programs");
    }
    let first = String::from_utf8_lossy(&start);
    let mut words: Vec<String> = Vec::new();
    match first.strip_prefix("#!") {
        Some(line) => words
            .extend(line.lines().next().unwrap_or_default().split_whitespace().map(str::to_string)),
        None => words.push("sh".to_string()),
    }
    let interpreter = words.first().map(String::as_str).unwrap_or_default();
    let interpreter = interpreter.rsplit('/').next().unwrap_or_default().to_string();
    if named(&interpreter).is_none() {
        return cannot(&format!("there is no {interpreter}, which it asks for"));
    }
    let args: Vec<String> =
        words[1..].iter().cloned().chain([path.to_string()]).chain(args.iter().cloned()).collect();
    run(&interpreter, &args, env, streams)
}

/// `wasmbox NAME …`
fn multi(call: &Call<'_>) -> Outcome {
    match call.args.first().map(String::as_str) {
        Some("--list") => {
            for name in wherry_wasmbox::APPLETS {
                writeln!(call.out(), "{name}")?;
            }
            Ok(0)
        }
        None | Some("--help" | "-h") => {
            let names = wherry_wasmbox::APPLETS.join(", ");
            writeln!(
                call.out(),
                "wasmbox {}: a shell and small tools for WebAssembly containers\n\n\
                 Usage: wasmbox APPLET [ARGUMENT]…, or a link to it of an applet's name\n       wasmbox --list\n\n\
                 {names}",
                env!("CARGO_PKG_VERSION")
            )?;
            Ok(0)
        }
        Some(name) => match named(name) {
            Some(_) => call.run(call.args),
            None => Err(Failure::Said(
                format!("{name}: applet not found (wasmbox --list tells which there are)"),
                127,
            )),
        },
    }
}

/// Where a command is, as `which` tells it: applets are in the folder where they seem to be.
pub(crate) fn which(name: &str, path: Option<&str>) -> Option<String> {
    if name.contains('/') {
        return Path::new(name).is_file().then(|| name.to_string());
    }
    let folders = path.unwrap_or("/bin:/usr/bin");
    let found = folders
        .split(':')
        .map(|folder| format!("{folder}/{name}"))
        .find(|path| Path::new(path).is_file());
    found.or_else(|| named(name).map(|_| format!("/bin/{name}")))
}

/// The current directory.
pub(crate) fn directory() -> String {
    std::env::current_dir()
        .map_or_else(|_| "/".to_string(), |path| path.to_string_lossy().into_owned())
}

/// `target` seen from `base`, without `.` and `..`; links are not looked at.
pub(crate) fn join(base: &str, target: &str) -> String {
    let mut path = PathBuf::from("/");
    for component in Path::new(base).join(target).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                path.pop();
            }
            _ => {}
        }
    }
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_what_the_list_says() {
        let names: Vec<&str> = TABLE.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, wherry_wasmbox::APPLETS);
    }

    #[test]
    fn paths_are_joined_without_their_dots() {
        for (base, target, joined) in [
            ("/", "a", "/a"),
            ("/a/b", "../c/./d", "/a/c/d"),
            ("/a", "/b", "/b"),
            ("/", "..", "/"),
            ("/a", "", "/a"),
        ] {
            assert_eq!(join(base, target), joined, "{base} {target}");
        }
    }
}
