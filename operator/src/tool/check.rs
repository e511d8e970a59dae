//! `check`: whether an operator leads, and has read what was last asked of it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use wherry_operator_core::crd::WasmShim;

use super::{later, some};
use crate::lease;

/// A new operator waits for the lease of the one before it, and then reads the cluster.
const LIMIT: Duration = Duration::from_secs(90);
const AGAIN: Duration = Duration::from_secs(1);

pub(super) async fn run(client: Client, namespace: &str) -> Result<()> {
    let begun = Instant::now();
    let leader = leader(Api::namespaced(client.clone(), namespace), begun).await?;
    println!("{leader} leads");
    let api: Api<WasmShim> = Api::all(client);
    loop {
        let shims = later(api.list(&ListParams::default()).await)?.map(|list| list.items);
        let late: Vec<String> =
            shims.iter().flatten().filter(|shim| !read(shim)).map(|it| it.name_any()).collect();
        if let Some(shims) = shims.filter(|_| late.is_empty()) {
            return verdict(&shims);
        }
        if begun.elapsed() > LIMIT {
            bail!("nobody has read these WasmShims:\n{}see the operator's log", some(&late));
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Who holds the Lease, which is seen to be renewed: times of two machines are never compared.
async fn leader(leases: Api<Lease>, begun: Instant) -> Result<String> {
    let mut first = None;
    while begun.elapsed() < LIMIT {
        let lease = later(leases.get_opt(lease::NAME).await)?.flatten();
        let holder = lease.as_ref().and_then(|it| it.spec.as_ref()?.holder_identity.clone());
        let version = lease.and_then(|it| it.resource_version());
        if let Some(holder) = holder.filter(|it| !it.is_empty())
            && first.get_or_insert(version.clone()) != &version
        {
            return Ok(holder);
        }
        tokio::time::sleep(AGAIN).await;
    }
    bail!("no operator leads: nobody renewed the Lease {} within {LIMIT:?}", lease::NAME)
}

fn read(shim: &WasmShim) -> bool {
    let seen = shim.status.as_ref().map(|status| status.observed_generation);
    seen == shim.metadata.generation
}

/// A rollout that goes on is well; nodes that failed are not.
fn verdict(shims: &[WasmShim]) -> Result<()> {
    let mut bad = Vec::new();
    for shim in shims {
        let status = shim.status.clone().unwrap_or_default();
        let told =
            format!("{}: {:?}, {} ready", shim.name_any(), status.phase, status.nodes.summary);
        println!("{told}");
        let failed = status.nodes.failed + status.nodes.drifted;
        let accepted = status.conditions.iter().find(|it| it.type_ == "Accepted");
        if let Some(refused) = accepted.filter(|it| it.status == "False") {
            bad.push(format!("{told}; {}", refused.message));
        } else if let Some(rejected) = &status.rejected {
            bad.push(format!(
                "{told}; {} was rolled back: {}",
                rejected.revision, rejected.message
            ));
        } else if failed > 0 {
            bad.push(format!("{told}; {failed} nodes failed or drifted: kubectl get nodeshims"));
        }
    }
    ensure!(bad.is_empty(), "not all is well:\n{}", some(&bad));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn shim(status: Value) -> WasmShim {
        serde_json::from_value(json!({
            "apiVersion": "wherry.dev/v1alpha1", "kind": "WasmShim",
            "metadata": { "name": "wherry", "generation": 2 },
            "spec": { "artifact": { "image": "a" }, "handlers": [] }, "status": status,
        }))
        .expect("a WasmShim")
    }

    #[test]
    fn an_older_generation_was_not_read() {
        assert!(!read(&shim(json!({ "observedGeneration": 1 }))));
        assert!(!read(&shim(Value::Null)));
        assert!(read(&shim(json!({ "observedGeneration": 2 }))));
    }

    #[test]
    fn nodes_that_failed_are_not_well_and_nodes_at_work_are() {
        let told = |status| verdict(&[shim(status)]).err().map(|error| format!("{error:#}"));
        assert_eq!(told(json!({ "nodes": { "progressing": 3, "summary": "0/3" } })), None);
        let failed = told(json!({ "nodes": { "failed": 1, "drifted": 1, "summary": "1/3" } }));
        assert!(failed.is_some_and(|it| it.contains("2 nodes failed or drifted")));
        let back = told(json!({ "rejected": { "revision": "r2", "message": "3 of 4 failed" } }));
        assert!(back.is_some_and(|it| it.contains("r2 was rolled back: 3 of 4 failed")));
    }
}
