//! What the files come to: the output of `containerd config dump`, of any release from 1.7 on.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// As containerd names us.
pub const RUNTIME: &str = "io.containerd.wherry.v1";
/// The program of that name.
pub const SHIM: &str = "containerd-shim-wherry-v1";

/// The plugin that has the runtimes of Kubernetes: from containerd 2.0 on, and before.
pub(crate) const CRI_2: &str = "io.containerd.cri.v1.runtime";
pub(crate) const CRI_1: &str = "io.containerd.grpc.v1.cri";

#[derive(Clone, Debug, PartialEq)]
pub struct Effective(Table);

/// containerd's own output that is not as any release prints it.
#[derive(Debug, thiserror::Error)]
#[error("what containerd prints of its configuration is no TOML: {0}")]
pub struct NotRead(String);

/// The CRI plugin, and its handlers.
#[derive(Clone, Copy, Debug)]
pub struct Cri<'a> {
    /// The name of the plugin, which is that of its section.
    pub plugin: &'a str,
    /// The handler of pods that name none.
    pub default_handler: &'a str,
    pub handlers: &'a Table,
}

/// A setting which is another one, or only on one side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub setting: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |value: &Option<String>| value.clone().unwrap_or_else(|| "(none)".into());
        write!(f, "{}: {} → {}", self.setting, side(&self.before), side(&self.after))
    }
}

impl Effective {
    /// # Errors
    /// Text that is no TOML.
    pub fn read(dump: &str) -> Result<Effective, NotRead> {
        dump.parse().map(Effective).map_err(|e: toml::de::Error| NotRead(e.message().to_owned()))
    }

    pub(crate) fn table(&self) -> &Table {
        &self.0
    }

    fn plugin(&self, name: &str) -> Option<&Table> {
        self.0.get("plugins")?.get(name)?.as_table()
    }

    /// As 1.x lists the files that it has read, the main one among them. What 2.x lists is not what it reads.
    pub fn imports(&self) -> Vec<&str> {
        let list = self.0.get("imports").and_then(Value::as_array).into_iter().flatten();
        list.filter_map(Value::as_str).collect()
    }

    /// The gRPC socket.
    pub fn address(&self) -> PathBuf {
        let servers = [
            self.0.get("grpc").and_then(Value::as_table),
            // Version 4 of the configuration made the servers plugins.
            self.plugin("io.containerd.server.v1.grpc"),
        ];
        let mut all = servers.into_iter().flatten().filter_map(|server| server.get("address"));
        let told = all.find_map(|one| one.as_str().filter(|one| !one.is_empty()));
        told.unwrap_or("/run/containerd/containerd.sock").into()
    }

    /// Where bundles are, for as long as their containers run.
    pub fn state(&self) -> &Path {
        Path::new(self.0.get("state").and_then(Value::as_str).unwrap_or("/run/containerd"))
    }

    /// Where it wants shims to listen, if not in the usual place.
    pub fn socket_dir(&self) -> Option<&Path> {
        let told = self.plugin("io.containerd.shim.v1.manager")?.get("socket_dir")?.as_str()?;
        (!told.is_empty()).then(|| Path::new(told))
    }

