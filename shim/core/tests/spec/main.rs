//! What real callers send, and the plan it becomes; and one case for each thing that is refused.
//!
//! `specs/*.json` are the `config.json` of `ctr run`, of containerd's CRI (with cgroupfs, and with a
//! user namespace and the systemd driver) and of Docker; beside each lies its plan.

mod decisions;
mod hostile;
mod pods;
mod refusals;
mod settings;

use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use expect_test::{Expect, ExpectFile, expect_file};
use serde_json::Value;
use wherry_core::plan::Plan;
use wherry_core::spec::{self, CgroupVersion, Facts, Input, Options, Refusal};

const BUNDLE: &str = "/run/containerd/io.containerd.runtime.v2.task/ns/id";

fn node() -> Facts {
    Facts {
        cgroup: CgroupVersion::V1,
        systemd: false,
        cpus: NonZeroU16::new(8).expect("eight"),
        apparmor: false,
        selinux: false,
        directories: BTreeSet::new(),
    }
}

fn plan(json: &str, options: &str, facts: &Facts) -> Result<Plan, Refusal> {
    let spec = spec::parse(json)?;
    let options = Options::parse(options)?;
    let bundle = Path::new(BUNDLE);
    spec::plan(Input { spec: &spec, bundle, namespace: "ns", id: "id", options: &options, facts })
}

/// Facts for a spec: every bind mount's source is a folder, unless it looks like a file.
fn facts_for(json: &str, facts: Facts) -> Facts {
    let spec = spec::parse(json).expect("a sound spec");
    let files = ["hosts", "hostname", "resolv.conf", "etc-hosts", "4f1e2d3c"];
    let is_file = |path: &PathBuf| files.iter().any(|file| path.ends_with(file));
    let sources = spec::bind_sources(&spec, Path::new(BUNDLE));
    Facts { directories: sources.into_iter().filter(|path| !is_file(path)).collect(), ..facts }
}

#[track_caller]
fn golden(json: &str, facts: Facts, expected: ExpectFile) {
    let plan = plan(json, "", &facts_for(json, facts)).expect("a plan");
    let value = serde_json::to_value(&plan).expect("plain data");
    assert_eq!(serde_json::from_value::<Plan>(value.clone()).expect("plain data"), plan);
    expected.assert_eq(&(serde_json::to_string_pretty(&value).expect("plain data") + "\n"));
}

#[test]
fn ctr() {
    golden(include_str!("../specs/ctr.json"), node(), expect_file!["../specs/ctr.plan.json"]);
}

#[test]
fn cri() {
    golden(include_str!("../specs/cri.json"), node(), expect_file!["../specs/cri.plan.json"]);
}

#[test]
fn cri_with_user_namespace_and_systemd() {
    let facts = Facts { cgroup: CgroupVersion::V2, systemd: true, ..node() };
    golden(
        include_str!("../specs/cri-userns-systemd.json"),
        facts,
        expect_file!["../specs/cri-userns-systemd.plan.json"],
    );
}

#[test]
fn docker() {
    golden(include_str!("../specs/docker.json"), node(), expect_file!["../specs/docker.plan.json"]);
}

/// The smallest spec that is planned, changed by each case at one place.
const LEAST: &str = r#"{"ociVersion": "1.2.0", "root": {"path": "rootfs"},
    "process": {"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["/app.wasm"]},
    "linux": {"namespaces": [{"type": "mount"}]}}"#;

/// Puts `value` at `pointer` (RFC 6901), making objects on the way; `"!"` removes.
fn changed(pointer: &str, value: &str) -> String {
    let mut spec: Value = serde_json::from_str(LEAST).expect("JSON");
    let mut at = &mut spec;
    let mut names =
        pointer.trim_start_matches('/').split('/').map(|name| name.replace("~1", "/")).peekable();
    while let Some(name) = names.next() {
        if names.peek().is_none() && value == "!" {
            at.as_object_mut().expect("an object").remove(&name);
            break;
        }
        at = at
            .as_object_mut()
            .expect("an object")
            .entry(name)
            .or_insert(Value::Object(Default::default()));
        if names.peek().is_none() {
            *at = serde_json::from_str(value).unwrap_or_else(|error| panic!("{value}: {error}"));
        }
    }
    spec.to_string()
}

/// One thing of a plan after another, for cases that differ in one thing.
#[track_caller]
fn told(
    cases: &[(&str, &str)],
    options: &str,
    facts: &Facts,
    tell: impl Fn(&Plan) -> String,
    expected: Expect,
) {
    let mut text = String::new();
    for (pointer, value) in cases {
        text += &match plan(&changed(pointer, value), options, facts) {
            Ok(plan) => format!("{value}: {}\n", tell(&plan)),
            Err(refusal) => format!("{value}: refused: {refusal}\n"),
        };
    }
    expected.assert_eq(&text);
}
