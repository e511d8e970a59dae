//! Wasm or native: decided by the file that `process.args[0]` names, or by the image's layers. A pod's sandbox is
//! neither.

use std::path::PathBuf;
use std::sync::Arc;

use wherry_core::lifecycle::Denied;
use wherry_core::plan::Plan;
use wherry_core::spec::{Options, Refusal, Role};

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
    let (plan, code) = compiled(plan, found, &lookup.program, &options, &about)?;
    let planned = Planned { role: Role::Program, plan, options, oci_version };
    Ok(Product::Code(Box::new(planned), code))
}

/// It is Wasm, or nothing at all: the plan counts.
fn compiled(
    plan: Result<Plan, Refusal>,
    found: Option<Found>,
    program: &wherry_core::plan::Program,
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
        name: &program.name,
        container: &about.id,
        options,
        namespace: &about.namespace,
        containerd: &about.containerd,
        abort: &about.abort,
        compiling: &compiling,
    };
    let plan = || plan.map_err(|refusal| refused(&refusal));
    match found {
        Some(Found::Wasm(file)) => {
            let plan = plan()?;
            Ok((plan, code::of_file(&wanted, file)?))
        }
        Some(Found::Native { .. }) | None => {
            let digest = code::layer_digest(&wanted, program)?;
            let plan = plan()?;
            Ok((plan, code::of_layer(&wanted, &digest)?))
        }
    }
}
