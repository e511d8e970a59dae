//! The operator as processes beside an API server, under the name and with the rights of its account.

use std::fs::{self, File};
use std::process::Child;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::cluster::api::Api;
use crate::cluster::control::kubectl;
use crate::command;
use crate::helm::{NAMESPACE, objects, repository};
use crate::place::Place;
use crate::rig;

pub const ACCOUNT: &str = "wherry-operator";
const SOON: Duration = Duration::from_secs(120);

/// What `deploy/operator` has.
pub fn manifests() -> Result<Vec<Value>> {
    objects(&fs::read_to_string(repository().join("deploy/operator/wherry.yaml"))?)
}

/// As `deploy/` has it, but for the Deployment.
pub fn furnish(place: &Place, api: &Api) -> Result<()> {
    let ask = |words: &[&str]| -> Result<String> {
        Ok(command::run(&mut kubectl(place, words)?, b"", SOON)?.ok()?.stdout)
    };
    let folder = repository().join("deploy/crds").display().to_string();
    ask(&["apply", "-f", &folder])?;
    ask(&["wait", "--for=condition=Established", "--timeout=60s", "-f", &folder])?;
    let mut all = manifests()?;
    all.retain(|object| object["kind"] != "Deployment");
    let file = place.path("operator.json");
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": all });
    fs::write(&file, list.to_string())?;
    ask(&["apply", "-f", &file.display().to_string()])?;
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": { "name": "default", "namespace": NAMESPACE } });
    api.until(&account, SOON, |_| true)?;
    let token = ask(&["create", "token", ACCOUNT, "-n", NAMESPACE, "--duration=4h"])?;
    let config = fs::read_to_string(place.path("admin.conf"))?;
    let mut config: Value = serde_json::from_str(&config)?;
    config["users"][0]["user"] = json!({ "token": token.trim() });
    fs::write(place.path("operator.conf"), config.to_string())?;
    Ok(())
}

/// Those that run. A name is an identity: who is started again under it goes on with its Lease.
#[derive(Debug, Default)]
pub struct Operators {
    running: Mutex<Vec<Operator>>,
    /// Where they tell their traces.
    traces: Option<&'static str>,
}

#[derive(Debug)]
struct Operator {
    name: &'static str,
    port: u16,
    process: Child,
}

impl Operators {
    /// Those that tell their traces there.
    pub fn telling(endpoint: &'static str) -> Operators {
        Operators { traces: Some(endpoint), ..Operators::default() }
    }

    pub fn start(&self, place: &Place, name: &'static str, port: u16) -> Result<()> {
        let process = self.spawn(place, name, port)?;
        self.all().push(Operator { name, port, process });
        Ok(())
    }

    fn all(&self) -> MutexGuard<'_, Vec<Operator>> {
        self.running.lock().expect("no holder panics")
    }

    /// Kills the operator of this name, as a machine that fails would.
    pub fn kill(&self, name: &str) -> Result<()> {
        let mut all = self.all();
        let index = all.iter().position(|it| it.name == name).context("no such operator")?;
        let mut killed = all.remove(index).process;
        killed.kill()?;
        killed.wait()?;
        Ok(())
    }

    /// Asks the operator of this name to end, as a kubelet does, and waits until it has.
    pub fn terminate(&self, name: &str) -> Result<()> {
        let mut all = self.all();
        let index = all.iter().position(|it| it.name == name).context("no such operator")?;
        let mut asked = all.remove(index).process;
        kill(Pid::from_raw(asked.id() as i32), Signal::SIGTERM)?;
        let status = asked.wait()?;
        ensure!(status.success(), "{name} ended with {status}");
        Ok(())
    }

    /// Starts those again that have ended by themselves, as a kubelet does; says how many these were.
    pub fn tend(&self, place: &Place) -> Result<usize> {
        let mut ended = 0;
        for operator in self.all().iter_mut() {
            if operator.process.try_wait()?.is_some() {
                operator.process = self.spawn(place, operator.name, operator.port)?;
                ended += 1;
            }
        }
        Ok(ended)
    }

    /// The most memory that the operator of this name has had resident, in bytes.
    pub fn peak_memory(&self, name: &str) -> Result<u64> {
        let all = self.all();
        let operator = all.iter().find(|it| it.name == name).context("no such operator")?;
        let status = format!("/proc/{}/status", operator.process.id());
        let text = fs::read_to_string(&status).with_context(|| status.clone())?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).with_context(|| status)?;
        Ok(kib.trim().parse::<u64>()? << 10)
    }

    /// Ends all of them.
    pub fn stop(&self) -> Result<()> {
        for mut operator in self.all().drain(..) {
            operator.process.kill().context(operator.name)?;
            operator.process.wait()?;
        }
        Ok(())
    }

    fn spawn(&self, place: &Place, name: &str, port: u16) -> Result<Child> {
        let program = rig::need(&rig::programs()?.join("wherry-operator"), "make programs")?;
        let log = File::options().create(true).append(true).open(place.path(name))?;
        let mut command = place.daemon(program)?;
        command.env("KUBECONFIG", place.path("operator.conf"));
        command.env("POD_NAMESPACE", NAMESPACE).env("POD_NAME", name);
        command.env("WHERRY_LISTEN", format!("127.0.0.1:{port}"));
        command.envs(self.traces.map(|endpoint| ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)));
        command.stdout(log.try_clone()?).stderr(log).spawn().context("an operator")
    }
}

/// Who holds the Lease.
pub fn leader(api: &Api) -> Result<String> {
    let lease = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": { "name": "wherry-operator", "namespace": NAMESPACE } });
    let held =
        |lease: &Value| lease["spec"]["holderIdentity"].as_str().is_some_and(|it| !it.is_empty());
    let found = api.until(&lease, SOON, held)?;
    Ok(found["spec"]["holderIdentity"].as_str().unwrap_or_default().to_string())
}
