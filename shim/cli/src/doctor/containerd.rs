//! containerd's effective configuration: what `containerd config dump` prints, of any version from 1.7 on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};
use wherry_containerd::{Effective, RUNTIME, SHIM};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Config {
    pub(super) state: PathBuf,
    /// Its gRPC socket.
    pub(super) address: PathBuf,
    /// Where it wants shims to listen, if not in the usual place.
    pub(super) socket_dir: Option<PathBuf>,
    /// None if the plugin is disabled.
    pub(super) cri: Option<Cri>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Cri {
    /// The name of the plugin, which is that of its section.
    pub(super) plugin: String,
    /// The handler of pods that name none.
    pub(super) default_handler: String,
    pub(super) handlers: BTreeMap<String, Handler>,
}

/// A runtime of CRI.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Handler {
    pub(super) runtime_type: String,
    pub(super) runtime_path: Option<PathBuf>,
    pub(super) options: Table,
    /// Which annotations of pods it is given, as patterns.
    pub(super) annotations: Vec<String>,
}

impl Handler {
    pub(super) fn is_ours(&self) -> bool {
        let named = |path: &PathBuf| path.file_name().is_some_and(|name| name == SHIM);
        self.runtime_type == RUNTIME || self.runtime_path.as_ref().is_some_and(named)
    }

    pub(super) fn systemd_cgroup(&self) -> bool {
        self.options.get("SystemdCgroup").and_then(Value::as_bool).unwrap_or(false)
    }
}

impl Config {
    pub(super) fn read(dump: &str) -> Result<Config, String> {
        let effective = Effective::read(dump).map_err(|error| error.to_string())?;
        let cri = effective.cri().map(|cri| Cri {
            plugin: cri.plugin.to_owned(),
            default_handler: cri.default_handler.to_owned(),
            handlers: handlers(cri.handlers),
        });
        Ok(Config {
            state: effective.state().to_owned(),
            address: effective.address(),
            socket_dir: effective.socket_dir().map(Path::to_owned),
            cri,
        })
    }
}

pub(super) fn list(value: Option<&Value>) -> Vec<String> {
    let all = value.and_then(Value::as_array).into_iter().flatten();
    all.filter_map(|one| one.as_str().map(str::to_owned)).collect()
}

fn handlers(runtimes: &Table) -> BTreeMap<String, Handler> {
    let handler = |value: &Value| {
        let text =
            |key: &str| value.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        Handler {
            runtime_type: text("runtime_type").unwrap_or_default().to_owned(),
            runtime_path: text("runtime_path").map(PathBuf::from),
            options: value.get("options").and_then(Value::as_table).cloned().unwrap_or_default(),
            annotations: list(value.get("pod_annotations")),
        }
    };
    runtimes.iter().map(|(name, value)| (name.clone(), handler(value))).collect()
}

/// The handlers in what the CRI plugin says of itself: its own configuration, as JSON.
pub(super) fn handlers_of_status(json: &str) -> BTreeMap<String, Handler> {
    let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    let Some(runtimes) = value["containerd"]["runtimes"].as_object() else {
        return BTreeMap::new();
    };
    let handler = |value: &serde_json::Value| {
        // 1.7 and 2.x write the same fields, in the one case of letters and in the other.
        let text = |keys: [&str; 2]| {
            keys.iter().find_map(|key| value[*key].as_str()).filter(|text| !text.is_empty())
        };
        Handler {
            runtime_type: text(["runtimeType", "runtime_type"]).unwrap_or_default().to_owned(),
            runtime_path: text(["runtimePath", "runtime_path"]).map(PathBuf::from),
            ..Handler::default()
        }
    };
    runtimes.iter().map(|(name, value)| (name.clone(), handler(value))).collect()
}

