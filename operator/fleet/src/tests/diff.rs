//! `diff`.

use expect_test::{Expect, expect};
use serde_json::json;
use wherry_operator_core::crd;

use super::{ago, fleet, old, rolling_out, target};
use crate::cluster::Cluster;
use crate::diff;

fn check_diff(cluster: &Cluster, expected: Expect) {
    expected.assert_eq(&diff::text(&diff::diffs(cluster, None), false));
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
