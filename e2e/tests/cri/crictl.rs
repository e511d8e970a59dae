//! crictl, as a person on a node uses it: each of its commands that reaches the shim, with Wasm and with native
//! containers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wherry_e2e::command::{self, Output, patient, until};
use wherry_e2e::cri::PodConfig;
use wherry_e2e::rig::{self, Runtime, Version};
use wherry_e2e::suite::{Case, For};

use crate::daemon::{Daemon, Pod};
use crate::pods::PODSANDBOX;

pub(crate) const CASES: &[Case<Daemon>] = &[
    ("crictl_runs_inspects_and_removes_a_pod", For::Any, life),
    ("crictl_execs", For::Any, execs),
    ("crictl_attaches_and_shows_logs", For::Any, attaches),
    ("crictl_forwards_a_port", For::Wherry, forwards),
    ("crictl_shows_stats", For::Any, stats),
    ("crictl_updates_limits", For::Any, updates),
    ("crictl_checkpoint_is_refused", For::Wherry, checkpoint),
    ("crictl_hears_events", For::Any, events),
    ("crictl_info_knows_what_the_handler_can", For::Wherry, info),
];

const LIMIT: Duration = Duration::from_secs(60);

/// crictl on the daemon.
struct Crictl<'a>(&'a Daemon);

impl Crictl<'_> {
    fn command(&self, words: &[&str]) -> Result<Command> {
        let program = rig::need(&rig::root().join("bin/crictl"), "e2e/rig/fetch.sh critest")?;
        let place = &self.0.containerd.place;
        // Without a file it says on stderr where else it looks for one.
        let config = place.path("crictl.yaml");
        let socket = self.0.containerd.socket();
        std::fs::write(&config, format!("runtime-endpoint: unix://{}\n", socket.display()))?;
        let mut command = place.command(program);
        command.arg("--config").arg(config).args(["--timeout", "60s"]).args(words);
        Ok(command)
    }

    fn run(&self, words: &[&str], input: &str) -> Result<Output> {
        command::run(&mut self.command(words)?, input.as_bytes(), LIMIT)
    }

    /// What it says if all is well.
    fn ask(&self, words: &[&str]) -> Result<String> {
        let output = self.run(words, "")?.ok().with_context(|| format!("crictl {words:?}"))?;
        Ok(output.stdout.trim_end().to_string())
    }

    fn json(&self, words: &[&str]) -> Result<Value> {
        let told = self.ask(words)?;
        serde_json::from_str(&told).with_context(|| told.clone())
    }

    /// Runs beside us until it is killed.
    fn beside(&self, words: &[&str]) -> Result<Beside> {
        let mut command = self.command(words)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        Ok(Beside(command.spawn()?))
    }

    /// A file for it to read.
    fn file(&self, name: &str, content: &Value) -> Result<String> {
        let path = self.0.containerd.place.path(name);
        std::fs::write(&path, content.to_string())?;
        Ok(path.display().to_string())
    }

    fn pod(&self, name: &str) -> Result<People<'_>> {
        let config = self.0.config(name);
        let file = self.file(&format!("{name}.json"), &pod(&config))?;
        let id = self.ask(&["runp", "--runtime", PODSANDBOX, &file])?;
        Ok(People { crictl: Crictl(self.0), file, pod: self.0.pod_of(id, config) })
    }
}

struct Beside(Child);

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// As a file of crictl's says what the messages of CRI say.
fn pod(config: &PodConfig) -> Value {
    let metadata = config.metadata.clone().unwrap_or_default();
    let linux = config.linux.clone().unwrap_or_default();
    json!({
        "metadata": { "name": metadata.name, "uid": metadata.uid, "namespace": metadata.namespace, "attempt": 0 },
        "hostname": config.hostname, "log_directory": config.log_directory,
        "linux": { "cgroup_parent": linux.cgroup_parent,
            "security_context": { "namespace_options": { "pid": 1 } } },
    })
}

/// A pod that crictl made.
struct People<'a> {
    crictl: Crictl<'a>,
    file: String,
    pod: Pod<'a>,
}

