//! What is built out of programs that only look like some.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use serde_json::Value;
use wherry_images::{Built, IMAGES, Order, Programs, Source, build};

const PROGRAMS: [&str; 5] =
    ["containerd-shim-wherry-v1", "wherry-guest", "wherry", "wherry-node", "wherry-operator"];

/// A folder with programs: headers of ELF, and their names.
fn programs(folder: &Path, architecture: &str) -> Programs {
    let machine: u16 = if architecture == "amd64" { 62 } else { 183 };
    let at = folder.join(architecture);
    fs::create_dir_all(&at).expect("a folder");
    for name in PROGRAMS {
        let mut program = b"\x7fELF".to_vec();
        program.resize(18, 0);
        program.extend(machine.to_le_bytes());
        program.extend(name.as_bytes());
        fs::write(at.join(name), program).expect("a program");
    }
    fs::write(at.join("wasmbox.wasm"), b"\0asm").expect("a module");
    Programs { architecture: architecture.into(), folder: at, boms: None }
}

fn order(programs: Vec<Programs>) -> Order {
    Order {
        programs,
        repository: "registry.test/wherry".into(),
        tag: "0.1.0".into(),
        epoch: Some(1_763_900_000),
        source: Source {
            repository: Some("https://sources.test/wherry".into()),
            commit: Some("c0ffee".into()),
            builder: "https://builder.test".into(),
        },
    }
}

fn both(folder: &Path) -> Order {
    order(vec![programs(folder, "amd64"), programs(folder, "arm64")])
}

/// The files of an archive.
fn archive(built: &Built) -> BTreeMap<String, Vec<u8>> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("images.tar");
    built.write_archive(&file).expect("written");
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(fs::File::open(file).expect("a file")).entries().expect("a tar")
    {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a name").display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("content");
        files.insert(name, content);
    }
    files
}

fn json(files: &BTreeMap<String, Vec<u8>>, descriptor: &Value) -> Value {
    serde_json::from_slice(blob(files, descriptor)).expect("JSON")
}

fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
    let digest = descriptor["digest"].as_str().expect("a digest").replace(':', "/");
    &files[&format!("blobs/{digest}")]
}

fn all(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().expect("a list").iter()
}

#[test]
fn the_same_programs_are_the_same_images_wherever_they_lie() {
    let (one, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("one"));
    let of = |folder: &Path| archive(&build(&both(folder)).expect("built"));
    assert_eq!(of(one.path()), of(other.path()));
    let before = build(&both(one.path())).expect("built").digests();
    fs::write(other.path().join("amd64/wasmbox.wasm"), b"\0asm\x01").expect("a module");
    let mut changed = both(other.path());
    changed.programs[0] =
        Programs { folder: one.path().join("amd64"), ..changed.programs[0].clone() };
    assert_eq!(before, build(&changed).expect("built").digests());
    fs::write(one.path().join("amd64/wasmbox.wasm"), b"\0asm\x01").expect("a module");
    let after = build(&changed).expect("built").digests();
    assert_eq!(before["wherry-operator"], after["wherry-operator"]);
    assert_ne!(before["wherry-node"]["digest"], after["wherry-node"]["digest"]);
}

/// Every blob is where its digest says, and every digest that is named is there.
#[test]
fn the_layout_is_whole_and_names_its_images() {
    let folder = tempfile::tempdir().expect("a folder");
    let built = build(&both(folder.path())).expect("built");
    let files = archive(&built);
    for (name, content) in &files {
        if let Some(hash) = name.strip_prefix("blobs/sha256/") {
            assert_eq!(hash, wherry_layout::sha256(content), "{name}");
        }
    }
    let index: Value = serde_json::from_slice(&files["index.json"]).expect("JSON");
    let names: Vec<_> = all(&index["manifests"])
        .map(|it| it["annotations"]["io.containerd.image.name"].clone())
        .collect();
    assert_eq!(
        names,
        ["registry.test/wherry/wherry-operator:0.1.0", "registry.test/wherry/wherry-node:0.1.0"]
    );
    for (image, told) in IMAGES.iter().zip(all(&index["manifests"])) {
        let pinned = format!(
            "registry.test/wherry/{}@{}",
            image.name,
            told["digest"].as_str().expect("one")
        );
        assert_eq!(built.pinned(image.name).expect("an image"), pinned);
        let platforms: Vec<_> = all(&json(&files, told)["manifests"])
            .map(|it| it["platform"]["architecture"].clone())
            .collect();
        assert_eq!(platforms, ["amd64", "arm64", "unknown", "unknown"]);
        for manifest in all(&json(&files, told)["manifests"]) {
            let manifest = json(&files, manifest);
            json(&files, &manifest["config"]);
            all(&manifest["layers"]).for_each(|layer| assert!(!blob(&files, layer).is_empty()));
        }
    }
    let docker: Value = serde_json::from_slice(&files["manifest.json"]).expect("JSON");
    assert_eq!(all(&docker).count(), 2, "{docker}");
}

