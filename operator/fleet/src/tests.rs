//! A cluster in a few lines, and what is told of it.

use expect_test::{Expect, expect};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use wherry_operator_core::crd::{
    self, NodeShim, ShimRevision, WasmShim, WasmShimSpec, node_shim, revision_of,
};

use crate::args::Verb;
use crate::change::decide;
use crate::cluster::{Cluster, Machine};
use crate::text::Manner;
use crate::{diff, text, view};

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().expect("a time")
}

fn ago(minutes: i64) -> Time {
    Time(now() - jiff::SignedDuration::from_mins(minutes))
}

fn spec(number: u64, options: &str) -> WasmShimSpec {
    let image = format!("registry.example/wherry-node@sha256:{number:064x}");
    let handler = json!({ "name": "wherry", "runtimeClassName": "wherry", "options": options });
    let json = json!({ "artifact": { "image": image }, "handlers": [handler],
        "nodes": { "selector": { "matchLabels": { "wasm": "yes" } } } });
    serde_json::from_value(json).expect("a spec")
}

/// Revision 1 is what nodes had, 2 is what they are to get.
fn fleet(status: Value) -> Cluster {
    let mut shim = WasmShim::new("wherry", spec(2, "cache = 1"));
    shim.metadata.generation = Some(2);
    let mut all = json!({ "observedGeneration": 2, "targetRevision": target() });
    all.as_object_mut().expect("it is").extend(status.as_object().expect("it is").clone());
    shim.status = Some(serde_json::from_value(all).expect("a status"));
    let revisions = [spec(1, ""), spec(2, "cache = 1")].map(|spec| {
        let (name, revision) = revision_of("wherry", &spec);
        ShimRevision::new(&name, revision)
    });
    Cluster {
        shims: vec![shim],
        revisions: revisions.into(),
        machines: Some(Vec::new()),
        ..Cluster::default()
    }
}

fn old() -> String {
    revision_of("wherry", &spec(1, "")).0
}

fn target() -> String {
    revision_of("wherry", &spec(2, "cache = 1")).0
}

impl Cluster {
    fn machine(mut self, name: &str) -> Cluster {
        let labels = [("wasm".to_string(), "yes".to_string())].into();
        let machine = Machine { name: name.into(), labels, held: false };
        self.machines.get_or_insert_default().push(machine);
        self
    }

    fn held(mut self) -> Cluster {
        self.machines.iter_mut().flatten().last().expect("a node").held = true;
        self
    }

    /// A node whose last order was number 1 and came to this, with `more` of its status.
    fn node(
        mut self,
        name: &str,
        spec: Value,
        outcome: &str,
        revision: &str,
        more: Value,
    ) -> Cluster {
        let mut wanted = json!({ "shim": "wherry", "node": name, "nodeUid": "u", "attempt": 1,
            "action": "Install", "revision": revision });
        wanted.as_object_mut().expect("it is").extend(spec.as_object().expect("it is").clone());
        let action = wanted["action"].clone();
        let mut status = json!({
            "phase": outcome, "message": "said by its agent",
            "observed": { "attempt": 1, "action": action, "revision": revision, "outcome": outcome,
                "proved": outcome == "Ready", "at": ago(5), "nodeUid": "u", "bootId": "b",
                "machineId": "m", "runtimeVersion": "containerd://2.1.9" },
            "runtime": { "name": "containerd", "version": "2.1.9", "configVersion": 3,
                "distribution": "kubeadm" },
            "installed": { "revision": if outcome == "Ready" { revision.to_string() } else { old() },
                "binaryDigest": "d", "configDigest": "c", "configPath": "/etc/containerd/config.toml",
                "method": "DropIn" },
        });
        status.as_object_mut().expect("it is").extend(more.as_object().expect("it is").clone());
        let mut object = NodeShim::new(
            &node_shim("wherry", name),
            serde_json::from_value(wanted).expect("an order"),
        );
        object.status = Some(serde_json::from_value(status).expect("a status"));
        self.objects.push(object);
        self.machine(name)
    }

