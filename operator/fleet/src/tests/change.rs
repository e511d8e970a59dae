//! What is written, and what is refused.

use expect_test::{Expect, expect};
use wherry_operator_core::crd;

use super::{ago, now, rolling_out, target};
use crate::args::Verb;
use crate::change::decide;
use crate::cluster::Cluster;

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
