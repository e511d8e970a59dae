//! People at a terminal: `wherry-fleet` says what is so, and writes what it may.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use wherry_e2e::command::{self, Output};
use wherry_e2e::rig;
use wherry_e2e::suite::{Case, For};

use crate::world::{Fleet, SOON, image, shim};

pub(crate) const CASES: &[Case<Fleet>] = &[
    ("people_see_a_rollout_approve_it_and_take_it_back", For::Wherry, rollout),
    ("people_are_told_what_makes_no_sense", For::Wherry, refused),
    ("who_may_not_see_nodes_sees_the_rest", For::Wherry, limited),
];

impl Fleet {
    /// `wherry-fleet` with these words and this kubeconfig of the place, and the exit code that is expected.
    fn tell_as(&self, config: &str, words: &[&str], code: i32) -> Result<Output> {
        let program = rig::need(&rig::programs()?.join("wherry-fleet"), "make programs")?;
        let mut command = self.place.command(program);
        command.args(words).env("KUBECONFIG", self.place.path(config));
        let output = command::run(&mut command, b"", SOON)?;
        ensure!(output.code == code, "{words:?}: {output:?}");
        Ok(output)
    }

    fn tell(&self, words: &[&str], code: i32) -> Result<String> {
        Ok(self.tell_as("admin.conf", words, code)?.stdout)
    }

    /// All that was written by `wherry-fleet`, as paths.
    fn written(&self, name: &str) -> Result<BTreeSet<String>> {
        let words = ["get", "wasmshim", name, "-o", "json", "--show-managed-fields"];
        let object: Value = serde_json::from_str(&self.kubectl(&words)?)?;
        let all = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        let own = all.iter().filter(|it| it["manager"] == "wherry-fleet");
        let mut paths = BTreeSet::new();
        own.for_each(|it| leaves(&it["fieldsV1"], String::new(), &mut paths));
        Ok(paths)
    }
}

fn leaves(fields: &Value, path: String, into: &mut BTreeSet<String>) {
    match fields.as_object().filter(|all| !all.is_empty()) {
        Some(all) => {
            all.iter().for_each(|(key, below)| leaves(below, format!("{path} {key}"), into))
        }
        None => drop(into.insert(path.trim().to_string())),
    }
}

fn rollout(fleet: &Fleet) -> Result<()> {
    fleet.nodes("people", 3)?;
    let mut object = shim("people", &image("good"));
    object["spec"]["rollout"]["approval"] = json!("Manual");
    let object = fleet.api.create(&object)?;
    let phase = |wanted: &'static str| {
        fleet.api.until(&object, SOON, move |it| {
            it["status"]["phase"] == wanted
                && it["status"]["observedGeneration"] == it["metadata"]["generation"]
                && it["status"]["nodes"]["progressing"] == 0
        })
    };
    phase("AwaitingApproval")?;
    let told = fleet.tell(&["status", "people"], 3)?;
    ensure!(told.contains("waits for approval: wherry fleet approve people people-"), "{told}");
    let told = fleet.tell(&["diff", "people"], 3)?;
    ensure!(told.contains("3 nodes: people-0, people-1, people-2\n  nothing -> people-"), "{told}");
    fleet.tell(&["approve", "people", "--dry-run"], 0)?;
    ensure!(fleet.written("people")?.is_empty(), "{:?}", fleet.written("people")?);
    fleet.tell(&["approve", "people"], 0)?;
    let told = fleet.tell(&["status", "people", "--watch", "--timeout", "2m"], 0)?;
    ensure!(told.lines().last().is_some_and(|it| it.ends_with("Complete 3 of 3 ready")), "{told}");
    let told: Value = serde_json::from_str(&fleet.tell(&["status", "people", "-o", "json"], 0)?)?;
    let nodes = told[0]["nodes"].as_array().context("nodes")?;
    ensure!(nodes.len() == 3 && nodes.iter().all(|it| it["settled"] == true), "{told}");
    ensure!(nodes.iter().all(|it| it["provedAt"].is_string() && it["phase"] == "Ready"), "{told}");
    fleet.tell(&["diff", "people"], 0)?;

    let first = told[0]["targetRevision"].clone();
    let handlers =
        json!([{ "name": "wherry", "runtimeClassName": "people", "options": "two = 2" }]);
    let patch = json!({ "spec": { "handlers": handlers } }).to_string();
    fleet.kubectl(&["patch", "wasmshim", "people", "--type=merge", "-p", &patch])?;
    phase("AwaitingApproval")?;
    let told = fleet.tell(&["diff", "people"], 3)?;
    ensure!(told.contains("+ handler wherry (two = 2)") && told.contains("is restarted"), "{told}");
    fleet.tell(&["approve", "people"], 0)?;
    let second = phase("Complete")?["status"]["targetRevision"].clone();
    fleet.tell(&["pause", "people"], 0)?;
    phase("Paused")?;
    fleet.tell(&["rollback", "people"], 0)?;
    let told = fleet.tell(&["status", "people", "-w", "--timeout", "2m"], 4)?;
    ensure!(told.contains("RolledBack"), "{told}");
    for name in ["people-0", "people-1", "people-2"] {
        let runs = fleet.kubelet.installed(name);
        ensure!(runs.as_deref() == first.as_str(), "{name} runs {runs:?}, not {first}");
    }
    fleet.tell(&["retry", "people"], 0)?;
    let back = phase("Complete")?;
    ensure!(back["status"]["targetRevision"] == second, "{}", back["status"]);
    let written = fleet.written("people")?;
    // The map of annotations is everybody's who writes one.
    let own = |path: &String| {
        path.starts_with("f:metadata f:annotations f:wherry.dev/")
            || ["f:metadata f:annotations .", "f:spec f:rollout f:pace"].contains(&path.as_str())
    };
    ensure!(!written.is_empty() && written.iter().all(own), "{written:?}");
    fleet.api.delete(&object)?;
    fleet.api.gone(&object, SOON)
}

