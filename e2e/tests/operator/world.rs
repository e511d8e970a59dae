//! An API server with its controllers, and two operators of which one leads.

use std::fs::File;
use std::process::{Child, Command};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, ensure};
use libtest_mimic::Arguments;
use serde_json::{Value, json};
use wherry_e2e::cluster::api::Api;
use wherry_e2e::cluster::control::{ADDRESS, Control, kubectl};
use wherry_e2e::cluster::pki::Authority;
use wherry_e2e::cluster::{audit, is_ready};
use wherry_e2e::collector;
use wherry_e2e::command;
use wherry_e2e::helm;
use wherry_e2e::operators::{self, ACCOUNT, Operators};
use wherry_e2e::place::{Network, Place};
use wherry_e2e::rig::Runtime;
use wherry_e2e::suite::Ground;

use crate::kubelet::Kubelet;

pub(crate) const NAMESPACE: &str = helm::NAMESPACE;
pub(crate) const SOON: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) api: Api,
    pub(crate) kubelet: Kubelet,
    operators: Operators,
    collector: Mutex<Child>,
    control: Mutex<Control>,
    /// The last to be dropped: everything above stands in it.
    pub(crate) place: Place,
}

impl Fleet {
    pub(crate) fn new() -> Result<Fleet> {
        let place = Place::new(Network::Own)?;
        let lines = format!("ip link set lo up; ip addr add {ADDRESS}/24 dev lo");
        command::run(place.command("sh").args(["-ec", &lines]), b"", SOON)?.ok()?;
        let authority = Authority::new(&place.path("pki"))?;
        let control = Mutex::new(Control::start(&place, &authority)?);
        let network = File::open(format!("/proc/{}/ns/net", place.pid()))?;
        let api = Api::new(&place.path("admin.conf"), network)?;
        let kubelet = Kubelet::start(&api);
        operators::furnish(&place, &api)?;
        let collector = Mutex::new(collector::start(&place)?);
        let operators = Operators::telling(collector::ENDPOINT);
        let fleet = Fleet { api, kubelet, operators, collector, control, place };
        fleet.operator("a", 8081)?;
        fleet.operator("b", 8082)?;
        Ok(fleet)
    }

    pub(crate) fn operator(&self, name: &'static str, port: u16) -> Result<()> {
        self.operators.start(&self.place, name, port)
    }

    /// Kills the operator of this name, as a machine that fails would.
    pub(crate) fn kill(&self, name: &str) -> Result<()> {
        self.operators.kill(name)
    }

    /// Asks the operator of this name to end, as a rollout of its Deployment does.
    pub(crate) fn terminate(&self, name: &str) -> Result<()> {
        self.operators.terminate(name)
    }

    pub(crate) fn leader(&self) -> Result<String> {
        operators::leader(&self.api)
    }

    /// Where the leader answers.
    pub(crate) fn port(&self) -> Result<u16> {
        Ok(if self.leader()? == "a" { 8081 } else { 8082 })
    }

    pub(crate) fn kubectl(&self, words: &[&str]) -> Result<String> {
        Ok(command::run(&mut kubectl(&self.place, words)?, b"", SOON)?.ok()?.stdout)
    }

    /// What an operator answers to a probe.
    pub(crate) fn ask(&self, port: u16, path: &str) -> Result<String> {
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{port}; \
             printf 'GET {path} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' >&3; cat <&3"
        );
        let mut bash: Command = self.place.command("bash");
        Ok(command::run(bash.args(["-c", &script]), b"", SOON)?.ok()?.stdout)
    }

    /// Nodes of a case, which its WasmShim selects by the name of the case.
    pub(crate) fn nodes(&self, case: &str, count: usize) -> Result<Vec<String>> {
        let names: Vec<String> = (0..count).map(|index| format!("{case}-{index}")).collect();
        for name in &names {
            self.api.create(&json!({ "apiVersion": "v1", "kind": "Node",
                "metadata": { "name": name, "labels": { "case": case } } }))?;
            self.kubelet.keep(name);
            let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name }});
            self.api.until(&node, SOON, is_ready)?;
        }
        Ok(names)
    }

    /// A WasmShim for these nodes, in two quick waves.
    pub(crate) fn shim(&self, case: &str, image: &str) -> Result<Value> {
        self.api.create(&shim(case, image))
    }

    pub(crate) fn node(&self, name: &str) -> Result<Value> {
        self.api.get(&json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name }}))
    }
}

pub(crate) fn image(kind: &str) -> String {
    let digest = match kind {
        "bad" => "b",
        "none" => "c",
        _ => "a",
    }
    .repeat(64);
    // Of the repository whose images may be agents here: deploy/operator/values.yaml.
    format!("registry.example/wherry-node@sha256:{digest}")
}

pub(crate) fn shim(case: &str, image: &str) -> Value {
    json!({
        "apiVersion": "wherry.dev/v1alpha1", "kind": "WasmShim", "metadata": { "name": case },
        "spec": {
            "artifact": { "image": image },
            "handlers": [{ "name": "wherry", "runtimeClassName": case,
                "podOverhead": { "memory": "4Mi" } }],
            "nodes": { "selector": { "matchLabels": { "case": case } } },
            "rollout": {
                "waves": [
                    { "name": "canary", "nodes": 1, "soak": "1s" },
                    { "name": "rest", "nodes": "100%" },
                ],
                "maxUnavailable": 2,
            },
        },
    })
}

/// Rights that no call shows, each with its reason.
const EXCUSED: [(&str, &str); 2] =
    [("update wasmshims/finalizers.wherry.dev", OWNS), ("delete runtimeclasses.node.k8s.io", OWNS)];
const OWNS: &str = "asked for by the admission plugin OwnerReferencesPermissionEnforcement, which runs here, inside of the API server";

impl Fleet {
    /// The operator's roles are as large as its calls. Of some of the cases, only that they are large enough.
    fn rights(&self) -> Result<()> {
        let calls = audit::calls(&self.place)?;
        ensure!(calls.iter().any(|call| call.account == ACCOUNT), "nobody was written down");
        let mut wrong = audit::denied(&calls);
        if Arguments::from_args().filter.is_none() {
            wrong.extend(audit::idle(&audit::rights(&operators::manifests()?), &calls, &EXCUSED));
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    }
}

impl Ground for Fleet {
    fn runtime(&self) -> Runtime {
        Runtime::Wherry
    }

    fn title(&self) -> String {
        "a real API server, nodes that are not there".into()
    }

    fn finish(&self) -> Result<()> {
        self.operators.stop()?;
        let mut collector = self.collector.lock().expect("no holder panics");
        collector.kill()?;
        collector.wait()?;
        self.control.lock().expect("no holder panics").stop()?;
        self.rights()?;
        let twice = self.kubelet.twice();
        ensure!(twice.is_empty(), "nodes with two agents at once: {twice:?}");
        Ok(())
    }

    fn log(&self) -> String {
        let told = |name: &str| std::fs::read_to_string(self.place.path(name)).unwrap_or_default();
        ["a", "b"].map(|name| format!("-- operator {name}\n{}", told(name))).concat()
    }
}
