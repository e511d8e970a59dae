//! What is wrong with containerd, or with its handler for us.

use expect_test::{Expect, expect};

use super::{check, containerd};
use crate::doctor::containerd::{Config, Handler};
use crate::doctor::facts::{Answers, Containerd, CriStatus, Facts, Search};

fn daemon(edit: impl FnOnce(&mut Containerd), expected: Expect) {
    check(
        |facts| {
            let mut found = containerd();
            edit(&mut found);
            facts.containerd = Search::Found(Box::new(found));
        },
        expected,
    );
}

fn config(edit: impl FnOnce(&mut Config), expected: Expect) {
    let mut whole = containerd().config.expect("a configuration");
    edit(&mut whole);
    daemon(|found| found.config = Ok(whole), expected);
}

fn with_handler(edit: impl FnOnce(&mut Handler), expected: Expect) {
    config(
        |config| {
            let cri = config.cri.as_mut().expect("CRI");
            edit(cri.handlers.get_mut("wherry").expect("ours"));
        },
        expected,
    );
}

#[test]
fn a_containerd_that_is_not_there() {
    check(
        |facts| facts.containerd = Search::None { wanted: None },
        expect![[r#"
        fail  containerd.running      no containerd runs here
                                      → start it (systemctl start containerd; journalctl -u containerd tells why it does not). Where it runs in a mount namespace of its own, run the doctor in there: nsenter -m -t PID wherry doctor
        1 failed
    "#]],
    );
    check(
        |facts| facts.containerd = Search::None { wanted: Some("/x.sock".into()) },
        expect![[r#"
            fail  containerd.running      no containerd with the socket /x.sock runs here
                                          → name another with --address, or start this one
            1 failed
        "#]],
    );
    check(
        |facts| facts.containerd = Search::Several(vec!["/a.sock".into(), "/b.sock".into()]),
        expect![[r#"
            fail  containerd.running      several containerds run here: /a.sock, /b.sock
                                          → say which with --address SOCKET
            1 failed
        "#]],
    );
    daemon(
        |found| {
            found.pid = None;
            found.answers = Answers::NotAsked;
        },
        expect![[r#"
            fail  containerd.running      containerd (/usr/bin/containerd) does not run; only its files were looked at
                                          → start it: systemctl start containerd
            1 failed
        "#]],
    );
    daemon(
        |found| found.answers = Answers::Nothing("connection refused".into()),
        expect![[r#"
        fail  containerd.running      containerd (/usr/bin/containerd, process 700) does not answer: connection refused
                                      → look why: journalctl -u containerd. A daemon that hangs is restarted with systemctl restart containerd
        1 failed
    "#]],
    );
}

#[test]
fn a_containerd_that_is_not_as_it_should_be() {
    daemon(
        |found| found.version = "1.6.20".into(),
        expect![[r#"
        fail  containerd.version      containerd 1.6.20 is too old
                                      → use containerd 1.7 or newer
        1 failed
    "#]],
    );
    daemon(
        |found| found.version = "unknown".into(),
        expect![[r#"
        warn  containerd.version      containerd tells the version "unknown", which is none
                                      → Wherry is tested with 1.7, 2.1 and 2.4
        nothing failed, 1 to look at
    "#]],
    );
    daemon(
        |found| found.config = Err("toml: line 3".into()),
        expect![[r#"
        fail  containerd.config       containerd refuses its configuration, and will not start again: toml: line 3
                                      → mend /etc/containerd/config.toml or what it imports; containerd --config /etc/containerd/config.toml config dump tells when it is whole
        1 failed
    "#]],
    );
    daemon(
        |found| found.complaints = vec!["unknown key".into()],
        expect![[r#"
        warn  containerd.config       containerd passes over parts of /etc/containerd/config.toml: unknown key
                                      → a section counts only with the name that containerd of this version gives it: [plugins."io.containerd.cri.v1.runtime"] in a configuration of version 3 and later, [plugins."io.containerd.grpc.v1.cri"] in one of version 2
        nothing failed, 1 to look at
    "#]],
    );
    daemon(
        |found| found.changed = vec!["/etc/containerd/conf.d/a.toml".into()],
        expect![[r#"
        warn  containerd.restart      changed since containerd started, which does not know it: /etc/containerd/conf.d/a.toml
                                      → systemctl restart containerd (containers go on running)
        nothing failed, 1 to look at
    "#]],
    );
    daemon(
        |found| found.replaced = true,
        expect![[r#"
        warn  containerd.restart      /usr/bin/containerd was replaced, and the old one runs
                                      → systemctl restart containerd (containers go on running)
        nothing failed, 1 to look at
    "#]],
    );
    daemon(
        |found| found.answers = Answers::NoCri("unknown service".into()),
        expect![[r#"
        fail  handler.loaded          containerd's CRI plugin does not answer: unknown service
                                      → look why it failed to load: journalctl -u containerd
        1 failed
    "#]],
    );
    daemon(
        |found| {
            found.answers =
                Answers::Cri(CriStatus { reason: "NotReady: x".into(), ..CriStatus::default() });
        },
        expect![[r#"
            fail  containerd.running      containerd (/usr/bin/containerd, process 700) is not ready to run pods: NotReady: x
                                          → look why: journalctl -u containerd
            fail  handler.loaded          wherry is in the configuration, and the containerd that runs does not know it
                                          → systemctl restart containerd (containers go on running)
            2 failed
        "#]],
    );
}

#[test]
fn a_handler_that_is_missing_gets_the_words_for_this_containerd() {
    let without = |version: &str, file_version, imports: &[&str]| {
        let mut found = containerd();
        found.version = version.into();
        found.file_version = file_version;
        found.imports = imports.iter().map(|one| (*one).to_owned()).collect();
        if let Ok(config) = &mut found.config {
            config.cri.iter_mut().for_each(|cri| drop(cri.handlers.remove("wherry")));
        }
        move |facts: &mut Facts| facts.containerd = Search::Found(Box::new(found))
    };
    check(
        without("1.7.24", Some(2), &[]),
        expect![[r#"
            fail  handler                 containerd has no handler for Wherry: pods of its RuntimeClass do not start
                                          → add this to the end of /etc/containerd/config.toml:
                                          → [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wherry]
                                          → runtime_type = "io.containerd.wherry.v1"
                                          → pod_annotations = ["wherry.dev/*"]
                                          → then systemctl restart containerd (containers go on running)
            1 failed
        "#]],
    );
    check(
        without("2.1.9", Some(2), &[]),
        expect![[r#"
            fail  handler                 containerd has no handler for Wherry: pods of its RuntimeClass do not start
                                          → write this to /etc/containerd/conf.d/wherry.toml, without a version, and let /etc/containerd/config.toml import it: imports = ["/etc/containerd/conf.d/*.toml"]:
                                          → [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wherry]
                                          → runtime_type = "io.containerd.wherry.v1"
                                          → pod_annotations = ["wherry.dev/*"]
                                          → then systemctl restart containerd (containers go on running)
            1 failed
        "#]],
    );
    check(
        without("2.4.2", Some(3), &["/etc/containerd/conf.d/*.toml"]),
        expect![[r#"
            fail  handler                 containerd has no handler for Wherry: pods of its RuntimeClass do not start
                                          → write this to /etc/containerd/conf.d/wherry.toml, without a version:
                                          → [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.wherry]
                                          → runtime_type = "io.containerd.wherry.v1"
                                          → pod_annotations = ["wherry.dev/*"]
                                          → then systemctl restart containerd (containers go on running)
            1 failed
        "#]],
    );
    check(
        without("2.4.2", None, &[]),
        expect![[r#"
            fail  handler                 containerd has no handler for Wherry: pods of its RuntimeClass do not start
                                          → write this to /etc/containerd/conf.d/wherry.toml, without a version, and let /etc/containerd/config.toml import it: imports = ["/etc/containerd/conf.d/*.toml"]:
                                          → [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.wherry]
                                          → runtime_type = "io.containerd.wherry.v1"
                                          → pod_annotations = ["wherry.dev/*"]
                                          → then systemctl restart containerd (containers go on running)
            1 failed
        "#]],
    );
}

/// Debian's own file for 1.7 has a section of the plugin and no handlers in it: with the first of them, runc goes.
#[test]
fn a_handler_does_not_cost_the_one_that_was_there() {
    let mut found = containerd();
    (found.version, found.file_version, found.names_handlers) = ("1.7.24".into(), Some(2), false);
    if let Ok(config) = &mut found.config {
        config.cri.iter_mut().for_each(|cri| drop(cri.handlers.remove("wherry")));
    }
    check(
        |facts| facts.containerd = Search::Found(Box::new(found)),
        expect![[r#"
            fail  handler                 containerd has no handler for Wherry: pods of its RuntimeClass do not start
                                          → add this to the end of /etc/containerd/config.toml:
                                          → [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.wherry]
                                          → runtime_type = "io.containerd.wherry.v1"
                                          → pod_annotations = ["wherry.dev/*"]
                                          → [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
                                          → runtime_type = "io.containerd.runc.v2"
                                          → [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
                                          → SystemdCgroup = true
                                          → then systemctl restart containerd (containers go on running)
            1 failed
        "#]],
    );
    config(
        |config| config.cri.iter_mut().for_each(|cri| drop(cri.handlers.remove("runc"))),
        expect![[r#"
            fail  handler.default         pods that name no handler get runc, and there is none of that name: no pod starts
                                          → add its section:
                                          → [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
                                          → runtime_type = "io.containerd.runc.v2"
                                          → then systemctl restart containerd
            1 failed
        "#]],
    );
}

#[test]
fn a_handler_that_does_not_lead_to_a_container() {
    with_handler(
        |handler| {
            handler.runtime_type = String::new();
            handler.runtime_path = Some("/opt/wherry/containerd-shim-wherry-v1".into());
        },
        expect![[r#"
            fail  handler                 wherry leads to our shim, and its runtime_type is ""
                                          → runtime_type = "io.containerd.wherry.v1"
            1 failed
        "#]],
    );
    with_handler(
        |handler| handler.options = toml::toml! { cache_dri = "/x" },
        expect![[r#"
        fail  handler.options         every container of wherry is refused: the runtime's options can't be read: line 1: unknown field `cache_dri`, expected one of `SystemdCgroup`, `systemd_cgroup`, `BinaryName`, `Root`, `NoPivotRoot`, `NoNewKeyring`, `ShimCgroup`, `IoUid`, `IoGid`, `CriuPath`, `CriuImagePath`, `CriuWorkPath`, `cache_dir`, `cache_max_bytes`, `compile_memory_bytes`, `compile_timeout_seconds`, `defaults`, `locked`, `TypeUrl`
                                      → mend the options of the handler wherry
        1 failed
    "#]],
    );
    with_handler(
        |handler| handler.options = toml::toml! { SystemdCgroup = false },
        expect![[r#"
        fail  handler.options         SystemdCgroup is false for wherry and true for runc: kubelet uses one of them
                                      → leave SystemdCgroup out of the options of wherry, and it goes by what kubelet asks for
        1 failed
    "#]],
    );
    with_handler(
        |handler| handler.options = toml::toml! { SystemdCgroup = true },
        expect![[r#"
        all is well
    "#]],
    );
    daemon(
        |found| found.answers = Answers::Cri(CriStatus { ready: true, ..CriStatus::default() }),
        expect![[r#"
            fail  handler.loaded          wherry is in the configuration, and the containerd that runs does not know it
                                          → systemctl restart containerd (containers go on running)
            1 failed
        "#]],
    );
    with_handler(
        |handler| handler.annotations.clear(),
        expect![[r#"
        warn  handler.annotations     annotations of pods under wherry.dev/ do not reach wherry: they are as if they were not there
                                      → add to the section of wherry: pod_annotations = ["wherry.dev/*"]; then systemctl restart containerd
        nothing failed, 1 to look at
    "#]],
    );
    config(
        |config| config.cri = None,
        expect![[r#"
        all is well
    "#]],
    );
}
