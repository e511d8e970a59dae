//! Annotations under our prefix: what a pod may say about how its containers run.
//!
//! `wherry.dev/<key>` is for every container of the pod, `wherry.dev/<key>.<container>` for one. The
//! administrator's options give defaults and may lock a key. An unknown key is refused: a setting
//! that is misspelt and does nothing is worse than one that is missing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::lookup::is_sandbox;
use super::{Options, Refusal, invalid};

/// In front of every key.
pub const PREFIX: &str = "wherry.dev/";

/// CRI's name of the container that a spec is for (containerd, `pkg/cri/annotations`).
const CONTAINER_NAME: &str = "io.kubernetes.cri.container-name";

/// What can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    HttpListen,
    Root,
}

/// Whether the guest sees the root file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootPreopen {
    Given,
    Withheld,
}

/// What annotations and the administrator's defaults say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) http_listen: SocketAddr,
    pub(super) root: RootPreopen,
}

impl Key {
    const ALL: [Key; 2] = [Key::HttpListen, Key::Root];

    pub(super) fn name(self) -> &'static str {
        match self {
            Key::HttpListen => "http.listen",
            Key::Root => "root",
        }
    }

    /// Of `key` and of `key.container`, the key and the container.
    fn parse(name: &str) -> Option<(Key, Option<&str>)> {
        Key::ALL.into_iter().find_map(|key| match name.strip_prefix(key.name())? {
            "" => Some((key, None)),
            rest => Some((key, Some(rest.strip_prefix('.')?))),
        })
    }

    /// A key that stands alone, as in the administrator's options.
    pub(super) fn exactly(name: &str) -> Result<Key, String> {
        match Key::parse(name) {
            Some((key, None)) => Ok(key),
            Some((_, Some(_))) | None => Err(unknown(name)),
        }
    }
}

impl Settings {
    pub(super) fn read(
        annotations: &BTreeMap<String, String>,
        options: &Options,
    ) -> Result<Settings, Refusal> {
        let mut settings = Settings::default();
        for (key, value) in &options.defaults {
            let field = format!("[defaults] {} of the runtime's options", key.name());
            settings.set(*key, value).map_err(|why| invalid(field, why))?;
        }
        let container = annotations.get(CONTAINER_NAME).map(String::as_str);
        // What is for one container comes after what is for all, whatever their order.
        let (mut for_all, mut for_this) = (Vec::new(), Vec::new());
        for (annotation, value) in annotations {
            let Some(name) = annotation.strip_prefix(PREFIX) else { continue };
            let Some((key, whose)) = Key::parse(name) else {
                return Err(invalid(annotation, unknown(name)));
            };
            match (whose, container) {
                (None, _) => for_all.push((annotation, key, value)),
                (Some(whose), Some(container)) if whose == container => {
                    for_this.push((annotation, key, value));
                }
                (Some(_), Some(_)) => {}
                // The pod's own, which are for its containers.
                (Some(_), None) if is_sandbox(annotations) => {}
                (Some(whose), None) => {
                    let why = format!(
                        "is for {whose:?}, and only containers of a pod have such names: leave it out"
                    );
                    return Err(invalid(annotation, why));
                }
            }
        }
        for (annotation, key, value) in for_all.into_iter().chain(for_this) {
            if options.locked.contains(&key) {
                return Err(invalid(
                    annotation,
                    "is locked by the administrator of this node: remove the annotation",
                ));
            }
            settings.set(key, value).map_err(|why| invalid(annotation, why))?;
        }
        Ok(settings)
    }

    /// Sets one, or says why not, as the rest of a sentence that starts with the key.
    pub(super) fn set(&mut self, key: Key, value: &str) -> Result<(), String> {
        match key {
            Key::HttpListen => self.http_listen = listen(value)?,
            Key::Root => {
                self.root = match value {
                    "none" => RootPreopen::Withheld,
                    "default" => RootPreopen::Given,
                    _ => return Err(format!("is {value:?}: it must be none or default")),
                }
            }
        }
        Ok(())
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { http_listen: SocketAddr::new(ANY, 8080), root: RootPreopen::Given }
    }
}

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// `8080`, `:8080`, `127.0.0.1:8080` or `[::]:8080`.
fn listen(value: &str) -> Result<SocketAddr, String> {
    let port = value.strip_prefix(':').unwrap_or(value);
    let address = match port.parse::<u16>() {
        Ok(port) => Some(SocketAddr::new(ANY, port)),
        Err(_) => value.parse().ok(),
    };
    match address {
        Some(address) if address.port() != 0 => Ok(address),
        _ => Err(format!(
            "is {value:?}: it must be a port or an address with a port, such as 8080 or 127.0.0.1:8080"
        )),
    }
}

fn unknown(name: &str) -> String {
    let known = Key::ALL.map(Key::name);
    // A misspelt key may have a container behind it, which is none of the mistake.
    let spelt =
        |key: &str| (0..=name.len()).filter_map(|end| Some(distance(name.get(..end)?, key))).min();
    let nearest = known.into_iter().filter_map(|key| Some((spelt(key)?, key))).min();
    let hint = match nearest {
        Some((distance, key)) if distance <= key.len() / 2 => format!(", did you mean {key}?"),
        _ => String::new(),
    };
    format!("is not a key Wherry knows{hint} (known: {})", known.join(", "))
}

/// How many letters to insert, remove or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[row.len() - 1]
}
