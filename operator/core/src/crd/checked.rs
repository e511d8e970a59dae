//! What Kubernetes checks in code, and has no schema of in its types: here it is refused where it is written, and not
//! when a Job or a RuntimeClass is to be made of it.

use schemars::{Schema, SchemaGenerator, json_schema};

/// `k8s.io/apimachinery/pkg/api/resource/quantity.go`; the pattern is that of `kubebuilder` and controller-gen.
pub(super) fn quantity(_: &mut SchemaGenerator) -> Schema {
    const NUMBER: &str = r"([0-9]+(\.[0-9]*)?|\.[0-9]+)";
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "nullable": true,
        "pattern": format!(r"^\+?{NUMBER}([KMGTPE]i|[numkMGTPE]|[eE][-+]?{NUMBER})?$"),
    })
}

/// `validateTolerations` of `pkg/apis/core/validation/validation.go`.
pub(super) fn tolerations(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array", "maxItems": 16,
        "items": {
            "type": "object",
            "properties": {
                "key": { "type": "string", "maxLength": 317 },
                "operator": { "type": "string", "enum": ["", "Exists", "Equal", "Lt", "Gt"] },
                "value": { "type": "string", "maxLength": 63 },
                "effect": {
                    "type": "string", "enum": ["", "NoSchedule", "PreferNoSchedule", "NoExecute"],
                },
                "tolerationSeconds": { "type": "integer", "format": "int64" },
            },
            "x-kubernetes-validations": [
                {
                    "rule": "(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')",
                    "message": "without a key the operator is Exists",
                },
                {
                    "rule": "!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
                    "message": "Exists has no value",
                },
                {
                    "rule": "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
                    "message": "tolerationSeconds is of the effect NoExecute",
                },
            ],
        },
    })
}
