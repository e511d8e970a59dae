//! Renders, beside what they were.

use std::collections::BTreeMap;

use expect_test::expect_file;
use serde_json::Value;
use wherry_e2e::helm::{Helm, chart, objects};

use crate::{rendered, values};

const FILES: [&str; 3] = ["default", "everything", "least"];

#[test]
fn both_helms_find_nothing_to_say_against_it() {
    for helm in Helm::ALL {
        let chart = chart();
        let mut runs = vec![vec!["lint", "--strict", &chart]];
        let files = FILES.map(values);
        runs.extend(files.iter().map(|file| vec!["lint", "--strict", &chart, "--values", file]));
        for words in runs {
            let output = helm.run(&words).expect("Helm");
            assert_eq!(output.code, 0, "{helm:?} {words:?}: {output}");
            assert!(!output.stdout.contains("WARNING"), "{helm:?} {words:?}: {output}");
        }
    }
}

#[test]
fn what_is_rendered_is_what_it_was() {
    for name in FILES {
        // Definitions stand in deploy/crds, and are compared with the types there.
        let file = values(name);
        let text = rendered(Helm::V4, &["--values", &file, "--set", "crds.install=false"]);
        expect_file![format!("golden/{name}.yaml")].assert_eq(&text);
    }
}

/// By kind, namespace and name.
fn by_name(text: &str) -> BTreeMap<String, Value> {
    let name = |object: &Value| {
        let (kind, meta) = (&object["kind"], &object["metadata"]);
        format!("{kind} {} {}", meta["namespace"], meta["name"])
    };
    let all = objects(text).expect("YAML");
    let count = all.len();
    let found: BTreeMap<_, _> = all.into_iter().map(|object| (name(&object), object)).collect();
    assert_eq!(found.len(), count, "an object stands twice: {:?}", found.keys());
    found
}

#[test]
fn both_helms_render_the_same() {
    for name in FILES {
        let file = values(name);
        let [three, four] = Helm::ALL.map(|helm| by_name(&rendered(helm, &["--values", &file])));
        assert_eq!(three, four, "{name}");
    }
}

#[test]
fn every_pod_of_ours_is_restricted() {
    for name in FILES {
        let all = by_name(&rendered(Helm::V4, &["--values", &values(name)]));
        let pods = all.values().filter_map(|object| match object["kind"].as_str() {
            Some("Pod") => Some(&object["spec"]),
            Some("Deployment" | "Job") => Some(&object["spec"]["template"]["spec"]),
            _ => None,
        });
        let mut count = 0;
        for pod in pods {
            count += 1;
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{pod}");
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
            for container in pod["containers"].as_array().expect("containers") {
                let security = &container["securityContext"];
                assert_eq!(security["readOnlyRootFilesystem"], true, "{container}");
                assert_eq!(security["allowPrivilegeEscalation"], false, "{container}");
                assert_eq!(security["capabilities"]["drop"][0], "ALL", "{container}");
                assert!(container["image"].as_str().is_some_and(|it| it.contains("@sha256:")));
                assert!(!container["resources"]["limits"]["memory"].is_null(), "{container}");
            }
        }
        assert_eq!(count, if name == "least" { 3 } else { 4 }, "{name}");
    }
}

#[test]
fn what_must_not_go_with_the_chart_stays() {
    let all = by_name(&rendered(Helm::V4, &["--values", &values("default")]));
    let definitions = all.values().filter(|it| it["kind"] == "CustomResourceDefinition");
    let kept = definitions
        .filter(|it| it["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep")
        .count();
    assert_eq!(kept, 3);
}

#[test]
fn a_value_that_cannot_be_honoured_is_refused_by_its_name() {
    let cases = [
        ("images.operator.tag=latest", "tag"),
        ("images.node.digest=latest", "images.node.digest"),
        ("images.node.digest=", "images.node.digest is missing"),
        ("operater.replicas=3", "operater"),
        ("operator.replicas=-1", "operator.replicas"),
        ("operator.replicas=two", "operator.replicas"),
        ("operator.port=80", "operator.port"),
        ("traces.endpoint=https://collector:4317", "traces.endpoint"),
        ("traces.endpoint=collector:4317", "traces.endpoint"),
        // By these the operator's Service, budget and policy find it.
        ("operator.podLabels.app\\.kubernetes\\.io/name=x", "invalid propertyName"),
        ("operator.securityContext.privileged=true", "securityContext"),
        ("operator.resources.limits.gpu=1", "gpu"),
        (
            "shim.spec.nodes.selector.matchExpressions[0].key=a,shim.spec.nodes.selector.matchExpressions[0].operator=in",
            "operator",
        ),
        (
            "shim.spec.nodes.selector.matchExpressions[0].key=a,shim.spec.nodes.selector.matchExpressions[0].operator=In",
            "oneOf",
        ),
        ("shim.spec.mode=Manged", "shim.spec.mode"),
        ("shim.spec.artifact.image=x", "artifact"),
        ("shim.spec.rollout.maxUnavailable=0", "shim.spec.rollout.maxUnavailable"),
        ("shim.spec.rollout.maxUnavailable=101%", "shim.spec.rollout.maxUnavailable"),
        ("shim.spec.rollout.waves[0].nodes=half", "shim.spec.rollout.waves.0.nodes"),
        ("shim.spec.rollout.wave=1", "wave"),
        ("shim.spec.handlers[0].name=Wherry", "shim.spec.handlers.0.name"),
        ("shim.spec.restart.guardTimeout=soon", "shim.spec.restart.guardTimeout"),
        ("shim.spec.uninstall.whenInUse=Wait", "shim.spec.uninstall.whenInUse"),
        // Without ports, a policy would let everything through.
        ("networkPolicy.apiServerPorts=null", "apiServerPorts"),
        ("networkPolicy=null", "networkPolicy"),
        ("shim.spec.handlers=null", "handlers"),
        ("metrics.serviceMonitor.interval=often", "metrics.serviceMonitor.interval"),
        ("uninstall.seconds=1", "uninstall.seconds"),
        ("crds.keep=false", "keep"),
        ("rbac.drain=false,shim.spec.uninstall.whenInUse=Drain", "needs rbac.drain"),
    ];
    let file = values("default");
    for helm in Helm::ALL {
        for (word, sentence) in cases {
            let output = helm.template(&["--values", &file, "--set", word]).expect("Helm");
            let said = output.stderr.replace('/', ".");
            assert!(output.code != 0, "{helm:?} takes {word}");
            assert!(said.contains(sentence), "{helm:?} {word}: {said}");
        }
    }
}

#[test]
fn a_cluster_that_is_too_old_is_told_so() {
    let file = values("default");
    for helm in Helm::ALL {
        let words = ["--values", &file, "--kube-version", "1.29.0"];
        let output = helm.template(&words).expect("Helm");
        assert!(output.code != 0 && output.stderr.contains(">=1.30.0-0"), "{helm:?}: {output}");
    }
}