    fn shim(&mut self) -> &mut WasmShim {
        &mut self.shims[0]
    }
}

fn check_status(cluster: &Cluster, expected: Expect) {
    let manner = Manner { called: "wherry fleet".into(), all: false, width: None };
    let told = text::status(&view::shims(cluster, None), &manner, now());
    expected.assert_eq(&told);
}

fn check_diff(cluster: &Cluster, expected: Expect) {
    expected.assert_eq(&diff::text(&diff::diffs(cluster, None), false));
}

/// What is written, and what is said of it.
fn check_change(cluster: &Cluster, verb: Verb, expected: Expect) {
    let told = match decide(&verb, &cluster.shims[0], cluster, now()) {
        Ok(change) => {
            let patch = change.patch.map(|patch| format!("{patch}\n")).unwrap_or_default();
            format!("{patch}{}", change.says)
        }
        Err(refusal) => format!("refused: {refusal}"),
    };
    expected.assert_eq(&told);
}

fn rolling_out() -> Cluster {
    let status = json!({
        "phase": "Progressing", "lastGoodRevision": old(),
        "wave": { "name": "early", "index": 1, "nodes": 3 },
        "nodes": { "desired": 6, "ready": 1, "progressing": 1, "failed": 1, "held": 1, "pending": 2 },
    });
    let finding = json!({ "findings": [
        { "code": "ForeignDropIn", "severity": "Info", "message": "99-nvidia.toml is there" },
        { "code": "KillModeNotProcess", "severity": "Blocker",
          "message": "a restart of containerd.service\nwould end every pod" },
    ]});
    fleet(status)
        .node("n1", json!({ "wave": "canary" }), "Ready", &target(), json!({}))
        .node("n2", json!({ "wave": "early" }), "Failed", &target(), finding)
        .node(
            "n3",
            json!({ "wave": "early", "attempt": 2, "revision": target() }),
            "Ready",
            &old(),
            json!({}),
        )
        .node("n4", json!({}), "Ready", &old(), json!({}))
        .machine("n5")
        .held()
        .machine("n10")
}