impl People<'_> {
    /// A container with its own words in its config; created, not started.
    fn create(&self, name: &str, image: &str, more: Value) -> Result<String> {
        let mut config = json!({
            "metadata": { "name": name }, "image": { "image": image }, "log_path": format!("{name}.log"),
            "linux": { "security_context": { "namespace_options": { "pid": 1 } },
                "resources": { "memory_limit_in_bytes": 64 << 20, "cpu_shares": 512 } },
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        let number = format!("{}-{name}.json", self.pod.config.hostname);
        let file = self.crictl.file(&number, &config)?;
        self.crictl.ask(&["create", &self.pod.id, &file, &self.file])
    }

    fn start(&self, name: &str, image: &str, more: Value) -> Result<String> {
        let id = self.create(name, image, more)?;
        self.crictl.ask(&["start", &id])?;
        Ok(id)
    }

    /// Asleep, one of Wasm and one that is native.
    fn sleepers(&self) -> Result<[String; 2]> {
        let words = json!({ "command": ["sleep", "1000000"] });
        let native = self.start("native", NATIVE, words.clone())?;
        Ok([self.start("wasm", tools(self.crictl.0), words)?, native])
    }

    /// As people end it; everything is gone then.
    fn end(self) -> Result<()> {
        self.crictl.ask(&["stopp", &self.pod.id])?;
        self.crictl.ask(&["rmp", &self.pod.id])?;
        self.pod.gone()
    }
}

const NATIVE: &str = "wherry.test/toolbox:busybox";

/// A shell and its tools, of Wasm but for the control.
fn tools(daemon: &Daemon) -> &'static str {
    match daemon.containerd.runtime {
        Runtime::Wherry => "wherry.test/toolbox:wasmbox",
        Runtime::Runc => NATIVE,
    }
}

fn life(daemon: &Daemon) -> Result<()> {
    let crictl = Crictl(daemon);
    let people = crictl.pod("crictl-life")?;
    let pod = crictl.json(&["inspectp", &people.pod.id])?;
    ensure!(pod["status"]["state"] == "SANDBOX_READY", "{pod}");
    ensure!(pod["status"]["runtimeHandler"] == PODSANDBOX, "{pod}");
    ensure!(pod["info"]["pid"].as_u64().is_some_and(|pid| pid > 0), "{pod}");
    for (name, image) in [("wasm", tools(daemon)), ("native", NATIVE)] {
        let id = people.create(name, image, json!({ "command": ["sleep", "1000000"] }))?;
        let state = |wanted: &str| -> Result<Value> {
            let told = crictl.json(&["inspect", &id])?;
            ensure!(told["status"]["state"] == wanted, "{name} is not {wanted}: {told}");
            Ok(told)
        };
        state("CONTAINER_CREATED")?;
        crictl.ask(&["start", &id])?;
        let told = state("CONTAINER_RUNNING")?;
        ensure!(told["status"]["image"]["userSpecifiedImage"].is_string(), "{told}");
        ensure!(told["info"]["runtimeType"] == daemon.containerd.runtime.name(), "{told}");
        ensure!(crictl.ask(&["ps", "-q", "--name", name, "--pod", &people.pod.id])? == id);
        crictl.ask(&["stop", "--timeout", "1", &id])?;
        state("CONTAINER_EXITED")?;
        crictl.ask(&["rm", &id])?;
        ensure!(crictl.run(&["inspect", &id], "")?.code != 0, "{name} is removed and inspected");
    }
    // Running, and removed all the same.
    let [wasm, _] = people.sleepers()?;
    crictl.ask(&["rm", "--force", &wasm])?;
    people.end()
}

fn execs(daemon: &Daemon) -> Result<()> {
    let crictl = Crictl(daemon);
    let people = crictl.pod("crictl-execs")?;
    for id in people.sleepers()? {
        // One answer, and as a stream.
        ensure!(crictl.ask(&["exec", "-s", &id, "echo", "synced"])? == "synced");
        ensure!(crictl.ask(&["exec", &id, "echo", "streamed"])? == "streamed");
        let said = crictl.run(&["exec", "-i", &id, "cat"], "from stdin\n")?.ok()?;
        ensure!(said.stdout == "from stdin\n", "{said}");
        for how in [&["exec", "-s"][..], &["exec"]] {
            let words = [how, &[id.as_str(), "sh", "-c", "echo bad >&2; exit 3"]].concat();
            let said = crictl.run(&words, "")?;
            ensure!(said.code != 0 && said.stderr.contains("bad"), "{how:?}: {said}");
            ensure!(said.code == 3 || said.stderr.contains('3'), "{how:?}: {said}");
        }
        let said = crictl.run(&["exec", "-s", "--timeout", "1", &id, "sleep", "1000"], "")?;
        ensure!(said.code != 0 && said.stderr.contains("timeout"), "{said}");
        let said = crictl.run(&["exec", "-s", &id, "no-such-program"], "")?;
        ensure!(said.code != 0 && said.stderr.contains("no-such-program"), "{said}");
    }
    people.end()
}

