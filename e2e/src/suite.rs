//! A suite: cases beside each other on one daemon, and at the end the proof that nothing remains.
//!
//! It is libtest's command line (filters, `--list`, `--test-threads`) over our own `main`, because the daemon
//! has to be stopped and looked after when all cases are through, which libtest has no place for.

use std::collections::{BTreeSet, HashMap};
use std::iter::repeat;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use anyhow::{Context, Result};
use libtest_mimic::{Arguments, Conclusion, Failed, Trial};

use crate::containerd::Containerd;
use crate::image::{Form, Image, Recipe};
use crate::rig::Runtime;
use crate::task::Container;
use crate::{leaks, recipes};

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
        self.pack(recipes::guest(self.runtime(), guest, form)?)
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
        self.pack(recipes::busybox()?)
    }

    /// A shell and its tools: `wasmbox` for us, busybox for the control, each under the names of
    /// its applets in `/bin`.
    pub fn toolbox(&self) -> Result<Image> {
        self.pack(recipes::toolbox(self.runtime())?)
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
    fn runtime(&self) -> Runtime;
    /// The daemons, in a few words.
    fn title(&self) -> String;
    /// Ends the daemons, and proves that nothing is left of what they ran.
    fn finish(&self) -> Result<()>;
    /// What the daemons have said.
    fn log(&self) -> String;
}

impl Ground for World {
    fn runtime(&self) -> Runtime {
        self.containerd.runtime
    }

    fn title(&self) -> String {
        format!("containerd {}", self.containerd.version.name())
    }

    fn finish(&self) -> Result<()> {
        leaks::after(&self.containerd)
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
    run(name, arguments, || Ok(World::new(Containerd::chosen()?)), cases, &[])
}

/// Runs the cases on whatever `start` makes.
pub fn main_on<W: Ground>(
    name: &str,
    start: impl FnOnce() -> Result<W>,
    cases: &[Case<W>],
) -> ExitCode {
    run(name, Arguments::from_args(), start, cases, &[])
}

/// As [`main_on`], this many cases at once: they wait for others more than they do.
pub fn main_of_waiters<W: Ground>(
    name: &str,
    at_once: usize,
    start: impl FnOnce() -> Result<W>,
    cases: &[Case<W>],
) -> ExitCode {
    main_with_alone(name, at_once, start, cases, &[])
}

/// As [`main_of_waiters`]. Cases that shake what all stand on are `alone`: each runs when no other does.
pub fn main_with_alone<W: Ground>(
    name: &str,
    at_once: usize,
    start: impl FnOnce() -> Result<W>,
    cases: &[Case<W>],
    alone: &[Case<W>],
) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(at_once);
    run(name, arguments, start, cases, alone)
}

fn run<W: Ground>(
    name: &str,
    arguments: Arguments,
    start: impl FnOnce() -> Result<W>,
    cases: &[Case<W>],
    alone: &[Case<W>],
) -> ExitCode {
    let all = || cases.iter().zip(repeat(false)).chain(alone.iter().zip(repeat(true)));
    if arguments.list {
        let names = all().map(|((name, _, _), _)| Trial::test(*name, || Ok(())));
        return conclude(&libtest_mimic::run(&arguments, names.collect()));
    }
    let ground = match start() {
        Ok(ground) => Arc::new(ground),
        Err(error) => {
            eprintln!("{name}: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = ground.runtime();
    println!("{name}: {runtime:?} on {}", ground.title());
    let meant = all().filter(|((_, on, _), _)| *on == For::Any || runtime == Runtime::Wherry);
    let others = Arc::new(RwLock::new(()));
    let trial = |((name, _, case), alone): (&Case<W>, bool)| {
        let (ground, case, others) = (ground.clone(), *case, others.clone());
        Trial::test(*name, move || {
            // A case that panicked holds nobody up.
            let _alone = alone.then(|| others.write().unwrap_or_else(PoisonError::into_inner));
            let _beside = (!alone).then(|| others.read().unwrap_or_else(PoisonError::into_inner));
            case(&ground).map_err(|error| Failed::from(format!("{error:#}")))
        })
    };
    let conclusion = libtest_mimic::run(&arguments, meant.map(trial).collect());
    // Before the daemons end, because some are asked for it.
    let said = if conclusion.has_failed() { ground.log() } else { String::new() };
    let left = ground.finish();
    if conclusion.has_failed() {
        eprintln!("the daemon said:\n{}", tail(&said, 40));
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
