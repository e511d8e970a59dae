//! What the containers of a storm are: images, arguments, specs.

use std::fs;

use anyhow::Result;
use serde_json::{Value, json};
use wherry_e2e::image::{Image, Recipe, sha256};
use wherry_e2e::rig::Runtime;
use wherry_e2e::storm::{Inner, POD, Program};
use wherry_e2e::suite::World;
use wherry_e2e::{guests, spec};

const BUSYBOX: &str = "/bin/busybox";
/// Ends with 3 at SIGTERM.
const SCRIPT: &str = "trap 'exit 3' TERM; while :; do busybox sleep 0.05; done";

/// All that the programs of a storm come from.
pub(crate) struct Programs {
    sleep: Image,
    cat: Image,
    exit: Image,
    service: Image,
    cold: Image,
    /// The module of `cold`, as the cache names it.
    cold_digest: String,
    toolbox: Image,
    busybox: Image,
    runtime: Runtime,
}

impl Programs {
    pub(crate) fn new(world: &World) -> Result<Programs> {
        let cold = cold_module()?;
        let cold_digest = sha256(&cold);
        let recipe = Recipe::program("wherry.test/cold:1", "cold.wasm", cold);
        let service = match world.runtime() {
            Runtime::Wherry => "http-p2",
            Runtime::Runc => "sleep",
        };
        Ok(Programs {
            sleep: world.image("sleep")?,
            cat: world.image("cat")?,
            exit: world.image("exit")?,
            service: world.image(service)?,
            cold: world.pack(recipe)?,
            cold_digest,
            toolbox: world.toolbox()?,
            busybox: world.busybox()?,
            runtime: world.runtime(),
        })
    }

    /// The image and what comes after its entrypoint.
    pub(crate) fn of(&self, program: Program) -> (&Image, Vec<String>) {
        let words = |words: &[&str]| words.iter().map(|word| word.to_string()).collect();
        match program {
            Program::Sleep | Program::Terminal => (&self.sleep, vec![]),
            Program::Cat => (&self.cat, vec![]),
            Program::Exit(code) => (&self.exit, vec![code.to_string()]),
            Program::Moment => (&self.toolbox, words(&["sh", "-c", "sleep 0.05; exit 5"])),
            Program::Service => (&self.service, vec![]),
            Program::Cold if self.runtime == Runtime::Runc => (&self.sleep, vec![]),
            Program::Cold => (&self.cold, vec![]),
            Program::Native => (&self.busybox, words(&["sh", "-c", SCRIPT])),
            Program::NativeTerminal => (&self.busybox, words(&["sleep", "86400"])),
            Program::NativeCat => (&self.busybox, words(&["cat"])),
            Program::NativeMoment => {
                (&self.busybox, words(&["sh", "-c", "busybox sleep 0.05; exit 4"]))
            }
        }
    }

    pub(crate) fn spec(&self, world: &World, slot: usize, program: Program) -> Value {
        let (image, more) = self.of(program);
        let containerd = &world.containerd;
        let cgroup = containerd.cgroups.path(&containerd.place.tag, &id(slot));
        let mut spec = spec::default(image, &cgroup);
        if let Some(words) = spec["process"]["args"].as_array_mut() {
            words.extend(more.into_iter().map(Value::from));
        }
        if on_terminal(program) {
            spec["process"]["terminal"] = json!(true);
        }
        if slot < POD {
            spec["annotations"] = json!({
                "io.kubernetes.cri.sandbox-id": "storm-pod",
                "io.kubernetes.cri.container-type": "container",
            });
        }
        spec
    }

    /// The process of an exec in a container of `program`.
    pub(crate) fn process(&self, program: Program, inner: Inner) -> Value {
        let words: &[&str] = match inner {
            Inner::True => &["true"],
            Inner::Six => &["sh", "-c", "exit 6"],
            Inner::Sleep | Inner::Terminal => &["sleep", "86400"],
            Inner::Cat => &["cat"],
            Inner::Missing => &["/there/is/no/such/thing"],
            Inner::Itself => &[],
        };
        let (image, more) = self.of(program);
        let busybox = self.runtime == Runtime::Runc || program.is_native();
        let mut args: Vec<String> = match inner {
            Inner::Itself => image.entrypoint.iter().cloned().chain(more).collect(),
            Inner::Missing => vec![],
            _ if busybox => vec![BUSYBOX.to_string()],
            _ => vec![],
        };
        args.extend(words.iter().map(|word| word.to_string()));
        json!({
            "args": args, "cwd": "/", "env": ["PATH=/bin:/"], "user": { "uid": 0, "gid": 0 },
            "terminal": inner == Inner::Terminal, "noNewPrivileges": true
        })
    }

    /// Makes the module of [`Program::Cold`] one that nobody has compiled.
    pub(crate) fn chill(&self, world: &World) -> Result<()> {
        for code in world.compiled() {
            if code.to_string_lossy().contains(&self.cold_digest) {
                fs::remove_file(code.with_extension("json"))?;
                fs::remove_file(code)?;
            }
        }
        Ok(())
    }
}

/// `sleep` once more, as another module: with a custom section, and code that takes the compiler a while.
fn cold_module() -> Result<Vec<u8>> {
    let mut module = fs::read(guests::path("sleep")?)?;
    module.extend([0, 6, 5]);
    module.extend(b"storm");
    Ok(module)
}

/// The container of a slot. It is always the same: what is left of one meets the next.
pub(crate) fn id(slot: usize) -> String {
    format!("s{slot}")
}

pub(crate) fn on_terminal(program: Program) -> bool {
    matches!(program, Program::Terminal | Program::NativeTerminal)
}