/// Of each image of amd64: its user, its entry, and its files with what may be done with them.
#[test]
fn an_image_has_its_programs_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = archive(&build(&order(vec![programs(folder.path(), "amd64")])).expect("built"));
    let index: Value = serde_json::from_slice(&files["index.json"]).expect("JSON");
    let mut told = String::new();
    for image in all(&index["manifests"]) {
        let manifest = json(&files, &json(&files, image)["manifests"][0]);
        let config = json(&files, &manifest["config"]);
        told += &format!("{} {}\n", config["config"]["User"], config["config"]["Entrypoint"]);
        for (at, layer) in all(&manifest["layers"]).enumerate() {
            let mut tar = Vec::new();
            GzDecoder::new(blob(&files, layer)).read_to_end(&mut tar).expect("gzip");
            let id = format!("sha256:{}", wherry_layout::sha256(&tar));
            assert_eq!(config["rootfs"]["diff_ids"][at], id.as_str());
            for entry in tar::Archive::new(tar.as_slice()).entries().expect("a tar") {
                let entry = entry.expect("an entry");
                let header = entry.header();
                let owner = (header.uid().expect("one"), header.gid().expect("one"));
                assert_eq!((owner, header.mtime().expect("one")), ((0, 0), 0));
                let path = entry.path().expect("a path").display().to_string();
                told += &format!("  {:o} {path}\n", header.mode().expect("a mode"));
            }
        }
    }
    assert_eq!(
        told,
        r#""65532:65532" ["/wherry-operator"]
  755 wherry-operator
"0:0" ["/wherry-node"]
  755 programs
  755 programs/containerd-shim-wherry-v1
  755 programs/wherry-guest
  755 programs/wherry
  644 programs/wasmbox.wasm
  755 wherry-node
  644 smoke.wat
"#
    );
}

#[test]
fn what_is_known_of_an_image_is_of_that_image() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut programs = programs(folder.path(), "amd64");
    let boms = folder.path().join("boms");
    fs::create_dir(&boms).expect("a folder");
    for name in PROGRAMS.into_iter().chain(["wasmbox.wasm"]) {
        let bom = format!(
            r#"{{"bomFormat":"CycloneDX","serialNumber":"urn:uuid:1","metadata":{{"timestamp":"now","component":{{"name":"{name}"}}}}}}"#
        );
        fs::write(boms.join(format!("{name}.cdx.json")), bom).expect("a BOM");
    }
    programs.boms = Some(boms);
    let files = archive(&build(&order(vec![programs])).expect("built"));
    let index: Value = serde_json::from_slice(&files["index.json"]).expect("JSON");
    let node = json(&files, &index["manifests"][1]);
    let (image, known) = (&node["manifests"][0], &node["manifests"][1]);
    assert_eq!(known["annotations"]["vnd.docker.reference.type"], "attestation-manifest");
    assert_eq!(known["annotations"]["vnd.docker.reference.digest"], image["digest"]);
    let layers = json(&files, known)["layers"].clone();
    let kinds: Vec<_> = all(&layers)
        .map(|layer| {
            let statement = json(&files, layer);
            let digest = statement["subject"][0]["digest"]["sha256"].as_str().expect("a digest");
            assert_eq!(image["digest"], format!("sha256:{digest}"));
            assert_eq!(
                layer["annotations"]["in-toto.io/predicate-type"],
                statement["predicateType"]
            );
            assert_eq!(statement["_type"], "https://in-toto.io/Statement/v1");
            let predicate = &statement["predicate"];
            let of = &predicate["metadata"]["component"]["name"];
            // Neither the time of the making of a BOM nor a number drawn for it.
            assert!(predicate["serialNumber"].is_null(), "{predicate}");
            format!("{} {of} {}", statement["predicateType"], predicate["metadata"]["timestamp"])
        })
        .collect();
    let bom =
        |name: &str| format!(r#""https://cyclonedx.org/bom" "{name}" "2025-11-23T12:13:20Z""#);
    let mut expected: Vec<String> =
        ["containerd-shim-wherry-v1", "wherry-guest", "wherry", "wasmbox.wasm", "wherry-node"]
            .map(bom)
            .into();
    expected.push(r#""https://slsa.dev/provenance/v1" null null"#.into());
    assert_eq!(kinds, expected);
    let provenance = json(&files, all(&layers).last().expect("a layer"));
    let made_of = &provenance["predicate"]["buildDefinition"]["resolvedDependencies"];
    assert_eq!(made_of[0]["digest"]["gitCommit"], "c0ffee");
    assert_eq!(all(made_of).count(), 6);
}

#[test]
fn programs_of_another_machine_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = Programs { architecture: "arm64".into(), ..programs(folder.path(), "amd64") };
    let error = build(&order(vec![wrong])).expect_err("refused");
    assert!(format!("{error:#}").contains("no program for arm64"), "{error:#}");
    let missing = programs(folder.path(), "amd64");
    fs::remove_file(missing.folder.join("wherry-node")).expect("removed");
    let error = build(&order(vec![missing])).expect_err("refused");
    assert!(format!("{error:#}").contains("wherry-node is missing"), "{error:#}");
}
