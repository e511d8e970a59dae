//! The handler of Kubernetes, the shim that it leads to, and what has to lie beside that.

use std::path::Path;

use wherry_containerd::{RUNTIME, Release};
use wherry_core::spec::Options;

use super::{Finding, list};
use crate::doctor::containerd::{Config, Cri, Handler};
use crate::doctor::facts::{Answers, Containerd, Facts, Installed, Program, Search};

pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let Search::Found(containerd) = &facts.containerd else { return Vec::new() };
    let Ok(config) = &containerd.config else { return Vec::new() };
    let mut findings = match &config.cri {
        None => vec![Finding::ok(
            "handler",
            "containerd's CRI plugin is disabled: there is no Kubernetes here, and ctr and Docker need no handler",
        )],
        Some(cri) => handlers(containerd, config, cri),
    };
    for (name, installed) in &facts.installed {
        findings.extend(programs(name, installed, containerd, &facts.version));
    }
    findings.push(runc(facts.runc.as_deref()));
    findings
}

fn handlers(containerd: &Containerd, config: &Config, cri: &Cri) -> Vec<Finding> {
    let ours: Vec<(&String, &Handler)> =
        cri.handlers.iter().filter(|(_, one)| one.is_ours()).collect();
    if ours.is_empty() {
        return vec![Finding::fail(
            "handler",
            "containerd has no handler for Wherry: pods of its RuntimeClass do not start",
            snippet(containerd, config),
        )];
    }
    let mut findings: Vec<Finding> = default(cri).into_iter().collect();
    for (name, handler) in &ours {
        findings.push(one(name, handler));
        findings.extend(loaded(name, containerd));
        findings.extend(options(name, handler, cri.handlers.get("runc")));
        findings.extend(annotations(name, handler));
    }
    findings
}

/// Then the CRI plugin does not load, while the daemon says that it is well.
fn default(cri: &Cri) -> Option<Finding> {
    let name = &cri.default_handler;
    if name.is_empty() || cri.handlers.contains_key(name) {
        return None;
    }
    let todo = format!(
        "add its section:\n{}\nthen systemctl restart containerd",
        section(&cri.plugin, name, "io.containerd.runc.v2")
    );
    let what = format!(
        "pods that name no handler get {name}, and there is none of that name: no pod starts"
    );
    Some(Finding::fail("handler.default", what, todo))
}

fn section(plugin: &str, name: &str, runtime: &str) -> String {
    format!("[plugins.\"{plugin}\".containerd.runtimes.{name}]\nruntime_type = \"{runtime}\"")
}

fn one(name: &str, handler: &Handler) -> Finding {
    if handler.runtime_type == RUNTIME {
        let place = match &handler.runtime_path {
            Some(path) => format!(", {}", path.display()),
            None => String::new(),
        };
        return Finding::ok("handler", format!("{name} is {RUNTIME}{place}"));
    }
    Finding::fail(
        "handler",
        format!("{name} leads to our shim, and its runtime_type is {:?}", handler.runtime_type),
        format!("runtime_type = \"{RUNTIME}\""),
    )
}

/// The daemon knows its handlers from its start.
fn loaded(name: &str, containerd: &Containerd) -> Option<Finding> {
    match &containerd.answers {
        Answers::Cri(status) if status.handlers.contains_key(name) => {
            Some(Finding::ok("handler.loaded", format!("containerd has loaded {name}")))
        }
        Answers::Cri(_) => Some(Finding::fail(
            "handler.loaded",
            format!(
                "{name} is in the configuration, and the containerd that runs does not know it"
            ),
            "systemctl restart containerd (containers go on running)",
        )),
        Answers::NoCri(why) => Some(Finding::fail(
            "handler.loaded",
            format!("containerd's CRI plugin does not answer: {why}"),
            "look why it failed to load: journalctl -u containerd",
        )),
        Answers::NotAsked | Answers::Nothing(_) => None,
    }
}

fn options(name: &str, handler: &Handler, runc: Option<&Handler>) -> Option<Finding> {
    let check = "handler.options";
    if !handler.options.contains_key("ConfigPath")
        && let Err(refusal) = Options::parse(&handler.options.to_string())
    {
        return Some(Finding::fail(
            check,
            format!("every container of {name} is refused: {refusal}"),
            format!("mend the options of the handler {name}"),
        ));
    }
    let said = handler.options.get("SystemdCgroup").and_then(toml::Value::as_bool);
    let theirs = runc.is_some_and(Handler::systemd_cgroup);
    match said {
        Some(ours) if runc.is_some() && ours != theirs => Some(Finding::fail(
            check,
            format!(
                "SystemdCgroup is {ours} for {name} and {theirs} for runc: kubelet uses one of them"
            ),
            format!(
                "leave SystemdCgroup out of the options of {name}, and it goes by what kubelet asks for"
            ),
        )),
        _ => None,
    }
}