#[test]
fn a_rollout_is_told_by_waves_and_nodes() {
    check_status(
        &rolling_out(),
        expect![[r#"
        WASMSHIM  MODE     PHASE        READY  WAVE         TARGET               LAST GOOD
        wherry    Managed  Progressing  1/6    early (2/3)  wherry-b5e56d9fe684  wherry-f3e5167a4bbc

        wherry: 1 of 6 ready, 1 at work, 2 pending, 1 failed, 1 held
          canary  [####################]  1/1
        > early   [######!!!!!!........]  1/3, 1 failed
          rest    [###!!!..............]  1/6, 1 failed

        NODE  PHASE       REVISION             PROVED  RUNTIME           LAST FINDING
        n1    Ready       wherry-b5e56d9fe684  5m ago  containerd 2.1.9  -
        n2    Failed      wherry-f3e5167a4bbc  -       containerd 2.1.9  KillModeNotProcess: a restart of containerd.service would end every pod
        n3    Installing  wherry-f3e5167a4bbc  5m ago  containerd 2.1.9  -
        n4    Ready       wherry-f3e5167a4bbc  5m ago  containerd 2.1.9  -
        n5    Held        -                    -       -                 -
        n10   Waiting     -                    -       -                 -
    "#]],
    );
}

#[test]
fn of_a_large_fleet_what_is_not_as_wanted_is_told() {
    let mut cluster = fleet(json!({
        "phase": "Complete", "lastGoodRevision": target(),
        "nodes": { "desired": 30, "ready": 29, "drifted": 1 },
    }));
    for index in 0..29 {
        cluster = cluster.node(&format!("n{index}"), json!({}), "Ready", &target(), json!({}));
    }
    cluster = cluster.node("n29", json!({}), "Drifted", &target(), json!({}));
    check_status(
        &cluster,
        expect![[r#"
        WASMSHIM  MODE     PHASE     READY  WAVE  TARGET               LAST GOOD
        wherry    Managed  Complete  29/30  -     wherry-b5e56d9fe684  wherry-b5e56d9fe684

        wherry: 29 of 30 ready, 1 drifted

        NODE  PHASE    REVISION             PROVED  RUNTIME           LAST FINDING
        n29   Drifted  wherry-f3e5167a4bbc  -       containerd 2.1.9  said by its agent
        29 more (29 as wanted): wherry fleet status --all
    "#]],
    );
}

#[test]
fn what_is_waited_for_is_told_with_the_word_that_ends_it() {
    let mut paused = fleet(json!({ "phase": "Paused" }));
    check_status(
        &paused,
        expect![[r#"
        WASMSHIM  MODE     PHASE   READY  WAVE  TARGET               LAST GOOD
        wherry    Managed  Paused  0/0    -     wherry-b5e56d9fe684  -

        wherry: 0 of 0 ready
          paused; to go on: wherry fleet resume wherry
    "#]],
    );
    paused.shim().metadata.generation = Some(3);
    check_status(
        &paused,
        expect![[r#"
        WASMSHIM  MODE     PHASE   READY  WAVE  TARGET               LAST GOOD
        wherry    Managed  Paused  0/0    -     wherry-b5e56d9fe684  -

        wherry: 0 of 0 ready
          the operator has not looked at this spec yet: is it running?
    "#]],
    );
    check_status(
        &fleet(json!({ "phase": "AwaitingApproval" })),
        expect![[r#"
        WASMSHIM  MODE     PHASE             READY  WAVE  TARGET               LAST GOOD
        wherry    Managed  AwaitingApproval  0/0    -     wherry-b5e56d9fe684  -

        wherry: 0 of 0 ready
          waits for approval: wherry fleet approve wherry wherry-b5e56d9fe684
    "#]],
    );
    let soaks = json!({ "phase": "Soaking", "wave":
        { "name": "canary", "index": 0, "nodes": 1, "soakUntil": "2026-11-23T12:04:10Z" } });
    check_status(
        &fleet(soaks),
        expect![[r#"
            WASMSHIM  MODE     PHASE    READY  WAVE          TARGET               LAST GOOD
            wherry    Managed  Soaking  0/0    canary (1/3)  wherry-b5e56d9fe684  -

            wherry: 0 of 0 ready
              the wave is watched for 4m more, until 2026-11-23T12:04:10Z
            > canary  [....................]  0/1
              early   [....................]  0/0
              rest    [....................]  0/0
        "#]],
    );
    let rejected = json!({ "phase": "RolledBack", "lastGoodRevision": old(),
        "rejected": { "revision": target(), "message": "1 of 1 nodes of the wave \"canary\" failed" } });
    check_status(
        &fleet(rejected),
        expect![[r#"
        WASMSHIM  MODE     PHASE       READY  WAVE  TARGET               LAST GOOD
        wherry    Managed  RolledBack  0/0    -     wherry-b5e56d9fe684  wherry-f3e5167a4bbc

        wherry: 0 of 0 ready
          wherry-b5e56d9fe684 is rolled back: 1 of 1 nodes of the wave "canary" failed; wherry-f3e5167a4bbc is what nodes go back to
          to try it once more: wherry fleet retry wherry
    "#]],
    );
    check_status(
        &Cluster::default(),
        expect![[r#"
        There is no WasmShim.
    "#]],
    );
}

#[test]
fn a_log_has_a_line_for_what_is_new() {
    let before = view::shims(&rolling_out(), None);
    let mut cluster = rolling_out();
    let status = cluster.shim().status.as_mut().expect("it has one");
    status.nodes.ready = 2;
    status.nodes.progressing = 0;
    let object = cluster.objects[3].status.as_mut().expect("it has one");
    object.phase = crd::Phase::Drifted;
    let after = view::shims(&cluster, None);
    let mut told = text::news(&[], &before, now());
    told.extend(text::news(&before, &after, now()));
    told.extend(text::news(&after, &after, now()));
    told.extend(text::news(&after, &[], now()));
    expect![[r#"
        2026-11-23T12:00:00Z wherry Progressing wave early 1 of 6 ready, 1 at work, 2 pending, 1 failed, 1 held
        2026-11-23T12:00:00Z wherry n2 Failed: a restart of containerd.service would end every pod
        2026-11-23T12:00:00Z wherry Progressing wave early 2 of 6 ready, 2 pending, 1 failed, 1 held
        2026-11-23T12:00:00Z wherry n4 Drifted: said by its agent
        2026-11-23T12:00:00Z wherry is gone
    "#]]
    .assert_eq(&(told.join("\n") + "\n"));
}

#[test]
fn nodes_that_differ_alike_are_told_once() {
    check_diff(
        &rolling_out(),
        expect![[r#"
            wherry: wherry-b5e56d9fe684; 1 as wanted

            1 node: n2
              wherry-f3e5167a4bbc -> wherry-b5e56d9fe684
              - image registry.example/wherry-node@sha256:0000000000000000000000000000000000000000000000000000000000000001
              + image registry.example/wherry-node@sha256:0000000000000000000000000000000000000000000000000000000000000002
              - handler wherry
              + handler wherry (cache = 1)
              containerd is restarted
              last: Install of wherry-b5e56d9fe684 came to Failed: said by its agent
              Blocker KillModeNotProcess: a restart of containerd.service would end every pod
              Info ForeignDropIn: 99-nvidia.toml is there

            2 nodes: n3, n4
              wherry-f3e5167a4bbc -> wherry-b5e56d9fe684
              - image registry.example/wherry-node@sha256:0000000000000000000000000000000000000000000000000000000000000001
              + image registry.example/wherry-node@sha256:0000000000000000000000000000000000000000000000000000000000000002
              - handler wherry
              + handler wherry (cache = 1)
              containerd is restarted

            1 node: n5
              held with nothing

            1 node: n10
              nothing -> wherry-b5e56d9fe684
              + image registry.example/wherry-node@sha256:0000000000000000000000000000000000000000000000000000000000000002
              + handler wherry (cache = 1)
              containerd is restarted
        "#]],
    );
}

#[test]
fn a_plan_is_told_as_the_agents_told_it() {
    let mut cluster = fleet(json!({ "phase": "Complete" }));
    let planned = json!({ "installed": null, "diff": "+ [plugins.x]\n+ a = 1\n" });
    cluster = cluster
        .node("n1", json!({ "action": "Plan" }), "Planned", &target(), planned.clone())
        .node("n2", json!({ "action": "Plan" }), "Planned", &target(), planned)
        .node(
            "n3",
            json!({ "action": "Plan" }),
            "Unsupported",
            &target(),
            json!({ "installed": null }),
        );
    check_diff(
        &cluster,
        expect![[r#"
        wherry: wherry-b5e56d9fe684; 0 as wanted

        2 nodes: n1, n2
          nothing -> wherry-b5e56d9fe684
          + image registry.example/wherry-node@sha256:0000000000000000000000000000000000000000000000000000000000000002
          + handler wherry (cache = 1)
          containerd is restarted
          | + [plugins.x]
          | + a = 1

        1 node: n3
          unsupported, with nothing
          last: Plan of wherry-b5e56d9fe684 came to Unsupported: said by its agent
    "#]],
    );
    for index in 4..20 {
        cluster = cluster.machine(&format!("n{index}"));
    }
    cluster.shim().spec.restart.policy = wherry_report::RestartPolicy::OnNextBoot;
    check_diff(
        &cluster,
        expect![[r#"
        wherry: wherry-b5e56d9fe684; 0 as wanted

        2 nodes: n1, n2
          nothing -> wherry-b5e56d9fe684
          + image registry.example/wherry-node@sha256:0000000000000000000000000000000000000000000000000000000000000002
          + handler wherry (cache = 1)
          in effect from the node's next boot on
          | + [plugins.x]
          | + a = 1

        1 node: n3
          unsupported, with nothing
          last: Plan of wherry-b5e56d9fe684 came to Unsupported: said by its agent

        16 nodes: n4, n5, n6, n7, n8, n9, n10, n11 and 8 more
          nothing -> wherry-b5e56d9fe684
          + image registry.example/wherry-node@sha256:0000000000000000000000000000000000000000000000000000000000000002
          + handler wherry (cache = 1)
          in effect from the node's next boot on
    "#]],
    );
}

#[test]
fn what_was_rolled_back_goes_to_what_was_good() {
    let rejected = json!({ "phase": "RolledBack", "lastGoodRevision": old(),
        "rejected": { "revision": target(), "message": "it failed" } });
    let mut cluster = fleet(rejected)
        .node("n1", json!({ "wave": "canary" }), "Ready", &target(), json!({}))
        .node("n2", json!({ "wave": "canary" }), "Reverted", &target(), json!({}))
        .node("n3", json!({}), "Ready", &old(), json!({}));
    check_diff(
        &cluster,
        expect![[r#"
        wherry: wherry-f3e5167a4bbc (wherry-b5e56d9fe684 is rolled back); 2 as wanted

        1 node: n2
          wherry-f3e5167a4bbc is repaired
          containerd is not restarted
          last: Install of wherry-b5e56d9fe684 came to Reverted: said by its agent
    "#]],
    );
    let given_up = [(crd::GIVEN_UP.to_string(), target())].into();
    cluster.shim().metadata.annotations = Some(given_up);
    check_diff(
        &cluster,
        expect![[r#"
        wherry: wherry-f3e5167a4bbc (wherry-b5e56d9fe684 is rolled back); 1 as wanted

        1 node: n1
          wherry-b5e56d9fe684 -> wherry-f3e5167a4bbc
          - image registry.example/wherry-node@sha256:0000000000000000000000000000000000000000000000000000000000000002
          + image registry.example/wherry-node@sha256:0000000000000000000000000000000000000000000000000000000000000001
          - handler wherry (cache = 1)
          + handler wherry
          containerd is restarted

        1 node: n2
          wherry-f3e5167a4bbc is repaired
          containerd is not restarted
          last: Install of wherry-b5e56d9fe684 came to Reverted: said by its agent
    "#]],
    );
    cluster.shim().metadata.deletion_timestamp = Some(ago(1));
    check_diff(
        &cluster,
        expect![[r#"
        wherry: wherry-f3e5167a4bbc (wherry-b5e56d9fe684 is rolled back); 0 as wanted

        1 node: n1
          wherry-b5e56d9fe684 -> nothing
          containerd is restarted

        1 node: n2
          wherry-f3e5167a4bbc -> nothing
          containerd is restarted
          last: Install of wherry-b5e56d9fe684 came to Reverted: said by its agent

        1 node: n3
          wherry-f3e5167a4bbc -> nothing
          containerd is restarted
    "#]],
    );
}

#[test]
fn a_verb_writes_its_field_and_no_other() {
    let mut cluster = rolling_out();
    check_change(
        &cluster,
        Verb::Pause,
        expect![[r#"
        {"spec":{"rollout":{"pace":"Paused"}}}
        wherry is paused: work that has begun ends, no other begins"#]],
    );
    check_change(&cluster, Verb::Resume, expect!["wherry is not paused already"]);
    check_change(
        &cluster,
        Verb::Rollback,
        expect![[r#"
        {"metadata":{"annotations":{"wherry.dev/given-up-revision":"wherry-b5e56d9fe684"}}}
        wherry-b5e56d9fe684 is given up: nodes that have it go back to wherry-f3e5167a4bbc"#]],
    );
    cluster.shim().spec.rollout.pace = crd::Pace::Paused;
    check_change(
        &cluster,
        Verb::Resume,
        expect![[r#"
        {"spec":{"rollout":{"pace":"Running"}}}
        wherry goes on"#]],
    );
    check_change(
        &cluster,
        Verb::Rollback,
        expect![[r#"
        {"metadata":{"annotations":{"wherry.dev/given-up-revision":"wherry-b5e56d9fe684"}},"spec":{"rollout":{"pace":"Running"}}}
        wherry-b5e56d9fe684 is given up: nodes that have it go back to wherry-f3e5167a4bbc; the pause is over"#]],
    );
    cluster.shim().spec.rollout.approval = crd::Approval::Manual;
    check_change(
        &cluster,
        Verb::Approve { revision: None },
        expect![[r#"
        {"metadata":{"annotations":{"wherry.dev/approved-revision":"wherry-b5e56d9fe684"}}}
        wherry-b5e56d9fe684 is approved: its first wave begins"#]],
    );
    check_change(
        &cluster,
        Verb::Approve { revision: Some(target()) },
        expect![[r#"
        {"metadata":{"annotations":{"wherry.dev/approved-revision":"wherry-b5e56d9fe684"}}}
        wherry-b5e56d9fe684 is approved: its first wave begins"#]],
    );
    let annotations =
        [(crd::APPROVED.to_string(), target()), (crd::GIVEN_UP.to_string(), target())];
    cluster.shim().metadata.annotations = Some(annotations.into());
    check_change(
        &cluster,
        Verb::Retry,
        expect![[r#"
        {"metadata":{"annotations":{"wherry.dev/given-up-revision":null,"wherry.dev/retry":"2026-11-23T12:00:00Z"}}}
        wherry-b5e56d9fe684 is tried once more, from its first wave on"#]],
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut cluster = rolling_out();
    check_change(
        &cluster,
        Verb::Approve { revision: None },
        expect!["refused: wherry asks for no approval: spec.rollout.approval is Automatic"],
    );
    check_change(
        &cluster,
        Verb::Retry,
        expect![
            "refused: wherry-b5e56d9fe684 of wherry was not rolled back; nodes that failed are tried again by themselves"
        ],
    );
    cluster.shim().spec.rollout.approval = crd::Approval::Manual;
    check_change(
        &cluster,
        Verb::Approve { revision: Some("wherry-1".into()) },
        expect!["refused: what waits for approval is wherry-b5e56d9fe684, not wherry-1"],
    );
    let status = cluster.shim().status.as_mut().expect("it has one");
    status.last_good_revision = Some(target());
    check_change(
        &cluster,
        Verb::Approve { revision: None },
        expect![
            "refused: nothing of wherry waits for approval: wherry-b5e56d9fe684 was good before"
        ],
    );
    check_change(
        &cluster,
        Verb::Rollback,
        expect![
            "refused: there is no good revision of wherry but wherry-b5e56d9fe684: pause the rollout, or change spec.artifact.image"
        ],
    );
    cluster.shim().status.as_mut().expect("it has one").previous_good_revision =
        Some("wherry-0".into());
    check_change(
        &cluster,
        Verb::Rollback,
        expect![
            "refused: the last good revision wherry-0 is not kept any more: change spec.artifact.image"
        ],
    );
    cluster.shim().spec.mode = crd::Mode::Plan;
    check_change(
        &cluster,
        Verb::Rollback,
        expect!["refused: wherry is in mode Plan: nothing was changed that could be rolled back"],
    );
    cluster.shim().metadata.deletion_timestamp = Some(ago(1));
    check_change(&cluster, Verb::Rollback, expect!["refused: wherry is being deleted"]);
}
