//! A suite: cases beside each other on one daemon, and at the end the proof that nothing remains.
//!
//! It is libtest's command line (filters, `--list`, `--test-threads`) over our own `main`, because the daemon
//! has to be stopped and looked after when all cases are through, which libtest has no place for.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};

use crate::containerd::Containerd;
use crate::image::{Form, Image, Recipe};
use crate::rig::{self, Runtime};
use crate::task::Container;
use crate::{guests, leaks};

/// What every case gets: the daemon, and images by the name of their guest.
#[derive(Debug)]
pub struct World {
    pub containerd: Containerd,
    /// Whether an image that is packed is made known to containerd.
    imports: bool,
    images: Mutex<HashMap<String, Image>>,
}

impl World {
    pub fn new(containerd: Containerd) -> World {
        World { containerd, imports: true, images: Mutex::default() }
    }

    /// Images are packed only: whoever runs them loads them in its own way.
    pub fn that_packs(containerd: Containerd) -> World {
        World { imports: false, ..World::new(containerd) }
    }

    pub fn runtime(&self) -> Runtime {
        self.containerd.runtime
    }

    /// The image of a guest in an ordinary form.
    pub fn image(&self, guest: &str) -> Result<Image> {
        self.image_as(guest, Form::Linux)
    }

    pub fn image_as(&self, guest: &str, form: Form) -> Result<Image> {
        let tag = format!("{form:?}").to_lowercase();
        let reference = format!("wherry.test/{guest}:{tag}");
        let file = guests::file_name(guest)?;
        let content = std::fs::read(self.runtime().guest(guest)?)?;
        self.pack(Recipe::program(&reference, &file, content).form(form))
    }

    /// An image of anything, packed and imported once.
    pub fn pack(&self, recipe: Recipe) -> Result<Image> {
        let mut images = self.images.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(image) = images.get(&recipe.reference) {
            return Ok(image.clone());
        }
        let name = format!("image-{}.tar", images.len());
        let image = recipe.pack(&self.containerd.place.path(&name))?;
        if self.imports {
            self.containerd.import(&image).with_context(|| image.reference.clone())?;
        }
        images.insert(image.reference.clone(), image.clone());
        Ok(image)
    }

    /// An ordinary container's image: busybox as `/bin/sh` and whatever else it is.
    pub fn busybox(&self) -> Result<Image> {
        let content = std::fs::read(rig::busybox()?)?;
        let recipe = Recipe::program("wherry.test/busybox:latest", "bin/busybox", content);
        self.pack(recipe.entrypoint(&["/bin/busybox"]))
    }

    /// A shell and its tools: `wasmbox` for us, busybox for the control, each under the names of
    /// its applets in `/bin`.
    pub fn toolbox(&self) -> Result<Image> {
        let (program, content, names) = match self.runtime() {
            Runtime::Wherry => {
                let names = wherry_wasmbox::APPLETS.iter().map(|name| name.to_string()).collect();
                ("wasmbox", std::fs::read(rig::wasmbox()?)?, names)
            }
            Runtime::Runc => {
                let busybox = rig::busybox()?;
                let list = std::process::Command::new(&busybox).arg("--list").output()?.stdout;
                let names: Vec<String> =
                    String::from_utf8(list)?.lines().map(str::to_string).collect();
                ("busybox", std::fs::read(busybox)?, names)
            }
        };
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
        self.pack(recipe)
    }

    /// A container of [`World::toolbox`]: its args begin with the name of a tool.
    pub fn tool(&self, words: &[&str]) -> Result<Container> {
        Ok(Container::of(&self.toolbox()?).args(words))
    }

    /// A container of a guest's ordinary image.
    pub fn guest(&self, guest: &str) -> Result<Container> {
        Ok(Container::of(&self.image(guest)?))
    }

    /// Files of compiled code in this place's cache.
    pub fn compiled(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.containerd.place.path("wherry")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending == "cwasm") {
                    found.insert(path);
                }
            }
        }
        found
    }

    /// A new empty folder.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.containerd.place.path(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

/// Which runtimes a case means something for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// Runs on the control too: it says what any container does.
    Any,
    Wherry,
}

pub type Case<W = World> = (&'static str, For, fn(&W) -> Result<()>);

/// What the cases of a suite stand on, and how it ends.
pub trait Ground: Send + Sync + 'static {
    fn world(&self) -> &World;
    /// Ends every daemon but containerd.
    fn close(&self) -> Result<()>;
    /// What the daemons have said.
    fn log(&self) -> String;
}

impl Ground for World {
    fn world(&self) -> &World {
        self
    }

    fn close(&self) -> Result<()> {
        Ok(())
    }

    fn log(&self) -> String {
        self.containerd.log()
    }
}

/// Runs the cases on the containerd that the environment names, and then looks for what they left.
pub fn main(name: &str, cases: &[Case]) -> ExitCode {
    main_on(name, || Ok(World::new(Containerd::chosen()?)), cases)
}

/// As [`main`], one case after another.
pub fn main_in_order(name: &str, cases: &[Case]) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    run(name, arguments, || Ok(World::new(Containerd::chosen()?)), cases)
}

/// Runs the cases on whatever `start` makes.
pub fn main_on<W: Ground>(
    name: &str,
    start: impl FnOnce() -> Result<W>,
    cases: &[Case<W>],
) -> ExitCode {
    run(name, Arguments::from_args(), start, cases)
}

fn run<W: Ground>(
    name: &str,
    arguments: Arguments,
    start: impl FnOnce() -> Result<W>,
    cases: &[Case<W>],
) -> ExitCode {
    if arguments.list {
        let names = cases.iter().map(|(name, _, _)| Trial::test(*name, || Ok(())));
        return conclude(&libtest_mimic::run(&arguments, names.collect()));
    }
    let ground = match start() {
        Ok(ground) => Arc::new(ground),
        Err(error) => {
            eprintln!("{name}: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let containerd = &ground.world().containerd;
    println!("{name}: {:?} on containerd {}", containerd.runtime, containerd.version.name());
    let meant =
        cases.iter().filter(|(_, on, _)| *on == For::Any || containerd.runtime == Runtime::Wherry);
    let trial = |(name, _, case): &Case<W>| {
        let (ground, case) = (ground.clone(), *case);
        Trial::test(*name, move || {
            case(&ground).map_err(|error| Failed::from(format!("{error:#}")))
        })
    };
    let conclusion = libtest_mimic::run(&arguments, meant.map(trial).collect());
    let left = ground.close().and_then(|()| leaks::after(containerd));
    if conclusion.has_failed() {
        eprintln!("the daemon said:\n{}", tail(&ground.log(), 40));
    }
    if let Err(error) = left {
        eprintln!("{name}: left behind: {error:#}");
        return ExitCode::FAILURE;
    }
    println!("{name}: nothing left behind");
    conclude(&conclusion)
}

fn conclude(conclusion: &Conclusion) -> ExitCode {
    if conclusion.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
