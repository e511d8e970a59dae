//! The chart's definitions and the schema of its values are made from the types, so that they never differ.

use std::collections::BTreeMap;

use expect_test::expect_file;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Map, Value, json};
use wherry_operator_core::crd;

const MADE: &str =
    "Made from operator/core/src/crd: UPDATE_EXPECT=1 cargo test -p wherry-operator-core";

/// A template of Helm: upgraded with the chart, kept when it goes.
fn template(mut definition: CustomResourceDefinition) -> String {
    let keep = ("helm.sh/resource-policy".to_string(), "keep".to_string());
    definition.metadata.annotations = Some(BTreeMap::from([keep]));
    let text = serde_saphyr::to_string(&definition).expect("a definition is YAML");
    assert!(!text.contains("{{"), "Helm would take this for its own");
    format!("{{{{- /* {MADE} */ -}}}}\n{{{{- if .Values.crds.install }}}}\n{text}{{{{- end }}}}\n")
}

#[test]
fn the_charts_definitions_are_made_from_the_types() {
    let [shim, revision, node] = crd::definitions().map(template);
    expect_file!["../../../charts/wherry/templates/crds/wasmshims.yaml"].assert_eq(&shim);
    expect_file!["../../../charts/wherry/templates/crds/shimrevisions.yaml"].assert_eq(&revision);
    expect_file!["../../../charts/wherry/templates/crds/nodeshims.yaml"].assert_eq(&node);
}

/// What Kubernetes takes, in words of JSON Schema, and nothing that Kubernetes would drop.
fn strict(schema: &Value) -> Value {
    let Value::Object(fields) = schema else { return schema.clone() };
    let mut made = Map::new();
    for (key, value) in fields {
        match key.as_str() {
            "x-kubernetes-int-or-string" => {
                made.insert("type".into(), json!(["integer", "string"]));
            }
            // Rules in CEL and what else only the API server knows; `nullable` is what Helm takes out before.
            "nullable" | "format" => {}
            key if key.starts_with("x-kubernetes-") => {}
            "properties" => {
                let all = value.as_object().into_iter().flatten();
                let all = all.map(|(name, value)| (name.clone(), strict(value)));
                made.insert(key.clone(), Value::Object(all.collect()));
                made.insert("additionalProperties".into(), json!(false));
            }
            "items" | "additionalProperties" => drop(made.insert(key.clone(), strict(value))),
            _ => drop(made.insert(key.clone(), value.clone())),
        }
    }
    Value::Object(made)
}

fn shim() -> Value {
    let [shim, ..] = crd::definitions().map(|it| serde_json::to_value(it).expect("JSON"));
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    let mut made = strict(shim.pointer(spec).expect("a spec"));
    // The chart knows its image.
    made["properties"].as_object_mut().expect("fields").remove("artifact");
    made["required"] = json!(["handlers"]);
    // The definition says this in CEL, with a sentence.
    let one = "/properties/nodes/properties/selector/properties/matchExpressions/items";
    made.pointer_mut(one).expect("an expression")["oneOf"] = json!([
        { "properties": { "operator": { "enum": ["In", "NotIn"] }, "values": { "minItems": 1 } },
          "required": ["values"] },
        { "properties": { "operator": { "enum": ["Exists", "DoesNotExist"] }, "values": { "maxItems": 0 } } },
    ]);
    made
}

#[test]
fn the_schema_of_the_charts_values_has_that_of_a_wasmshim_in_it() {
    let mut schema: Value = serde_json::from_str(include_str!("chart/values.json")).expect("JSON");
    schema["description"] = json!(format!("{MADE} (tests/chart/values.json)"));
    schema["definitions"]["shim"] = shim();
    let text = serde_json::to_string_pretty(&schema).expect("JSON") + "\n";
    expect_file!["../../../charts/wherry/values.schema.json"].assert_eq(&text);
}

/// Paths of objects that take fields which nobody knows.
fn open(schema: &Value, path: &str, found: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            let object = fields.get("type") == Some(&json!("object"));
            let typed = fields.get("additionalProperties").is_some_and(|it| it != &json!(true));
            if object && !typed {
                found.push(path.to_string());
            }
            for (key, value) in fields {
                open(value, &format!("{path}/{key}"), found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| open(item, path, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn no_value_of_the_chart_is_unknown() {
    let schema = include_str!("../../../charts/wherry/values.schema.json");
    let mut found = Vec::new();
    open(&serde_json::from_str(schema).expect("JSON"), "", &mut found);
    assert_eq!(found, ["/properties/global"], "only what belongs to Helm is open");
}