fn attaches(daemon: &Daemon) -> Result<()> {
    let crictl = Crictl(daemon);
    let people = crictl.pod("crictl-attaches")?;
    for (name, image) in [("wasm", tools(daemon)), ("native", NATIVE)] {
        let script =
            "while read line; do echo \"got $line\"; echo \"err $line\" >&2; done; echo over";
        let more = json!({ "command": ["sh", "-c", script], "stdin": true, "stdin_once": true });
        let id = people.start(name, image, more)?;
        let mut attached = crictl.beside(&["attach", "-i", &id])?;
        let mut stdin = attached.0.stdin.take().context("stdin")?;
        let mut stdout = BufReader::new(attached.0.stdout.take().context("stdout")?);
        for word in ["one", "two"] {
            writeln!(stdin, "{word}")?;
            let mut line = String::new();
            stdout.read_line(&mut line)?;
            ensure!(line == format!("got {word}\n"), "{name}: {line:?}");
        }
        drop(stdin);
        let mut rest = String::new();
        stdout.read_to_string(&mut rest)?;
        ensure!(rest == "over\n", "{name}: {rest:?}");
        let ended = until(LIMIT, || {
            crictl
                .json(&["inspect", &id])
                .is_ok_and(|told| told["status"]["state"] == "CONTAINER_EXITED")
        });
        ensure!(ended, "{name} runs on without its stdin");
        let logs = crictl.run(&["logs", &id], "")?.ok()?;
        ensure!(logs.stdout == "got one\ngot two\nover\n", "{name}: {logs}");
        ensure!(logs.stderr == "err one\nerr two\n", "{name}: {logs}");
        let tail = crictl.ask(&["logs", "--tail", "1", &id])?;
        ensure!(tail == "over", "{name}: {tail}");
    }
    people.end()
}

fn forwards(daemon: &Daemon) -> Result<()> {
    let crictl = Crictl(daemon);
    let people = crictl.pod("crictl-forwards")?;
    people.start("web", "wherry.test/http-p2:linux", json!({}))?;
    // Somebody's free port of the machine's; crictl listens in the daemon's own network.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let _forward = crictl.beside(&["port-forward", &people.pod.id, &format!("{port}:8080")])?;
    let url = format!("http://127.0.0.1:{port}/");
    let place = &daemon.containerd.place;
    let mut last = String::new();
    let answered = until(LIMIT, || {
        let mut wget = place.command(rig::busybox().expect("checked at the start"));
        match command::run(wget.args(["wget", "-q", "-O", "-", &url]), b"", LIMIT) {
            Ok(output) => last = output.stdout + &output.stderr,
            Err(error) => last = format!("{error:#}"),
        }
        last == "Hello, WASI!\n"
    });
    ensure!(answered, "{last}");
    people.end()
}

/// A number that CRI wraps and writes as a string.
fn number(value: &Value) -> u64 {
    let told = &value["value"];
    told.as_str().and_then(|text| text.parse().ok()).or(told.as_u64()).unwrap_or_default()
}

fn stats(daemon: &Daemon) -> Result<()> {
    let crictl = Crictl(daemon);
    let people = crictl.pod("crictl-stats")?;
    for id in people.sleepers()? {
        let told = crictl.json(&["stats", "-o", "json", "--id", &id])?;
        let stats = &told["stats"][0];
        ensure!(stats["attributes"]["id"] == id.as_str(), "{told}");
        ensure!(number(&stats["memory"]["workingSetBytes"]) > 0, "{told}");
        ensure!(number(&stats["cpu"]["usageCoreNanoSeconds"]) > 0, "{told}");
    }
    let told = crictl.json(&["statsp", "-o", "json", "--id", &people.pod.id])?;
    let pod = &told["stats"][0];
    ensure!(pod["attributes"]["id"] == people.pod.id.as_str(), "{told}");
    ensure!(pod["linux"]["containers"].as_array().is_some_and(|all| all.len() == 2), "{told}");
    ensure!(number(&pod["linux"]["memory"]["workingSetBytes"]) > 0, "{told}");
    people.end()
}

