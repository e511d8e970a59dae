//! Specs with anything anywhere: a plan or a refusal, never a panic, and no plan that breaks a rule.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use wherry_core::plan::{MountWhat, Plan};
use wherry_core::spec::{CgroupVersion, Facts};

use crate::{node, plan};

const SPECS: [&str; 4] = [
    include_str!("../specs/ctr.json"),
    include_str!("../specs/cri.json"),
    include_str!("../specs/cri-userns-systemd.json"),
    include_str!("../specs/docker.json"),
];

fn anything() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just(String::new()),
        Just("/".into()),
        Just("a:b:c".into()),
        Just("../..".into()),
        Just("rbind".into()),
        Just("x#y".into()),
        "[a-z/.:#=\\PC]{0,12}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| prop::collection::vec(inner, 0..3).prop_map(Value::from))
}

/// Replaces the `n`th value of the tree, counted from the top.
fn replace(at: &mut Value, n: &mut usize, with: &Value) {
    if *n == 0 {
        *at = with.clone();
    }
    *n = n.wrapping_sub(1);
    match at {
        Value::Array(list) => list.iter_mut().for_each(|value| replace(value, n, with)),
        Value::Object(map) => map.values_mut().for_each(|value| replace(value, n, with)),
        _ => {}
    }
}

fn check(plan: &Plan) {
    let paths: BTreeSet<_> = plan.run.preopens.iter().map(|preopen| &preopen.path).collect();
    assert_eq!(paths.len(), plan.run.preopens.len(), "a folder is preopened twice");
    assert!(paths.iter().all(|path| path.starts_with('/')));
    assert!(plan.program.candidates.iter().all(|path| path.is_absolute()));
    assert!(plan.sandbox.rootfs.is_absolute() && plan.sandbox.cwd.is_absolute());
    assert!(!plan.run.args.is_empty());
    for mount in &plan.sandbox.mounts {
        assert!(mount.destination.is_absolute());
        if let MountWhat::Bind { source, .. } = &mount.what {
            assert!(source.is_absolute() && mount.data.is_empty());
        }
    }
    assert!(
        !plan.cgroup.devices.first().expect("a first rule").allow(),
        "devices start from nothing"
    );
    assert!(plan.sandbox.capabilities.bounding.iter().all(|name| name != "CAP_SYS_ADMIN"));
}

proptest! {
    #[test]
    fn anything_anywhere_is_planned_or_refused(
        which in 0..4usize, mut at in 0..400usize, with in anything(), v2: bool, systemd: bool,
    ) {
        let mut spec: Value = serde_json::from_str(SPECS[which]).expect("JSON");
        replace(&mut spec, &mut at, &with);
        let cgroup = if v2 { CgroupVersion::V2 } else { CgroupVersion::V1 };
        match plan(&spec.to_string(), "", &Facts { cgroup, systemd, ..node() }) {
            Ok(plan) => check(&plan),
            Err(refusal) => prop_assert!(!refusal.field.is_empty() && !refusal.why.is_empty()),
        }
    }

    #[test]
    fn any_annotation_of_ours_is_set_or_refused(key in "wherry\\.dev/\\PC{0,16}", value in "\\PC{0,16}") {
        let mut spec: Value = serde_json::from_str(SPECS[0]).expect("JSON");
        spec["annotations"] = json!({ key: value });
        if let Ok(plan) = plan(&spec.to_string(), "", &node()) {
            check(&plan);
        }
    }
}
