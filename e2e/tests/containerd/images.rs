//! Every form of image that people use.

use anyhow::{Result, ensure};
use wherry_e2e::image::Form;
use wherry_e2e::suite::{Case, For, World};
use wherry_e2e::task::Container;

use crate::examples::is;

pub(crate) const CASES: &[Case] = &[
    ("a_module_in_a_linux_image_runs", For::Any, |w| hello(w, "hello", Form::Linux)),
    ("a_module_in_a_wasi_image_runs", For::Wherry, |w| hello(w, "hello", Form::Wasi)),
    ("a_module_as_a_layer_runs", For::Wherry, |w| hello(w, "hello", Form::WasmLayer)),
    ("a_module_as_an_artifact_runs", For::Wherry, |w| hello(w, "hello", Form::Artifact)),
    ("a_component_as_a_layer_runs", For::Wherry, |w| hello(w, "hello-p2", Form::WasmLayer)),
    ("a_component_as_an_artifact_runs", For::Wherry, |w| hello(w, "hello-p2", Form::Artifact)),
    ("an_index_of_images_runs", For::Any, |w| hello(w, "hello", Form::Index)),
    ("one_module_in_four_forms_is_compiled_once", For::Wherry, once),
];

fn hello(world: &World, guest: &str, form: Form) -> Result<()> {
    let image = world.image_as(guest, form)?;
    let done = Container::of(&image).args(&["image"]).run(&world.containerd)?;
    is(done, 0, "Hello, image!\n", "")
}

fn once(world: &World) -> Result<()> {
    hello(world, "args", Form::Linux).err();
    let before = world.compiled();
    for form in [Form::Wasi, Form::WasmLayer, Form::Artifact] {
        let image = world.image_as("args", form)?;
        is(Container::of(&image).args(&["a"]).run(&world.containerd)?, 0, "1 \"a\"\n", "")?;
    }
    let new: Vec<_> = world.compiled().into_iter().filter(|path| !before.contains(path)).collect();
    // Other cases compile at the same time, but never this module again.
    let sizes: Vec<u64> = new.iter().filter_map(|path| Some(path.metadata().ok()?.len())).collect();
    ensure!(new.len() < 3 || sizes.iter().any(|size| *size != sizes[0]), "compiled again: {new:?}");
    Ok(())
}
