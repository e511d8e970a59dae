//! `apply`: writes a `WasmShim` as it stands in a file.
//!
//! Helm cannot make an object of a kind that the same release brings: it asks the API server about all kinds before it
//! makes any. And a hook of Helm's makes objects, but never changes them: on an upgrade it would delete the old one
//! first, which takes the shim off every node.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use kube::api::{Patch, PatchParams, ValidationDirective};
use kube::{Api, Client, ResourceExt as _};
use serde_json::Value;
use wherry_operator_core::crd::WasmShim;

use super::later;

/// Owns what the chart says of the object, and nothing else of it: what people change beside that stays.
const MANAGER: &str = "wherry-chart";
/// For how long the API server may not know the kind yet.
const LIMIT: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_secs(1);

pub(super) async fn run(client: Client, text: &str) -> Result<()> {
    let (name, object) = read(text)?;
    let mut how = PatchParams::apply(MANAGER).force();
    how.field_validation = Some(ValidationDirective::Strict);
    let api: Api<WasmShim> = Api::all(client);
    let begun = Instant::now();
    loop {
        if let Some(shim) = later(api.patch(&name, &how, &Patch::Apply(&object)).await)? {
            let generation = shim.metadata.generation.unwrap_or_default();
            println!("WasmShim {} is as the chart says, generation {generation}", shim.name_any());
            return Ok(());
        }
        if begun.elapsed() > LIMIT {
            bail!("the API server does not take WasmShims: are the definitions installed?");
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn read(text: &str) -> Result<(String, Value)> {
    let object: Value = serde_json::from_str(text).context("this is no JSON")?;
    let shim: WasmShim = serde_json::from_value(object.clone()).context("this is no WasmShim")?;
    Ok((shim.name_any(), object))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_chart_does_not_say_is_not_written() {
        let text = r#"{"apiVersion":"wherry.dev/v1alpha1","kind":"WasmShim","metadata":{"name":"wherry"},
            "spec":{"artifact":{"image":"a@sha256:0"},"handlers":[{"name":"w","runtimeClassName":"w"}]}}"#;
        let (name, object) = read(text).expect("a WasmShim");
        assert_eq!(name, "wherry");
        assert!(object["spec"]["rollout"].is_null(), "a default would undo a pause: {object}");
        let refused = read(&text.replace("handlers", "handles")).expect_err("no handlers");
        assert!(format!("{refused:#}").contains("handlers"), "{refused:#}");
    }
}
