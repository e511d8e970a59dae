//! `status`, as text and as a log.

use expect_test::{Expect, expect};
use serde_json::json;
use wherry_operator_core::crd;

use super::{fleet, now, old, rolling_out, target};
use crate::cluster::Cluster;
use crate::text::{self, Manner};
use crate::view;

fn check_status(cluster: &Cluster, expected: Expect) {
    let manner = Manner { called: "wherry fleet".into(), all: false, width: None };
    let told = text::status(&view::shims(cluster, None), &manner, now());
    expected.assert_eq(&told);
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
        "nodes": { "desired": 32, "ready": 29, "drifted": 1, "progressing": 1, "pending": 1 },
    }));
    for index in 0..29 {
        cluster = cluster.node(&format!("n{index}"), json!({}), "Ready", &target(), json!({}));
    }
    cluster = cluster
        .node("n29", json!({}), "Ready", &old(), json!({}))
        .node("n30", json!({ "attempt": 2 }), "Ready", &old(), json!({}))
        .node("n31", json!({}), "Drifted", &target(), json!({}));
    check_status(
        &cluster,
        expect![[r#"
            WASMSHIM  MODE     PHASE     READY  WAVE  TARGET               LAST GOOD
            wherry    Managed  Complete  29/32  -     wherry-b5e56d9fe684  wherry-b5e56d9fe684

            wherry: 29 of 32 ready, 1 at work, 1 pending, 1 drifted

            NODE  PHASE       REVISION             PROVED  RUNTIME           LAST FINDING
            n31   Drifted     wherry-f3e5167a4bbc  -       containerd 2.1.9  said by its agent
            n30   Installing  wherry-f3e5167a4bbc  5m ago  containerd 2.1.9  -
            n29   Ready       wherry-f3e5167a4bbc  5m ago  containerd 2.1.9  -
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