    /// None if the plugin is disabled.
    pub fn cri(&self) -> Option<Cri<'_>> {
        let disabled = self.0.get("disabled_plugins").and_then(Value::as_array);
        let is_on =
            |name: &&&str| !disabled.into_iter().flatten().any(|one| one.as_str() == Some(**name));
        [CRI_2, CRI_1].iter().filter(is_on).find_map(|name| {
            let section = self.plugin(name)?.get("containerd")?;
            let default = section.get("default_runtime_name").and_then(Value::as_str);
            let handlers = section.get("runtimes")?.as_table()?;
            Some(Cri { plugin: name, default_handler: default.unwrap_or_default(), handlers })
        })
    }

    /// Where this and `after` are not the same, but for these handlers, which are ours, and the list of files.
    pub fn differences(&self, after: &Effective, handlers: &[&str]) -> Vec<Difference> {
        let (mut old, mut new) = (self.settings(handlers), after.settings(handlers));
        old.retain(|setting, value| {
            let same = new.get(setting) == Some(value);
            if same {
                new.remove(setting);
            }
            !same
        });
        let mut all: Vec<String> = old.keys().chain(new.keys()).cloned().collect();
        all.sort();
        all.dedup();
        all.into_iter()
            .map(|setting| Difference {
                before: old.remove(&setting),
                after: new.remove(&setting),
                setting,
            })
            .collect()
    }

    /// Each setting by its whole name.
    fn settings(&self, handlers: &[&str]) -> BTreeMap<String, String> {
        let mut rest = self.0.clone();
        rest.remove("imports");
        for plugin in [CRI_1, CRI_2] {
            let runtimes = ["plugins", plugin, "containerd", "runtimes"];
            let found =
                runtimes.iter().try_fold(&mut rest, |at, key| at.get_mut(*key)?.as_table_mut());
            if let Some(runtimes) = found {
                handlers.iter().for_each(|name| drop(runtimes.remove(*name)));
            }
        }
        let mut all = BTreeMap::new();
        flatten("", &Value::Table(rest), &mut all);
        all
    }
}

fn flatten(name: &str, value: &Value, into: &mut BTreeMap<String, String>) {
    match value {
        Value::Table(table) if !table.is_empty() => {
            for (key, value) in table {
                let quoted = if key.contains('.') { format!("\"{key}\"") } else { key.clone() };
                let name = if name.is_empty() { quoted } else { format!("{name}.{quoted}") };
                flatten(&name, value, into);
            }
        }
        // `options` without any, and no `options`, are the same to every reader of it.
        Value::Table(_) if name.ends_with(".options") => {}
        other => drop(into.insert(name.to_owned(), other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(handlers: &str) -> Effective {
        let text = format!(
            "version = 3\nimports = ['/a']\n[plugins.'{CRI_2}'.containerd]\ndefault_runtime_name = 'runc'\n{handlers}"
        );
        Effective::read(&text).expect("TOML")
    }

    fn handler(name: &str, key: &str) -> String {
        format!("[plugins.'{CRI_2}'.containerd.runtimes.{name}]\n{key}\n")
    }

    #[test]
    fn only_our_handler_may_differ() {
        let before = dump(&handler("runc", "a = 1"));
        let after = dump(&(handler("runc", "a = 1") + &handler("wherry", "b = 1")));
        assert_eq!(before.differences(&after, &["wherry"]), []);
        assert_eq!(before.differences(&after, &[]).len(), 1);
        let lost = dump(&handler("wherry", "b = 1"));
        let told = before.differences(&lost, &["wherry"]);
        // The name of the table, which is empty then, and the setting in it.
        assert!(told[0].to_string().ends_with(".runtimes: (none) → {}"), "{told:?}");
        assert!(told[1].to_string().ends_with(".runtimes.runc.a: 1 → (none)"), "{told:?}");
    }

    #[test]
    fn servers_and_plugins_are_found_in_every_version() {
        let v4 = "[plugins.'io.containerd.server.v1.grpc']\naddress = '/run/a.sock'";
        assert_eq!(Effective::read(v4).expect("TOML").address(), Path::new("/run/a.sock"));
        let v2 = "state = '/s'\n[grpc]\naddress = '/run/b.sock'";
        let v2 = Effective::read(v2).expect("TOML");
        assert_eq!(
            (v2.address().as_path(), v2.state()),
            (Path::new("/run/b.sock"), Path::new("/s"))
        );
        let all = dump(&handler("runc", ""));
        assert_eq!(all.cri().map(|cri| cri.default_handler), Some("runc"));
        let off =
            format!("disabled_plugins = ['{CRI_2}']\n[plugins.'{CRI_2}'.containerd.runtimes.a]");
        assert!(Effective::read(&off).expect("TOML").cri().is_none());
        assert!(Effective::read("a = [").is_err());
    }
}
