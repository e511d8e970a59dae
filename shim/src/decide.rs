//! Wasm or native: decided by the file that `process.args[0]` names, or by the image's layers. A pod's sandbox is
//! neither.

use std::path::PathBuf;
use std::sync::Arc;

use wherry_core::lifecycle::Denied;
use wherry_core::plan::Plan;
use wherry_core::spec::{Lookup, Options, Refusal, Refused, Role};

use crate::body::{Draft, Planned, Product, Written};
use crate::code::{self, Compiled, Wanted};
use crate::create::{facts, refused};
use crate::lifeline::Process;
use crate::limited::Abort;
use crate::native::Native;
use crate::program::{self, Found};
use crate::state_file::Filling;

/// What deciding needs besides the draft.
pub(crate) struct About {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    pub(crate) namespace: Arc<str>,
    pub(crate) containerd: Arc<str>,
    pub(crate) abort: Abort,
    pub(crate) written: Written,
}

pub(crate) fn decide(draft: Draft, about: About) -> Result<Product, Option<Denied>> {
    let Draft { plan, lookup, options, oci_version } = draft;
    if lookup.role == Role::Pause {
        let plan = plan.map_err(|refusal| refused(&refusal))?;
        let planned = Planned { role: Role::Pause, plan, options, oci_version };
        return Ok(Product::Code(Box::new(planned), code::none()?));
    }
    let found = program::find(&lookup)?;
    if let Some(Found::Native { .. }) = found {
        let About { id, bundle, namespace, .. } = about;
        let native = Native::new(id, namespace, bundle, &lookup, &options, facts())?;
        return Ok(Product::Native(native));
    }
    let (plan, code) = compiled(plan, found, &lookup, &options, &about)?;
    let planned = Planned { role: Role::Program, plan, options, oci_version };
    Ok(Product::Code(Box::new(planned), code))
}

/// It is Wasm, or nothing at all: the plan counts.
fn compiled(
    plan: Result<Plan, Refusal>,
    found: Option<Found>,
    lookup: &Lookup,
    options: &Options,
    about: &About,
) -> Result<(Plan, Compiled), Denied> {
    let compiling = |pid, filling: &Filling| {
        // Only a cleanup without us would miss it.
        let _ = about.written.change(|state| {
            (state.worker, state.filling) = (Process::of(pid), Some(filling.clone()));
        });
    };
    let wanted = Wanted {
        name: &lookup.program.name,
        container: &about.id,
        options,
        namespace: &about.namespace,
        containerd: &about.containerd,
        abort: &about.abort,
        compiling: &compiling,
    };
    if found.is_none() {
        blame_the_spec(&plan, lookup)?;
    }
    let plan = || plan.map_err(|refusal| refused(&refusal));
    match found {
        Some(Found::Wasm(file)) => {
            let plan = plan()?;
            Ok((plan, code::of_file(&wanted, file)?))
        }
        Some(Found::Native { .. }) | None => {
            let digest = code::layer_digest(&wanted, &lookup.program)?;
            let plan = plan()?;
            Ok((plan, code::of_layer(&wanted, &digest)?))
        }
    }
}

/// A spec that nobody could run, or a root that is none, is told as that: no image is asked for what
/// cannot be found there. What only Wherry does not support waits: the program may be a native one
/// that is missing, and Docker makes 127 of that.
fn blame_the_spec(plan: &Result<Plan, Refusal>, lookup: &Lookup) -> Result<(), Denied> {
    match plan {
        Err(refusal) if refusal.kind == Refused::Invalid => Err(refused(refusal)),
        _ => program::root_is_there(lookup),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};
    use wherry_core::lifecycle::Creation;

    use super::*;
    use crate::create;

    /// What is told of a spec whose program is nowhere, in a bundle with a folder and a file.
    fn check(edit: impl FnOnce(&mut Value), told: &str) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let bundle = folder.path().to_owned();
        fs::create_dir(bundle.join("rootfs")).expect("made");
        fs::write(bundle.join("file"), "").expect("written");
        let mut spec = json!({
            "ociVersion": "1.2.0",
            "process": { "args": ["/nowhere"], "cwd": "/", "user": { "uid": 0, "gid": 0 } },
            "root": { "path": "rootfs" },
            "mounts": [],
            "linux": { "cgroupsPath": "/wherry/c", "namespaces": [{ "type": "mount" }] },
        });
        edit(&mut spec);
        fs::write(bundle.join("config.json"), spec.to_string()).expect("written");
        let creation = Creation { bundle: bundle.display().to_string(), ..Creation::default() };
        let planned = create::plan("c", "default", &creation, None, None).expect("a draft");
        let Product::Plan(draft) = planned else { panic!("{planned:?}") };
        let about = About {
            id: "c".to_owned(),
            namespace: "default".into(),
            containerd: "/nowhere.sock".into(),
            abort: Abort::new().expect("a descriptor"),
            written: Written::new(bundle.clone(), "c"),
            bundle,
        };
        let denied = decide(*draft, about).expect_err("no program").expect("a sentence");
        let sentence = denied.to_string().replace(&folder.path().display().to_string(), "BUNDLE");
        assert_eq!(sentence, told);
    }

    /// It was the image that was said to be unknown.
    #[test]
    fn what_is_wrong_with_the_spec_is_told_before_the_image_is_asked_for_the_program() {
        check(
            |spec| drop(spec.as_object_mut().expect("an object").remove("root")),
            "root is missing: a container needs a root file system",
        );
        check(
            |spec| spec["root"]["path"] = json!("elsewhere"),
            "root.path is \"BUNDLE/elsewhere\", which is not there",
        );
        check(
            |spec| spec["root"]["path"] = json!("file"),
            "root.path is \"BUNDLE/file\", which is not a folder",
        );
        check(
            |spec| {
                spec["mounts"] = json!([{ "destination": "", "type": "bind", "source": "/", "options": ["bind"] }]);
            },
            "mounts[0].destination is empty: it must be an absolute path",
        );
        check(
            |spec| spec["process"]["args"] = json!(["#"]),
            "process.args[0] is \"#\": after # it must name an export",
        );
    }
}
