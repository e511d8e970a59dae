//! Which nodes a `WasmShim` is for.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;
use kube::core::{Selector, SelectorExt as _};
use schemars::{Schema, SchemaGenerator, json_schema};

use super::shim::{ControlPlane, Nodes};

const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

/// A selector that says something else than it seems to.
#[derive(Debug, thiserror::Error)]
#[error(
    "nodes.selector: the expression of {key:?} has the operator {operator:?} with {values} values; In and NotIn have \
     some, Exists and DoesNotExist none, and there is no other operator"
)]
pub struct BadSelector {
    key: String,
    operator: String,
    values: usize,
}

impl Nodes {
    /// Whether a node with these labels is selected. A selector that cannot be understood selects nothing: who acts on
    /// what is not selected asks [`Nodes::check`] first.
    pub fn select(&self, labels: &BTreeMap<String, String>) -> bool {
        let allowed =
            self.control_plane == ControlPlane::Include || !labels.contains_key(CONTROL_PLANE);
        let selector = Selector::try_from(self.selector.clone());
        allowed && selector.is_ok_and(|selector| selector.matches(labels))
    }

    /// # Errors
    /// The selector's first expression that is none.
    pub fn check(&self) -> Result<(), BadSelector> {
        self.selector.match_expressions.iter().flatten().try_for_each(check)
    }
}

fn check(one: &LabelSelectorRequirement) -> Result<(), BadSelector> {
    let values = one.values.as_ref().map_or(0, Vec::len);
    match one.operator.as_str() {
        "In" | "NotIn" if values > 0 => Ok(()),
        "Exists" | "DoesNotExist" if values == 0 => Ok(()),
        _ => Err(BadSelector { key: one.key.clone(), operator: one.operator.clone(), values }),
    }
}

/// Kubernetes checks selectors in code, and its type has no schema of that: here a typing error would select nothing,
/// which is to remove Wherry from all nodes.
pub(super) fn schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "description": "All, if it says nothing.",
        "properties": {
            "matchLabels": {
                "type": "object", "maxProperties": 32,
                "additionalProperties": { "type": "string", "maxLength": 63 },
            },
            "matchExpressions": {
                "type": "array", "maxItems": 32,
                "items": {
                    "type": "object", "required": ["key", "operator"],
                    "properties": {
                        "key": { "type": "string", "minLength": 1, "maxLength": 317 },
                        "operator": {
                            "type": "string", "enum": ["In", "NotIn", "Exists", "DoesNotExist"],
                        },
                        "values": {
                            "type": "array", "maxItems": 256,
                            "items": { "type": "string", "maxLength": 63 },
                        },
                    },
                    "x-kubernetes-validations": [{
                        "rule": "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
                        "message": "In and NotIn have values, Exists and DoesNotExist have none",
                    }],
                },
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_that_cannot_be_read_is_told_of() {
        let check = |operator: &str, values: &[&str]| {
            let one = serde_json::json!({ "key": "pool", "operator": operator, "values": values });
            let nodes = serde_json::json!({ "selector": { "matchExpressions": [one] } });
            serde_json::from_value::<Nodes>(nodes).expect("it reads as one").check()
        };
        for (operator, values) in
            [("In", &["a"][..]), ("NotIn", &["a", "b"]), ("Exists", &[]), ("DoesNotExist", &[])]
        {
            assert!(check(operator, values).is_ok(), "{operator} {values:?}");
        }
        for (operator, values) in
            [("in", &["a"][..]), ("In", &[]), ("NotIn", &[]), ("Exists", &["a"]), ("", &[])]
        {
            let told = check(operator, values).expect_err("none").to_string();
            assert!(told.contains("\"pool\"") && told.contains(operator), "{told}");
        }
    }
}
