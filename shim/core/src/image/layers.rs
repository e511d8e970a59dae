//! The layer of an image that is the program itself.
//!
//! Three forms are in use: the CNCF Wasm OCI artifact (config `application/vnd.wasm.config.v0+json`,
//! layer `application/wasm`), the same layer under an ordinary image config (so that it has an
//! entry point and `diff_ids: []`), and the older layer type of Bytecode Alliance tools. All are
//! told by the media type of the layer alone: configs of the same layer differ between tools.
//!
//! Only what is needed is read, and leniently: these documents were accepted by a registry and by
//! containerd, and a field we don't use is no reason to refuse an image.

use serde::Deserialize;
use thiserror::Error;

/// Media types of a layer that is a Wasm binary, not an archive.
pub const WASM_LAYERS: [&str; 3] = [
    "application/wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
];

/// Media type of the config of a Wasm OCI artifact.
pub const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// Why no program can be taken from an image.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    #[error("the image's {what} is not the JSON of a manifest or an index: {why}")]
    NotJson { what: &'static str, why: String },
    #[error(
        "the image has {} WebAssembly layers ({}): a program is one layer, compose its parts into one component",
        digests.len(), digests.join(", ")
    )]
    SeveralLayers { digests: Vec<String> },
}

/// A manifest or an index, as found at the digest an image names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    Index(Vec<Descriptor>),
    Manifest(Manifest),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Manifest {
    pub config: Descriptor,
    #[serde(default)]
    pub layers: Vec<Descriptor>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: String,
    #[serde(default)]
    pub size: u64,
    pub platform: Option<Platform>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Platform {
    #[serde(default)]
    pub os: String,
    #[serde(default)]
    pub architecture: String,
}

impl Platform {
    /// What this program was built for, as Go and the image specification name it.
    #[must_use]
    pub fn host() -> Platform {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Platform { os: "linux".into(), architecture: architecture.into() }
    }
}

/// The fields of both documents; which of them is there tells which document it is. Media types
/// are optional in both (image-spec, `manifest.md` and `image-index.md`).
#[derive(Deserialize)]
struct Either {
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

impl Document {
    /// Reads a manifest or an index, OCI's or Docker's.
    pub fn parse(json: &[u8]) -> Result<Document, Refusal> {
        let not = |why: String| Refusal::NotJson { what: "target", why };
        let either: Either = serde_json::from_slice(json).map_err(|e| not(e.to_string()))?;
        match either {
            Either { manifests: Some(manifests), .. } => Ok(Document::Index(manifests)),
            Either { config: Some(config), layers, .. } => {
                Ok(Document::Manifest(Manifest { config, layers: layers.unwrap_or_default() }))
            }
            Either { .. } => Err(not("it has neither `manifests` nor `config`".into())),
        }
    }
}

impl Manifest {
    /// The layer that is the program; `None` for an image of archives only.
    pub fn program(&self) -> Result<Option<&Descriptor>, Refusal> {
        let wasm: Vec<_> = self.layers.iter().filter(|layer| layer.is_wasm()).collect();
        match wasm.as_slice() {
            [] => Ok(None),
            [layer] => Ok(Some(layer)),
            several => Err(Refusal::SeveralLayers {
                digests: several.iter().map(|layer| layer.digest.clone()).collect(),
            }),
        }
    }
}

impl Descriptor {
    fn is_wasm(&self) -> bool {
        WASM_LAYERS.contains(&self.media_type.as_str())
    }
}

impl Platform {
    /// Those manifests of an index that the container may have been made from, likeliest first:
    /// the host's platform, which containerd pulls unless told otherwise; Wasm, under the names in
    /// use; no platform at all, which containerd takes for "any".
    ///
    /// The caller takes the first whose content is there: containerd pulls only one of them.
    #[must_use]
    pub fn choose<'a>(&self, index: &'a [Descriptor]) -> Vec<&'a Descriptor> {
        let mut ranked: Vec<_> = index
            .iter()
            .filter_map(|entry| Some((self.rank(entry.platform.as_ref())?, entry)))
            .collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, entry)| entry).collect()
    }

    fn rank(&self, platform: Option<&Platform>) -> Option<u8> {
        match platform {
            Some(platform) if platform == self => Some(0),
            // `wasi/wasm`, `wasi/wasm32`, `linux/wasm`, `wasip1/wasm` and `wasip2/wasm` are all in use.
            Some(platform)
                if platform.architecture.starts_with("wasm") || platform.os.starts_with("wasi") =>
            {
                Some(1)
            }
            // Attestations have the platform `unknown/unknown`; other hosts' manifests were not pulled.
            Some(_) => None,
            None => Some(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(json: &str, expected: Expect) {
        let host = Platform { os: "linux".into(), architecture: "amd64".into() };
        let told = match Document::parse(json.as_bytes()) {
            Err(refusal) => format!("refused: {refusal}"),
            Ok(Document::Index(index)) => {
                let chosen: Vec<_> =
                    host.choose(&index).iter().map(|entry| entry.digest.as_str()).collect();
                format!("index: {}", chosen.join(" "))
            }
            Ok(Document::Manifest(manifest)) => match manifest.program() {
                Err(refusal) => format!("refused: {refusal}"),
                Ok(None) => "archives only".into(),
                Ok(Some(layer)) => format!("program: {} of {} bytes", layer.digest, layer.size),
            },
        };
        expected.assert_eq(&told);
    }

    #[test]
    fn every_form_of_wasm_layer_is_found() {
        for media_type in WASM_LAYERS {
            check(
                &format!(
                    r#"{{"config": {{"digest": "sha256:c"}},
                        "layers": [{{"mediaType": "{media_type}", "digest": "sha256:w", "size": 70}}]}}"#
                ),
                expect!["program: sha256:w of 70 bytes"],
            );
        }
    }

    #[test]
    fn an_artifact_may_carry_other_layers() {
        check(
            r#"{"config": {"mediaType": "application/vnd.wasm.config.v0+json", "digest": "sha256:c", "size": 3},
                "layers": [
                  {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": "sha256:t", "size": 1},
                  {"mediaType": "application/wasm", "digest": "sha256:w", "size": 2}]}"#,
            expect!["program: sha256:w of 2 bytes"],
        );
    }

    #[test]
    fn an_ordinary_image_has_no_wasm_layer() {
        check(
            r#"{"mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "config": {"digest": "sha256:c"},
                "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": "sha256:t"}]}"#,
            expect!["archives only"],
        );
    }

    #[test]
    fn a_program_is_one_layer() {
        check(
            r#"{"config": {"digest": "sha256:c"}, "layers": [
                {"mediaType": "application/wasm", "digest": "sha256:a"},
                {"mediaType": "application/wasm", "digest": "sha256:b"}]}"#,
            expect![
                "refused: the image has 2 WebAssembly layers (sha256:a, sha256:b): a program is one layer, compose its parts into one component"
            ],
        );
    }

    #[test]
    fn the_host_comes_before_wasm_and_wasm_before_any() {
        check(
            r#"{"manifests": [
                {"digest": "sha256:any"},
                {"digest": "sha256:wasi", "platform": {"os": "wasi", "architecture": "wasm"}},
                {"digest": "sha256:arm", "platform": {"os": "linux", "architecture": "arm64"}},
                {"digest": "sha256:attestation", "platform": {"os": "unknown", "architecture": "unknown"}},
                {"digest": "sha256:wasi32", "platform": {"os": "linux", "architecture": "wasm32"}},
                {"digest": "sha256:host", "platform": {"os": "linux", "architecture": "amd64"}}]}"#,
            expect!["index: sha256:host sha256:wasi sha256:wasi32 sha256:any"],
        );
    }

    #[test]
    fn what_is_no_image_is_refused() {
        check(
            "{}",
            expect![
                "refused: the image's target is not the JSON of a manifest or an index: it has neither `manifests` nor `config`"
            ],
        );
        check(
            "<html>",
            expect![
                "refused: the image's target is not the JSON of a manifest or an index: expected value at line 1 column 1"
            ],
        );
    }
}