/// The version in the line that `containerd --version` prints.
pub(super) fn version(line: &str) -> String {
    let looks_like_one = |word: &&str| {
        let word = word.trim_start_matches('v');
        word.starts_with(|c: char| c.is_ascii_digit()) && word.contains('.')
    };
    let found = line.split_whitespace().find(looks_like_one);
    found.map_or_else(|| line.trim().to_owned(), |word| word.trim_start_matches('v').to_owned())
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(dump: &str, expected: Expect) {
        let told = match Config::read(dump) {
            Ok(config) => {
                let cri = config.cri.as_ref().map(|cri| (cri.plugin.as_str(), &cri.handlers));
                format!(
                    "{} {} {:?}\n{cri:#?}",
                    config.address.display(),
                    config.state.display(),
                    config.socket_dir
                )
            }
            Err(why) => why,
        };
        expected.assert_eq(&told);
    }

    /// As 1.7.24 prints it.
    const V2: &str = r#"
disabled_plugins = []
imports = ["/etc/containerd/config.toml"]
root = "/var/lib/containerd"
state = "/run/containerd"
version = 2
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".containerd]
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes]
        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wherry]
          pod_annotations = ["wherry.dev/*"]
          runtime_path = ""
          runtime_type = "io.containerd.wherry.v1"
          [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wherry.options]
            SystemdCgroup = true
"#;

    /// As 2.4.2 prints it: the servers are plugins, and strings are in single quotes.
    const V4: &str = r#"
version = 4
root = '/var/lib/containerd'
state = '/run/containerd'
disabled_plugins = []
imports = ['/etc/containerd/conf.d/*.toml']
[plugins]
  [plugins.'io.containerd.cri.v1.runtime']
    [plugins.'io.containerd.cri.v1.runtime'.containerd]
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes]
        [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.stable]
          runtime_type = ''
          runtime_path = '/opt/wherry/containerd-shim-wherry-v1'
  [plugins.'io.containerd.server.v1.grpc']
    address = '/run/k3s/containerd/containerd.sock'
  [plugins.'io.containerd.shim.v1.manager']
    socket_dir = '/run/s'
"#;

    #[test]
    fn dumps_of_every_version_are_read() {
        check(
            V2,
            expect![[r#"
                /run/containerd/containerd.sock /run/containerd None
                Some(
                    (
                        "io.containerd.grpc.v1.cri",
                        {
                            "wherry": Handler {
                                runtime_type: "io.containerd.wherry.v1",
                                runtime_path: None,
                                options: {
                                    "SystemdCgroup": Boolean(
                                        true,
                                    ),
                                },
                                annotations: [
                                    "wherry.dev/*",
                                ],
                            },
                        },
                    ),
                )"#]],
        );
        check(
            V4,
            expect![[r#"
                /run/k3s/containerd/containerd.sock /run/containerd Some("/run/s")
                Some(
                    (
                        "io.containerd.cri.v1.runtime",
                        {
                            "stable": Handler {
                                runtime_type: "",
                                runtime_path: Some(
                                    "/opt/wherry/containerd-shim-wherry-v1",
                                ),
                                options: {},
                                annotations: [],
                            },
                        },
                    ),
                )"#]],
        );
        check(
            "version = 3\ndisabled_plugins = [\"io.containerd.cri.v1.runtime\"]",
            expect![[r#"
                /run/containerd/containerd.sock /run/containerd None
                None"#]],
        );
        check(
            "version = [",
            expect![
                "what containerd prints of its configuration is no TOML: unclosed array, expected `]`"
            ],
        );
    }

    #[test]
    fn ours_are_known_by_type_or_program() {
        let ours = |dump: &str| {
            let cri = Config::read(dump).ok().and_then(|config| config.cri);
            cri.is_some_and(|cri| cri.handlers.values().all(Handler::is_ours))
        };
        assert!(ours(V2) && ours(V4));
        assert!(!ours(&V2.replace("wherry.v1", "runc.v2")));
    }

    #[test]
    fn the_status_of_cri_names_handlers() {
        let status = r#"{"containerd":{"runtimes":{"wherry":{"runtimeType":"io.containerd.wherry.v1","runtimePath":""}}}}"#;
        let handlers = handlers_of_status(status);
        assert!(handlers["wherry"].is_ours());
        assert!(handlers_of_status("no json").is_empty());
    }

    #[test]
    fn versions_are_read() {
        let of = |line: &str| version(line);
        expect!["1.7.24~ds1"].assert_eq(&of(
            "containerd github.com/containerd/containerd 1.7.24~ds1 1.7.24~ds1-6+deb13u1",
        ));
        expect!["2.4.2"].assert_eq(&of("containerd github.com/containerd/containerd/v2 v2.4.2 "));
        expect!["2.1.9+unknown"]
            .assert_eq(&of("containerd github.com/containerd/containerd/v2 2.1.9+unknown"));
        expect!["?"].assert_eq(&of("?"));
    }
}
