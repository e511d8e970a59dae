//! Many at once.

use std::fs;

use anyhow::{Result, ensure};
use wherry_e2e::image::{Image, Recipe};
use wherry_e2e::suite::{Case, For, World};
use wherry_e2e::task::Container;

pub(crate) const CASES: &[Case] = &[
    ("twenty_at_once_share_one_fresh_compile", For::Wherry, share_a_compile),
    ("a_storm_of_starts_and_ends", For::Any, storm),
];

fn share_a_compile(world: &World) -> Result<()> {
    // A module that nobody has compiled yet: text that no other case has.
    let wat = fs::read_to_string(wherry_e2e::guests::path("hello-wat")?)?;
    let wat = format!(";; twenty at once\n{wat}");
    let image = world.pack(Recipe::program("wherry.test/fresh:1", "app.wasm", wat.into_bytes()))?;
    let key = wherry_e2e::image::sha256(
        format!(
            ";; twenty at once\n{}",
            fs::read_to_string(wherry_e2e::guests::path("hello-wat")?)?
        )
        .as_bytes(),
    );
    all_at_once(world, &image, 20, "Hello, WASI!\n")?;
    let of_ours =
        world.compiled().into_iter().filter(|path| path.to_string_lossy().contains(&key)).count();
    ensure!(
        of_ours == 1,
        "{of_ours} files of compiled code for one module: {:?}",
        world.compiled()
    );
    Ok(())
}

fn all_at_once(world: &World, image: &Image, count: usize, said: &str) -> Result<()> {
    let run = || Container::of(image).run(&world.containerd);
    let done: Vec<_> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..count).map(|_| scope.spawn(run)).collect();
        started.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    });
    for done in done {
        let done = done?;
        ensure!(done.code == 0 && done.stdout == said, "{done}");
    }
    Ok(())
}

fn storm(world: &World) -> Result<()> {
    let image = world.image("hello")?;
    for _ in 0..4 {
        all_at_once(world, &image, 10, "Hello, World!\n")?;
    }
    Ok(())
}