fn refused(fleet: &Fleet) -> Result<()> {
    // Of no node, so that nothing becomes of it.
    let object = fleet.shim("refusing", &image("good"))?;
    fleet.api.until(&object, SOON, |it| it["status"]["phase"] == "Complete")?;
    let says =
        |words: &[&str]| Ok::<_, anyhow::Error>(fleet.tell_as("admin.conf", words, 1)?.stderr);
    let told = says(&["approve", "refusing"])?;
    ensure!(told.contains("asks for no approval"), "{told}");
    let told = says(&["rollback", "refusing"])?;
    ensure!(told.contains("there is no good revision of refusing but"), "{told}");
    let told = says(&["retry", "refusing"])?;
    ensure!(told.contains("was not rolled back"), "{told}");
    let told = says(&["status", "nobody"])?;
    ensure!(told.contains("there is no WasmShim nobody"), "{told}");
    ensure!(fleet.written("refusing")?.is_empty());
    let told = fleet.tell_as("nothing.conf", &["status"], 1)?.stderr;
    ensure!(told.contains("there is no cluster to talk to"), "{told}");
    fleet.api.delete(&object)?;
    fleet.api.gone(&object, SOON)
}

fn limited(fleet: &Fleet) -> Result<()> {
    fleet.nodes("limited", 2)?;
    let object = fleet.shim("limited", &image("good"))?;
    fleet.api.until(&object, SOON, |it| it["status"]["nodes"]["summary"] == "2/2")?;
    fleet.kubectl(&["create", "serviceaccount", "reader"])?;
    let words = ["create", "clusterrole", "reader", "--verb=get,list,watch"];
    let kinds = "--resource=wasmshims.wherry.dev,nodeshims.wherry.dev,shimrevisions.wherry.dev";
    fleet.kubectl(&[&words[..], &[kinds]].concat())?;
    let words = ["create", "clusterrolebinding", "reader", "--clusterrole=reader"];
    fleet.kubectl(&[&words[..], &["--serviceaccount=default:reader"]].concat())?;
    let token = fleet.kubectl(&["create", "token", "reader"])?;
    let config = std::fs::read_to_string(fleet.place.path("admin.conf"))?;
    let mut config: Value = serde_json::from_str(&config)?;
    config["users"][0]["user"] = json!({ "token": token.trim() });
    std::fs::write(fleet.place.path("reader.conf"), config.to_string())?;
    let told = fleet.tell_as("reader.conf", &["status", "limited"], 0)?;
    ensure!(told.stdout.contains("limited-1"), "{told:?}");
    ensure!(told.stderr.contains("you may not list nodes"), "{told:?}");
    let told = fleet.tell_as("reader.conf", &["status", "limited", "--watch"], 0)?;
    ensure!(told.stdout.contains("2 of 2 ready"), "{told:?}");
    let told = fleet.tell_as("reader.conf", &["pause", "limited"], 1)?;
    ensure!(told.stderr.contains("cannot patch resource"), "{told:?}");
    fleet.api.delete(&object)?;
    fleet.api.gone(&object, SOON)
}