/// containerd gives a runtime the annotations that its section names, and no others.
fn annotations(name: &str, handler: &Handler) -> Option<Finding> {
    let ours = |pattern: &String| ["*", "wherry.dev/*"].contains(&pattern.as_str());
    if handler.annotations.iter().any(ours) {
        return None;
    }
    Some(Finding::warn(
        "handler.annotations",
        format!(
            "annotations of pods under wherry.dev/ do not reach {name}: they are as if they were not there"
        ),
        format!("add to the section of {name}: {ANNOTATIONS}; then systemctl restart containerd"),
    ))
}

const ANNOTATIONS: &str = "pod_annotations = [\"wherry.dev/*\"]";

/// What to write, and where, which depends on the version of containerd and on that of its main file: a drop-in replaces
/// whole sections in 1.x, and a section of the wrong version is passed over without a word in 2.x.
fn snippet(containerd: &Containerd, config: &Config) -> String {
    let file = containerd.config_file.display();
    let is_1 = Release::of(&containerd.version).is_some_and(|known| !known.merges());
    let is_v2 = containerd.file_version.is_some_and(|version| version < 3);
    let plugin = match is_1 || is_v2 {
        true => "io.containerd.grpc.v1.cri",
        false => "io.containerd.cri.v1.runtime",
    };
    let mut sections = format!("{}\n{ANNOTATIONS}", section(plugin, "wherry", RUNTIME));
    let runc = config.cri.as_ref().and_then(|cri| cri.handlers.get("runc"));
    if let (true, false, Some(runc)) = (is_1, containerd.names_handlers, runc) {
        let theirs = section(plugin, "runc", &runc.runtime_type);
        sections.push_str(&format!("\n{theirs}"));
        if runc.systemd_cgroup() {
            let options = format!("[plugins.\"{plugin}\".containerd.runtimes.runc.options]");
            sections.push_str(&format!("\n{options}\nSystemdCgroup = true"));
        }
    }
    let imported =
        |imports: &[String]| imports.iter().any(|one| one.starts_with("/etc/containerd/conf.d/"));
    let place = match is_1 {
        // There the last file that has the section replaces those of all others.
        true => format!("add this to the end of {}", containerd.section_file.display()),
        false if imported(&containerd.imports) => {
            "write this to /etc/containerd/conf.d/wherry.toml, without a version".into()
        }
        false => format!(
            "write this to /etc/containerd/conf.d/wherry.toml, without a version, and let {file} import it: imports \
             = [\"/etc/containerd/conf.d/*.toml\"]"
        ),
    };
    format!("{place}:\n{sections}\nthen systemctl restart containerd (containers go on running)")
}

fn programs(
    handler: &str,
    installed: &Installed,
    containerd: &Containerd,
    version: &str,
) -> Vec<Finding> {
    let whose =
        if handler.is_empty() { String::new() } else { format!(" of the handler {handler}") };
    let Some(shim) = &installed.shim else {
        let path: Vec<_> = containerd.path.iter().map(|folder| folder.display()).collect();
        return vec![Finding::fail(
            "programs",
            format!("containerd does not find the shim{whose}: it looks in {}", list(&path)),
            "install the programs in one of these folders (/usr/local/bin is usual)",
        )];
    };
    let folder = shim.parent().unwrap_or(Path::new("/")).display();
    let mut findings = Vec::new();
    for (name, program) in &installed.programs {
        findings.extend(match program {
            Program::Missing => Some(Finding::fail(
                "programs",
                format!("{name} is not beside the shim{whose}, in {folder}"),
                format!("install {name} there: the four programs belong together"),
            )),
            Program::Unusable(why) => Some(Finding::fail(
                "programs",
                format!("{folder}/{name} can't be used: {why}"),
                format!("install {name} of version {version} for this machine there"),
            )),
            Program::Version(theirs) if theirs != version => Some(Finding::fail(
                "programs",
                format!("{folder}/{name} is of version {theirs}, and this program of {version}"),
                "install all four of one version: they speak to each other",
            )),
            Program::Version(_) => None,
        });
    }
    if findings.is_empty() {
        findings.push(Finding::ok("programs", format!("version {version} in {folder}{whose}")));
    }
    findings
}

fn runc(found: Option<&Path>) -> Finding {
    match found {
        Some(path) => Finding::ok("runc", format!("{} for native containers", path.display())),
        None => Finding::warn(
            "runc",
            "no runc where containerd looks: sidecars, init and debug containers that are not Wasm do not start",
            "install runc; without it, Wasm is all that runs under Wherry",
        ),
    }
}
