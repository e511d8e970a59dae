//! RuntimeClasses: what pods name.

use std::collections::BTreeMap;

use k8s_openapi::api::node::v1::{Overhead, RuntimeClass, Scheduling};
use kube::api::ObjectMeta;
use kube::{Resource as _, ResourceExt as _};
use wherry_operator_core::crd::{Handler, READY, SHIM_LABEL, WasmShim, proof_label};

/// One for each handler. Pods go to nodes that are proved, and nowhere else.
pub(crate) fn classes(shim: &WasmShim) -> Vec<RuntimeClass> {
    shim.spec.handlers.iter().map(|handler| class(shim, handler)).collect()
}

fn class(shim: &WasmShim, handler: &Handler) -> RuntimeClass {
    let scheduling = handler.scheduling.clone().unwrap_or_default();
    let mut selector = scheduling.node_selector;
    selector.insert(proof_label(&shim.name_any()), READY.to_string());
    let overhead = handler.pod_overhead.clone().map(|overhead| {
        let named = [("cpu", overhead.cpu), ("memory", overhead.memory)];
        let some = named.into_iter().filter_map(|(name, it)| Some((name.to_string(), it?)));
        Overhead { pod_fixed: Some(some.collect()) }
    });
    let labels = BTreeMap::from([(SHIM_LABEL.to_string(), shim.name_any())]);
    RuntimeClass {
        metadata: ObjectMeta {
            name: Some(handler.runtime_class_name.clone()),
            labels: Some(labels),
            owner_references: Some(shim.controller_owner_ref(&()).into_iter().collect()),
            ..ObjectMeta::default()
        },
        handler: handler.name.clone(),
        overhead,
        scheduling: Some(Scheduling {
            node_selector: Some(selector),
            tolerations: Some(scheduling.tolerations).filter(|all| !all.is_empty()),
        }),
    }
}
