//! The schemas in `deploy/crds/` are those of the types, and say what types cannot.

use std::collections::BTreeSet;

use expect_test::expect_file;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use wherry_operator_core::crd::{self, WasmShimSpec};

fn yaml(definition: &CustomResourceDefinition) -> String {
    let text = serde_saphyr::to_string(definition).expect("a definition is YAML");
    format!(
        "# Made from operator/core/src/crd: UPDATE_EXPECT=1 cargo test -p wherry-operator-core\n{text}"
    )
}

#[test]
fn the_files_are_made_from_the_types() {
    let [shim, revision, node] = crd::definitions().map(|definition| yaml(&definition));
    expect_file!["../../../deploy/crds/wasmshims.yaml"].assert_eq(&shim);
    expect_file!["../../../deploy/crds/shimrevisions.yaml"].assert_eq(&revision);
    expect_file!["../../../deploy/crds/nodeshims.yaml"].assert_eq(&node);
}

/// What an API server stores is what the types write: a default that one of them did not know would come and go.
#[test]
fn a_short_spec_and_its_long_form_are_one() {
    let short = r#"{"artifact":{"image":"a/b@sha256:0"},"handlers":[{"name":"wherry","runtimeClassName":"wherry"}]}"#;
    let spec: WasmShimSpec = serde_json::from_str(short).expect("a spec");
    let long = serde_json::to_string_pretty(&spec).expect("JSON");
    assert_eq!(serde_json::from_str::<WasmShimSpec>(&long).expect("a spec"), spec);
    expect_file!["spec.json"].assert_eq(&long);
}

/// The picture in the README has exactly the phases that a `WasmShim` tells.
#[test]
fn the_picture_of_a_rollout_has_every_phase() {
    let [shim, ..] = crd::definitions().map(|it| serde_json::to_value(it).expect("JSON"));
    let path = "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/phase/enum";
    let phases = shim.pointer(path).and_then(|it| it.as_array()).expect("phases");
    let phases: BTreeSet<&str> = phases.iter().filter_map(|it| it.as_str()).collect();
    let readme = include_str!("../../../README.md");
    let picture = readme.split("stateDiagram-v2").nth(1).and_then(|it| it.split("```").next());
    let arrows = picture.expect("a picture").lines().filter_map(|line| line.split_once(" --> "));
    let mut drawn = BTreeSet::new();
    for (from, to) in arrows {
        drawn.extend([from.trim(), to.split(':').next().unwrap_or_default().trim()]);
    }
    drawn.remove("[*]");
    assert_eq!(drawn, phases);
}
