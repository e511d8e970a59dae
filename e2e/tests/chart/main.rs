//! The chart as text: what Helm 3 and Helm 4 make of it, what its schema refuses, and that nothing beside it says
//! anything else.

mod deploy;
mod metrics;
mod render;

use wherry_e2e::helm::Helm;

/// The chart as this Helm renders it.
fn rendered(helm: Helm, words: &[&str]) -> String {
    let output = helm.template(words).expect("Helm");
    assert_eq!(output.code, 0, "{helm:?} {words:?}: {output}");
    output.stdout
}

/// A file of values beside the suite.
fn values(name: &str) -> String {
    format!("{}/tests/chart/values/{name}.yaml", env!("CARGO_MANIFEST_DIR"))
}
