//! The images that suites are made of: a guest, a shell with its tools, an ordinary container's busybox.

use std::fs;
use std::process::Command;

use anyhow::Result;

use crate::guests;
use crate::image::{Form, Recipe};
use crate::rig::{self, Runtime};

/// A guest in a form, or the same source built for this machine in its place.
pub fn guest(runtime: Runtime, name: &str, form: Form) -> Result<Recipe> {
    let tag = format!("{form:?}").to_lowercase();
    let content = fs::read(runtime.guest(name)?)?;
    let reference = format!("wherry.test/{name}:{tag}");
    Ok(Recipe::program(&reference, &guests::file_name(name)?, content).form(form))
}

/// An ordinary container's image: busybox as `/bin/sh` and whatever else it is.
pub fn busybox() -> Result<Recipe> {
    let content = fs::read(rig::busybox()?)?;
    let recipe = Recipe::program("wherry.test/busybox:latest", "bin/busybox", content);
    Ok(recipe.entrypoint(&["/bin/busybox"]))
}

/// A shell and its tools: `wasmbox` for us, busybox for the control, each under the names of its applets in `/bin`.
pub fn toolbox(runtime: Runtime) -> Result<Recipe> {
    Ok(match runtime {
        Runtime::Wherry => {
            let names = wherry_wasmbox::APPLETS.iter().map(|name| name.to_string());
            tools("wasmbox", fs::read(rig::wasmbox()?)?, names.collect())
        }
        Runtime::Runc => native_toolbox()?,
    })
}

/// The toolbox of the control.
pub fn native_toolbox() -> Result<Recipe> {
    let busybox = rig::busybox()?;
    let list = String::from_utf8(Command::new(&busybox).arg("--list").output()?.stdout)?;
    let names = list.lines().map(str::to_string).collect();
    Ok(tools("busybox", fs::read(busybox)?, names))
}

fn tools(program: &str, content: Vec<u8>, names: Vec<String>) -> Recipe {
    let reference = format!("wherry.test/toolbox:{program}");
    let mut recipe = Recipe::program(&reference, &format!("bin/{program}"), content)
        .file("etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n")
        .file("etc/group", b"root:x:0:\n")
        .file("tmp/.keep", b"")
        .entrypoint(&[]);
    recipe.env = vec!["PATH=/bin".to_string()];
    for name in names.iter().filter(|name| *name != program) {
        recipe = recipe.link(&format!("bin/{name}"), program);
    }
    recipe
}
