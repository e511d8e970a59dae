//! The containerd that runs here, found among the processes: which program it really is, with which configuration
//! file, and what that file comes to.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use procfs::process::FDTarget;
use toml::Table;
use wherry_containerd::{flag, imported};

use super::{cri, look_up, run, search_path};
use crate::args::Doctor;
use crate::doctor::containerd::{Config, list, version};
use crate::doctor::facts::{Answers, Containerd, Search};
use crate::node::{self, Process};

const CONFIG: &str = "/etc/containerd/config.toml";
const ADDRESS: &str = "/run/containerd/containerd.sock";

/// The start of a process is known to the second, and by a clock that is set now and then.
const GRAIN: Duration = Duration::from_secs(2);

pub(super) fn find(what: &Doctor) -> anyhow::Result<Search> {
    let me = Process::this().and_then(|me| me.namespace("mnt"));
    // Others have other files at the same paths.
    let is_one =
        |process: &Process| process.stat.comm == "containerd" && process.namespace("mnt") == me;
    let daemons = node::processes()?.into_iter().filter(is_one);
    let mut found: Vec<Containerd> =
        daemons.filter_map(|process| Containerd::running(&process)).collect();
    if let Some(file) = &what.config {
        found.retain(|one| one.config_file == *file);
    }
    if let Some(address) = &what.address {
        found.retain(|one| one.address == *address);
    } else if found.len() > 1 && found.iter().any(|one| one.address == Path::new(ADDRESS)) {
        found.retain(|one| one.address == Path::new(ADDRESS));
    }
    if found.len() > 1 {
        return Ok(Search::Several(found.into_iter().map(|one| one.address).collect()));
    }
    let found = found.pop().map(Containerd::asked);
    let found = found.or_else(|| Containerd::by_its_files(what.config.as_ref()?));
    Ok(match found {
        Some(found) => Search::Found(Box::new(found)),
        None => Search::None { wanted: what.address.clone() },
    })
}

impl Containerd {
    fn running(process: &Process) -> Option<Containerd> {
        let (program, replaced) = process.program()?;
        let words = process.words();
        // `containerd config dump` is another thing.
        if words
            .iter()
            .skip(1)
            .any(|word| ["config", "oci-hook", "publish"].contains(&word.as_str()))
        {
            return None;
        }
        let flag = |names: &[&str]| flag(&words, names).map(|value| absolute(process, &value));
        let named = flag(&["-c", "--config"]);
        let path = process.variable("PATH").unwrap_or_default();
        // This very program, whatever has its name by now.
        let exe = PathBuf::from(format!("/proc/{}/exe", process.pid));
        let mut found = Containerd::of(&exe, named.as_deref(), &path);
        if let (Ok(config), Some(state)) = (&mut found.config, flag(&["--state"])) {
            config.state = state;
        }
        let configured = found.config.as_ref().ok().map(|config| config.address.clone());
        let given = flag(&["-a", "--address"]).or(configured).or_else(|| listens_at(process));
        found.address = given.unwrap_or_else(|| ADDRESS.into());
        // containerd looks beside itself, last.
        found.path.extend(program.parent().map(Path::to_owned));
        found.changed = changed_since(process.started(), &found);
        (found.pid, found.program, found.replaced) = (Some(process.pid), program, replaced);
        Some(found)
    }

    fn asked(mut self) -> Containerd {
        self.answers = cri::ask(&self.address);
        self
    }

    fn by_its_files(file: &Path) -> Option<Containerd> {
        let program = look_up("containerd", &search_path())?;
        let path = std::env::var("PATH").unwrap_or_default();
        Some(Containerd::of(&program, Some(file), &path))
    }

