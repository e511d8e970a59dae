//! The administrator's options: the TOML of the handler's section in containerd's config, or
//! Docker's `ConfigBody`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use super::annotations::{Key, Settings};
use super::{Refusal, invalid, unsupported};

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
    pub runc: RuncOptions,
    /// Values of annotations that a pod doesn't set.
    pub(super) defaults: BTreeMap<Key, String>,
    /// Annotations that a pod may not set.
    pub(super) locked: BTreeSet<Key>,
}

/// How native containers are run: the options of containerd's own runc shim
/// (`api/types/runc/options/oci.proto`), by their names there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuncOptions {
    /// A path, or a name that is looked for on `PATH`.
    pub binary_name: String,
    /// The folder below which runc keeps its state, without the namespace.
    pub root: PathBuf,
    pub no_pivot_root: bool,
    pub no_new_keyring: bool,
    /// The cgroup of the shim; empty for the one it is born into.
    pub shim_cgroup: String,
    /// Who owns the streams of native containers; 0 leaves them as they are.
    pub io_uid: u32,
    pub io_gid: u32,
}

impl Default for RuncOptions {
    fn default() -> RuncOptions {
        RuncOptions {
            binary_name: "runc".into(),
            // containerd, `cmd/containerd-shim-runc-v2/process/utils.go`, `RuncRoot`.
            root: "/run/containerd/runc".into(),
            no_pivot_root: false,
            no_new_keyring: false,
            shim_cgroup: String::new(),
            io_uid: 0,
            io_gid: 0,
        }
    }
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
            runc: RuncOptions::default(),
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
    #[serde(rename = "BinaryName", default)]
    binary_name: String,
    #[serde(rename = "Root", default)]
    root: PathBuf,
    #[serde(rename = "NoPivotRoot", default)]
    no_pivot_root: bool,
    #[serde(rename = "NoNewKeyring", default)]
    no_new_keyring: bool,
    #[serde(rename = "ShimCgroup", default)]
    shim_cgroup: String,
    #[serde(rename = "IoUid", default)]
    io_uid: u32,
    #[serde(rename = "IoGid", default)]
    io_gid: u32,
    #[serde(rename = "CriuPath", default)]
    criu_path: String,
    #[serde(rename = "CriuImagePath", default)]
    criu_image_path: String,
    #[serde(rename = "CriuWorkPath", default)]
    criu_work_path: String,
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
        no_criu(&[
            ("CriuPath", &written.criu_path),
            ("CriuImagePath", &written.criu_image_path),
            ("CriuWorkPath", &written.criu_work_path),
        ])?;
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
            runc: RuncOptions {
                no_pivot_root: written.no_pivot_root,
                no_new_keyring: written.no_new_keyring,
                shim_cgroup: written.shim_cgroup,
                io_uid: written.io_uid,
                io_gid: written.io_gid,
                ..RuncOptions::default()
            }
            .named(&written.binary_name, &written.root),
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

impl RuncOptions {
    /// With this binary and this root; empty ones stand for the usual, as in the section that
    /// `containerd config default` prints.
    #[must_use]
    pub fn named(mut self, binary_name: &str, root: &Path) -> RuncOptions {
        if !binary_name.is_empty() {
            self.binary_name = binary_name.to_owned();
        }
        if !root.as_os_str().is_empty() {
            self.root = root.to_owned();
        }
        self
    }
}

/// Options for checkpoints, which are not made; empty ones are none.
pub fn no_criu(options: &[(&str, &str)]) -> Result<(), Refusal> {
    match options.iter().find(|(_, value)| !value.is_empty()) {
        None => Ok(()),
        Some((name, value)) => Err(unsupported(
            *name,
            format!(
                "is {value:?} in the runtime's options: checkpoints are not supported, leave it out"
            ),
        )),
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