fn updates(daemon: &Daemon) -> Result<()> {
    let crictl = Crictl(daemon);
    let people = crictl.pod("crictl-updates")?;
    for id in people.sleepers()? {
        let more = [
            "--memory",
            "33554432",
            "--cpu-quota",
            "20000",
            "--cpu-period",
            "50000",
            "--cpu-share",
            "256",
        ];
        crictl.ask(&[&["update"][..], &more, &[id.as_str()]].concat())?;
        let told = crictl.json(&["inspect", &id])?;
        let linux = &told["status"]["resources"]["linux"];
        let has = |key: &str, wanted: u64| {
            let value = &linux[key];
            value.as_u64().or(value.as_str().and_then(|text| text.parse().ok())) == Some(wanted)
        };
        ensure!(has("memoryLimitInBytes", 32 << 20) && has("cpuQuota", 20_000), "{linux}");
        ensure!(has("cpuPeriod", 50_000) && has("cpuShares", 256), "{linux}");
        // Also to the kernel.
        let told = crictl.json(&["stats", "-o", "json", "--id", &id])?;
        let memory = &told["stats"][0]["memory"];
        let limit = number(&memory["availableBytes"]) + number(&memory["workingSetBytes"]);
        ensure!(limit == 32 << 20, "{memory}");
    }
    people.end()
}

fn checkpoint(daemon: &Daemon) -> Result<()> {
    let crictl = Crictl(daemon);
    let people = crictl.pod("crictl-checkpoint")?;
    let export = daemon.containerd.place.path("checkpoint.tar").display().to_string();
    let [wasm, _] = people.sleepers()?;
    let said = crictl.run(&["checkpoint", &format!("--export={export}"), &wasm], "")?;
    ensure!(said.code != 0, "{said}");
    ensure!(
        ["checkpoint", "criu", "not implemented"]
            .iter()
            .any(|why| said.stderr.to_lowercase().contains(why)),
        "{said}"
    );
    // It runs on.
    ensure!(crictl.ask(&["exec", "-s", &wasm, "echo", "here"])? == "here");
    people.end()
}

fn events(daemon: &Daemon) -> Result<()> {
    let crictl = Crictl(daemon);
    let mut listening = crictl.beside(&["events", "-o", "json"])?;
    let out = BufReader::new(listening.0.stdout.take().context("stdout")?);
    let (hear, heard) = mpsc::channel();
    let events = serde_json::Deserializer::from_reader(out).into_iter::<Value>();
    thread::spawn(move || events.map_while(Result::ok).try_for_each(|event| hear.send(event)));
    let people = crictl.pod("crictl-events")?;
    let words = json!({ "command": ["sleep", "1000000"] });
    // It says nothing when it begins to listen: the first event that it hears of a container of no account tells.
    let listens = until(LIMIT, || {
        let made = people.create("before", tools(daemon), words.clone());
        made.is_ok_and(|id| crictl.ask(&["rm", &id]).is_ok()) && heard.try_recv().is_ok()
    });
    ensure!(listens, "no event is heard of");
    let id = people.start("wasm", tools(daemon), words)?;
    crictl.ask(&["stop", "--timeout", "0", &id])?;
    crictl.ask(&["rm", &id])?;
    for wanted in ["CREATED", "STARTED", "STOPPED", "DELETED"] {
        let kind = loop {
            let event = heard.recv_timeout(patient(LIMIT)).with_context(|| wanted.to_string())?;
            if event["containerId"] == id.as_str() {
                break event["containerEventType"].as_str().unwrap_or_default().to_string();
            }
        };
        ensure!(kind == format!("CONTAINER_{wanted}_EVENT"), "{kind} in the place of {wanted}");
    }
    people.end()
}

fn info(daemon: &Daemon) -> Result<()> {
    let told = Crictl(daemon).json(&["info"])?;
    let conditions = told["status"]["conditions"].as_array().context("conditions")?;
    for kind in ["RuntimeReady", "NetworkReady"] {
        let found = conditions.iter().find(|one| one["type"] == kind).context(kind)?;
        ensure!(found["status"] == true, "{found}");
    }
    let handlers = &told["config"]["containerd"]["runtimes"];
    ensure!(handlers[PODSANDBOX].is_object(), "{told}");
    // What a kubelet asks before it gives a pod users of its own. 1.7 knows no features of handlers, and 2.1 asks none
    // but runc's ("introspecting OCI runtime features needs the runtime type to be").
    if daemon.containerd.version < Version::V2_4 {
        return Ok(());
    }
    let handlers = told["runtimeHandlers"].as_array().context("runtimeHandlers")?;
    let own = handlers.iter().find(|one| one["name"] == PODSANDBOX).context("our handler")?;
    ensure!(own["features"]["recursive_read_only_mounts"] == true, "{own}");
    ensure!(own["features"]["user_namespaces"] == true, "{own}");
    Ok(())
}