    fn of(program: &Path, named: Option<&Path>, path: &str) -> Containerd {
        let config_file = named.unwrap_or(Path::new(CONFIG)).to_owned();
        let mut dump = Command::new(program);
        // A file that is named must be there; the usual one need not.
        if named.is_some() {
            dump.arg("--config").arg(&config_file);
        }
        dump.args(["config", "dump"]).env_clear().env("PATH", path).current_dir("/");
        let (config, complaints) = match run(&mut dump) {
            Err(why) => (Err(why), Vec::new()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                match output.status.success() {
                    true => {
                        (Config::read(&String::from_utf8_lossy(&output.stdout)), complaints(&said))
                    }
                    false => (Err(said.trim().to_owned()), Vec::new()),
                }
            }
        };
        let told = run(Command::new(program).arg("--version").env_clear().env("PATH", path));
        let told = told.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let written: Option<Table> =
            std::fs::read_to_string(&config_file).ok().and_then(|text| text.parse().ok());
        let number = |table: &Table| table.get("version").and_then(toml::Value::as_integer);
        let imports = list(written.as_ref().and_then(|table| table.get("imports")));
        let (section_file, names_handlers) = section_file(&config_file, &imports);
        Containerd {
            section_file,
            names_handlers,
            imports,
            address: config
                .as_ref()
                .map_or_else(|_| ADDRESS.into(), |config| config.address.clone()),
            pid: None,
            program: program.to_owned(),
            replaced: false,
            version: version(&told.unwrap_or_default()),
            // Without a number it is of the first version, which no one writes any more.
            file_version: written.map(|table| number(&table).unwrap_or(1)),
            config_file,
            config,
            complaints,
            changed: Vec::new(),
            path: std::env::split_paths(path).collect(),
            answers: Answers::NotAsked,
        }
    }
}

/// Where a daemon listens whose configuration can't be read any more.
fn listens_at(process: &Process) -> Option<PathBuf> {
    let held = process.open_files();
    let is_held =
        |inode| held.iter().any(|file| matches!(file, FDTarget::Socket(one) if *one == inode));
    let sockets = process.unix_sockets().into_iter().filter(|socket| is_held(socket.inode));
    let mut paths = sockets.filter_map(|socket| socket.path);
    paths.find(|path| path.file_name().is_some_and(|name| name == "containerd.sock"))
}

/// The file whose section of the CRI plugin counts in 1.x, the last that has one, and whether handlers are in it.
fn section_file(main: &Path, imports: &[String]) -> (PathBuf, bool) {
    let section = |file: &Path| -> Option<Table> {
        let table: Table = std::fs::read_to_string(file).ok()?.parse().ok()?;
        table.get("plugins")?.get("io.containerd.grpc.v1.cri")?.as_table().cloned()
    };
    let mut files = vec![main.to_owned()];
    files.extend(imported(main, imports, entries));
    let found =
        files.into_iter().rev().find_map(|file| section(&file).map(|section| (file, section)));
    let (file, section) = found.unwrap_or_else(|| (main.to_owned(), Table::new()));
    let runtimes = section.get("containerd").and_then(|section| section.get("runtimes"));
    (file, runtimes.is_some())
}

fn absolute(process: &Process, path: &str) -> PathBuf {
    let folder = std::fs::read_link(format!("/proc/{}/cwd", process.pid));
    folder.unwrap_or_else(|_| "/".into()).join(path)
}

/// What it passes over. It says more, of what it will do without one day.
fn complaints(stderr: &str) -> Vec<String> {
    let unknown = stderr.lines().filter(|line| line.to_lowercase().contains("unknown key"));
    let message = |line: &str| {
        let at = line.find("msg=").map_or(0, |at| at + 4);
        line[at..].trim_matches('"').to_owned()
    };
    unknown.map(message).collect()
}

fn changed_since(started: u64, containerd: &Containerd) -> Vec<PathBuf> {
    let mut files = vec![containerd.config_file.clone()];
    files.extend(imported(&containerd.config_file, &containerd.imports, entries));
    files.sort();
    files.dedup();
    let limit = SystemTime::UNIX_EPOCH + Duration::from_secs(started) + GRAIN;
    let is_newer = |file: &PathBuf| {
        file.metadata().and_then(|file| file.modified()).is_ok_and(|changed| changed > limit)
    };
    files.retain(is_newer);
    files
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder).into_iter().flatten().flatten();
    all.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_those_of_unknown_keys() {
        let said = "time=\"t\" level=warning msg=\"DEPRECATION: old\"\n\
                    time=\"t\" level=warning msg=\"Ignoring unknown key in TOML for plugin\" key=runtime_pathh\n";
        assert_eq!(
            complaints(said),
            ["Ignoring unknown key in TOML for plugin\" key=runtime_pathh"]
        );
    }

    #[test]
    fn the_section_that_counts_is_the_last_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let (main, imports) = (folder.path().join("main"), ["*.toml".to_owned()]);
        assert_eq!(section_file(&main, &imports), (main.clone(), false));
        let section = "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.a]";
        std::fs::write(folder.path().join("a.toml"), section).expect("written");
        assert_eq!(section_file(&main, &imports), (folder.path().join("a.toml"), true));
    }
}
