//! A handler as containerd has it: in its memory, told by CRI, or in its files, told by `config dump`.
//!
//! That a name is known says nothing of what is behind it: a containerd that runs has what its files said when it
//! began.

use serde_json::{Map, Value};
use wherry_report::Handler;

use crate::home;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Loaded {
    kind: Value,
    program: Value,
    annotations: Value,
    options: Value,
}

impl Loaded {
    /// By the names of CRI's verbose Status (containerd, `internal/cri/config`, the JSON tags of `Runtime`).
    pub(crate) fn of_cri(section: &Value) -> Loaded {
        Loaded::of(section, ["runtimeType", "runtimePath", "PodAnnotations", "options"])
    }

    /// By the names of a file.
    pub(crate) fn of_file(section: &toml::Value) -> Loaded {
        let section = serde_json::to_value(section).unwrap_or_default();
        Loaded::of(&section, ["runtime_type", "runtime_path", "pod_annotations", "options"])
    }

    fn of(section: &Value, [kind, program, annotations, options]: [&str; 4]) -> Loaded {
        let told = |key: &str| plain(&section[key]);
        Loaded {
            kind: told(kind),
            program: told(program),
            annotations: told(annotations),
            options: told(options),
        }
    }

    /// As our files would have it.
    fn wanted(handler: &Handler) -> Loaded {
        let options: toml::Table = handler.options.parse().unwrap_or_default();
        Loaded {
            kind: wherry_containerd::RUNTIME.into(),
            program: home::SHIM.into(),
            annotations: vec!["wherry.dev/*"].into(),
            options: plain(&serde_json::to_value(options).unwrap_or_default()),
        }
    }

    /// Whether this is what was ordered.
    pub(crate) fn is(&self, handler: &Handler) -> bool {
        *self == Loaded::wanted(handler)
    }

    /// Whether it starts our program, whatever else it says.
    pub(crate) fn is_ours(&self) -> bool {
        self.program.as_str().is_some_and(|program| program.starts_with(home::HOME))
    }

    /// What is not as ordered, for a person.
    pub(crate) fn instead_of(&self, handler: &Handler) -> String {
        let wanted = Loaded::wanted(handler);
        let parts = [
            ("its runtime_type is", &self.kind, &wanted.kind),
            ("its runtime_path is", &self.program, &wanted.program),
            ("its pod_annotations are", &self.annotations, &wanted.annotations),
            ("its options are", &self.options, &wanted.options),
        ];
        let other = parts.iter().find(|(_, is, was)| is != was);
        other.map_or_else(String::new, |(what, is, was)| format!("{what} {is}, not {was}"))
    }
}

/// A value without what is told by one way and not by another: settings that are not there, and the kinds of numbers.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(table) => {
            let there = table.iter().map(|(key, value)| (key.clone(), plain(value)));
            let there: Map<String, Value> = there.filter(|(_, value)| !value.is_null()).collect();
            if there.is_empty() { Value::Null } else { Value::Object(there) }
        }
        Value::Array(list) if list.is_empty() => Value::Null,
        Value::Array(list) => list.iter().map(plain).collect(),
        Value::String(text) if text.is_empty() => Value::Null,
        Value::Number(number) => number.as_f64().into(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn handler(options: &str) -> Handler {
        Handler { name: "wherry".into(), options: options.into() }
    }

    fn of_cri(program: &str, options: Value) -> Loaded {
        Loaded::of_cri(&json!({
            "runtimeType": "io.containerd.wherry.v1", "runtimePath": program,
            "PodAnnotations": ["wherry.dev/*"], "options": options, "sandboxer": "podsandbox",
        }))
    }

    #[test]
    fn options_are_part_of_a_handler() {
        let with = handler("[log]\naccess = true\n[limits]\nmemory = 1\n");
        let told = json!({ "log": { "access": true }, "limits": { "memory": 1.0 } });
        assert!(of_cri(home::SHIM, told.clone()).is(&with));
        assert!(of_cri(home::SHIM, json!({})).is(&handler("")));
        assert!(of_cri(home::SHIM, Value::Null).is(&handler("")));
        assert!(!of_cri(home::SHIM, Value::Null).is(&with));
        assert!(!of_cri(home::SHIM, told).is(&handler("")));
    }

    #[test]
    fn the_shim_of_somebody_else_is_another_handler() {
        for other in ["", "/usr/local/bin/containerd-shim-wherry-v1"] {
            let other = of_cri(other, Value::Null);
            assert!(!other.is(&handler("")) && !other.is_ours(), "{other:?}");
            assert!(other.instead_of(&handler("")).starts_with("its runtime_path is "));
        }
        assert!(of_cri(home::SHIM, Value::Null).is_ours());
    }

    #[test]
    fn files_and_memory_are_told_alike() {
        let file = format!(
            "runtime_type = 'io.containerd.wherry.v1'\nruntime_path = '{}'\nsnapshotter = ''\n\
             pod_annotations = ['wherry.dev/*']\n[options.log]\naccess = true\n",
            home::SHIM
        );
        let file = Loaded::of_file(&toml::Value::Table(file.parse().expect("TOML")));
        assert!(file.is(&handler("[log]\naccess = true\n")));
        assert_eq!(file, of_cri(home::SHIM, json!({ "log": { "access": true } })));
    }
}
