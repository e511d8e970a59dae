//! What is known of an image beside its content: what it is made of, and how it was made.
//!
//! Each is an in-toto statement (`spec/v1/statement.md` of in-toto/attestation) about the image of one architecture,
//! and lies in the image's index as BuildKit lays it there, for the tools that look there
//! (`docs/attestations/attestation-storage.md` of moby/buildkit): a manifest of the platform `unknown/unknown`, whose
//! layers are the statements, and whose annotations name the image that they are of.

use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use wherry_layout::{Blobs, CONFIG, sha256};

use crate::image::Image;
use crate::{Order, Programs};

const STATEMENT: &str = "application/vnd.in-toto+json";

/// The sources that the programs were built from.
#[derive(Clone, Debug, Default)]
pub struct Source {
    pub repository: Option<String>,
    /// Absent where the checkout had changes of its own.
    pub commit: Option<String>,
    /// Who builds, as a URI.
    pub builder: String,
}

/// Adds what is known of an image to the blobs, and describes that for the index.
pub(crate) fn attest(
    blobs: &mut Blobs,
    image: &Image,
    manifest: &Value,
    programs: &Programs,
    order: &Order,
) -> Result<Value> {
    let digest = manifest["digest"].as_str().context("a manifest has a digest")?;
    let subject = json!([{
        "name": format!(
            "pkg:oci/{}?repository_url={}/{0}&tag={}&arch={}",
            image.name, order.repository, order.tag, programs.architecture
        ),
        "digest": { "sha256": digest.trim_start_matches("sha256:") },
    }]);
    let mut layers = Vec::new();
    let mut add = |kind: &str, predicate: Value| {
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1", "subject": subject,
            "predicateType": kind, "predicate": predicate,
        });
        let mut layer = blobs.json(STATEMENT, &statement);
        layer["annotations"] = json!({ "in-toto.io/predicate-type": kind });
        layers.push(layer);
    };
    for bom in boms(image, programs, order)? {
        add("https://cyclonedx.org/bom", bom);
    }
    add("https://slsa.dev/provenance/v1", provenance(image, programs, order)?);
    // There for readers of images: it says no more than the manifest.
    let ids: Vec<&Value> = layers.iter().map(|layer| &layer["digest"]).collect();
    let config = json!({
        "architecture": "unknown", "os": "unknown", "config": {},
        "rootfs": { "type": "layers", "diff_ids": ids },
    });
    let config = blobs.json(CONFIG, &config);
    let mut told = blobs.manifest(config, &layers);
    told["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    told["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": digest,
    });
    Ok(told)
}

/// What is known of how it was made (SLSA, `spec/v1.0/provenance.md`): by whom, of which sources, of which programs.
fn provenance(image: &Image, programs: &Programs, order: &Order) -> Result<Value> {
    let source = &order.source;
    let mut made_of = Vec::new();
    if let (Some(repository), Some(commit)) = (&source.repository, &source.commit) {
        made_of.push(json!({
            "uri": format!("git+{repository}@{commit}"), "digest": { "gitCommit": commit },
        }));
    }
    for name in image.programs() {
        let program = fs::read(programs.folder.join(name)).with_context(|| name.to_owned())?;
        made_of.push(json!({ "name": name, "digest": { "sha256": sha256(&program) } }));
    }
    Ok(json!({
        "buildDefinition": {
            "buildType": "https://wherry.dev/images/v1",
            "externalParameters": {
                "repository": order.repository, "tag": order.tag,
                "platform": format!("linux/{}", programs.architecture),
            },
            "internalParameters": {},
            "resolvedDependencies": made_of,
        },
        "runDetails": { "builder": { "id": source.builder } },
    }))
}

/// What each program is made of, without what tells where and when that was found out.
fn boms(image: &Image, programs: &Programs, order: &Order) -> Result<Vec<Value>> {
    let Some(folder) = &programs.boms else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for name in image.programs() {
        let file = folder.join(format!("{name}.cdx.json"));
        let told = || file.display().to_string();
        let text = fs::read(&file).with_context(told)?;
        let mut bom: Value = serde_json::from_slice(&text).with_context(told)?;
        let Some(fields) = bom.as_object_mut() else { bail!("{} is no BOM", told()) };
        fields.remove("serialNumber");
        if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("timestamp");
            if let Some(epoch) = order.epoch {
                metadata.insert("timestamp".into(), json!(time(epoch)));
            }
        }
        all.push(bom);
    }
    Ok(all)
}

/// As RFC 3339 writes it.
pub(crate) fn time(epoch: i64) -> String {
    jiff::Timestamp::from_second(epoch).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}
