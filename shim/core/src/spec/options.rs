//! The administrator's options: the TOML of the handler's section in containerd's config, or
//! Docker's `ConfigBody`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Deserialize;
use toml::{Table, Value};

use super::annotations::{Key, Settings};
use super::{Refusal, invalid};

/// What the administrator of the node decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub cgroup_driver: CgroupDriver,
    /// Where compiled code is kept.
    pub cache_dir: PathBuf,
    /// Bytes of compiled code to keep at most.
    pub cache_max_bytes: u64,
    /// Bytes of memory the compiler may use for one module.
    pub compile_memory_bytes: u64,
    /// Seconds of processor time the compiler may use for one module.
    pub compile_timeout_seconds: u64,
    /// Values of annotations that a pod doesn't set.
    pub(super) defaults: BTreeMap<Key, String>,
    /// Annotations that a pod may not set.
    pub(super) locked: BTreeSet<Key>,
}

/// Who makes cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupDriver {
    /// systemd where it runs and the path is of its form (`slice:prefix:name`).
    Auto,
    Systemd,
    Cgroupfs,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            cgroup_driver: CgroupDriver::Auto,
            cache_dir: "/var/lib/wherry/cache".into(),
            cache_max_bytes: 4 << 30,
            compile_memory_bytes: 2 << 30,
            compile_timeout_seconds: 120,
            defaults: BTreeMap::new(),
            locked: BTreeSet::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "SystemdCgroup", alias = "systemd_cgroup")]
    systemd_cgroup: Option<bool>,
    cache_dir: Option<PathBuf>,
    cache_max_bytes: Option<u64>,
    compile_memory_bytes: Option<u64>,
    compile_timeout_seconds: Option<u64>,
    #[serde(default)]
    defaults: Table,
    #[serde(default)]
    locked: Vec<String>,
    /// containerd's own: it copies the whole section here, with the type that made it do so.
    #[serde(rename = "TypeUrl")]
    _type_url: Option<String>,
}

impl Options {
    /// Reads the TOML text; none is all defaults.
    pub fn parse(text: &str) -> Result<Options, Refusal> {
        let refused = |why: String| invalid("the runtime's options", why);
        let written: Written = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            refused(format!("can't be read: line {line}: {}", error.message()))
        })?;
        let standard = Options::default();
        let options = Options {
            cgroup_driver: match written.systemd_cgroup {
                None => CgroupDriver::Auto,
                Some(true) => CgroupDriver::Systemd,
                Some(false) => CgroupDriver::Cgroupfs,
            },
            cache_dir: written.cache_dir.unwrap_or(standard.cache_dir),
            cache_max_bytes: written.cache_max_bytes.unwrap_or(standard.cache_max_bytes),
            compile_memory_bytes: written
                .compile_memory_bytes
                .unwrap_or(standard.compile_memory_bytes),
            compile_timeout_seconds: written
                .compile_timeout_seconds
                .unwrap_or(standard.compile_timeout_seconds),
            defaults: defaults(&written.defaults)?,
            locked: written
                .locked
                .iter()
                .map(|name| {
                    Key::exactly(name).map_err(|why| refused(format!("lock {name:?}, which {why}")))
                })
                .collect::<Result<_, _>>()?,
        };
        if !options.cache_dir.is_absolute() {
            let dir = options.cache_dir.display();
            return Err(refused(format!(
                "set cache_dir to \"{dir}\": it must be an absolute path"
            )));
        }
        for (name, value) in [
            ("compile_memory_bytes", options.compile_memory_bytes),
            ("compile_timeout_seconds", options.compile_timeout_seconds),
        ] {
            if value == 0 {
                return Err(refused(format!("set {name} to 0: nothing could be compiled")));
            }
        }
        Ok(options)
    }
}

/// `"http.listen" = 80`, or the same as nested tables: `http.listen = 80`.
fn defaults(table: &Table) -> Result<BTreeMap<Key, String>, Refusal> {
    let mut flat = Vec::new();
    flatten("", table, &mut flat);
    let mut defaults = BTreeMap::new();
    for (name, value) in flat {
        let field = format!("[defaults] {name} of the runtime's options");
        let key = Key::exactly(&name).map_err(|why| invalid(&field, why))?;
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            other => {
                let why = format!("is a {}: write a string", other.type_str());
                return Err(invalid(field, why));
            }
        };
        Settings::default().set(key, &text).map_err(|why| invalid(&field, why))?;
        defaults.insert(key, text);
    }
    Ok(defaults)
}

fn flatten<'a>(prefix: &str, table: &'a Table, flat: &mut Vec<(String, &'a Value)>) {
    for (name, value) in table {
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) => flatten(&name, inner, flat),
            value => flat.push((name, value)),
        }
    }
}
