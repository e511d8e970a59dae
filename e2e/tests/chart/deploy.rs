//! `deploy/operator` is the chart without Helm: `make manifests`.

use expect_test::expect_file;
use serde_json::Value;
use wherry_e2e::helm::{Helm, objects, repository};

use crate::rendered;

const MADE: &str = "# Made from charts/wherry with values.yaml: make manifests\n";

fn render(set: &str) -> String {
    let file = repository().join("deploy/operator/values.yaml").display().to_string();
    rendered(Helm::V4, &["--no-hooks", "--values", &file, "--set", set])
}

/// Without what is Helm's.
fn plain(text: &str) -> String {
    let helms = ["# Source: ", "    helm.sh/chart: ", "    app.kubernetes.io/managed-by: "];
    let kept = text.lines().filter(|line| !helms.iter().any(|it| line.starts_with(it)));
    let mut plain: String = kept.map(|line| format!("{line}\n")).collect();
    plain.insert_str(0, MADE);
    plain
}

#[test]
fn the_plain_manifests_are_the_charts() {
    let text = plain(&render("shim.enabled=false"));
    assert!(!text.to_lowercase().contains("helm"), "Helm is nobody's business here");
    expect_file!["../../../deploy/operator/wherry.yaml"].assert_eq(&text);
}

#[test]
fn the_plain_shim_is_the_charts() {
    let all = objects(&render("shim.enabled=true")).expect("YAML");
    let config = all.iter().find(|it| it["metadata"]["name"] == "wherry-shim").expect("a shim");
    let text = config["data"]["shim.json"].as_str().expect("text");
    let mut shim: Value = serde_json::from_str(text).expect("JSON");
    shim["metadata"].as_object_mut().expect("fields").remove("labels");
    let text = serde_saphyr::to_string(&shim).expect("YAML");
    expect_file!["../../../deploy/operator/wasmshim.yaml"].assert_eq(&format!("{MADE}{text}"));
}
