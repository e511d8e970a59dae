//! Wasm images as containers, shown: a private containerd runs example programs with arguments, environment, a
//! mounted folder and piped stdin, each beside `runc` with busybox for the same. Nothing is left running.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::Result;
use wherry_e2e::containerd::{COMMAND, Containerd};
use wherry_e2e::image::Image;
use wherry_e2e::place::Network;
use wherry_e2e::rig::{self, Runtime, Version};
use wherry_e2e::suite::World;
use wherry_e2e::{command, leaks};

/// One thing to show: a guest, options for `ctr run`, arguments, stdin, and the busybox words for the same.
struct Scene {
    title: &'static str,
    guest: &'static str,
    options: Vec<String>,
    args: &'static [&'static str],
    input: &'static str,
    busybox: &'static [&'static str],
}

fn main() -> Result<()> {
    let containerd =
        Containerd::start(Version::V2_4, Runtime::Wherry, Network::Machine, &[rig::programs()?])?;
    let world = World::new(containerd);
    let data = world.folder("data")?;
    fs::write(data.join("input.txt"), "Hello from host\n")?;
    let busybox = world.busybox()?;
    println!(
        "A private containerd {} runs in {}\n",
        Version::V2_4.name(),
        world.containerd.scratch().display()
    );
    for (number, scene) in scenes(&data.display().to_string()).iter().enumerate() {
        println!("{}. {}", number + 1, scene.title);
        let image = world.image(scene.guest)?;
        let cold = show(&world, scene, &image, Runtime::Wherry, scene.args, true)?;
        let warm = show(&world, scene, &image, Runtime::Wherry, scene.args, false)?;
        let runc = show(&world, scene, &busybox, Runtime::Runc, scene.busybox, false)?;
        let ms = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1e3);
        println!(
            "   {} (the first time, compiled: {}); runc with busybox: {}\n",
            ms(warm),
            ms(cold),
            ms(runc)
        );
    }
    leaks::after(&world.containerd)?;
    println!("Nothing is left running.");
    Ok(())
}

fn scenes(data: &str) -> Vec<Scene> {
    let mount = format!("--mount=type=bind,src={data},dst=/data,options=rbind:rw");
    vec![
        Scene {
            title: "A Rust program with an argument",
            guest: "hello",
            options: Vec::new(),
            args: &["Wherry"],
            input: "",
            busybox: &["echo", "Hello, Wherry!"],
        },
        Scene {
            title: "A module written as text (e2e/guests/wat/hello.wat)",
            guest: "hello-wat",
            options: Vec::new(),
            args: &[],
            input: "",
            busybox: &["echo", "Hello, WASI!"],
        },
        Scene {
            title: "Environment",
            guest: "env",
            options: vec![
                "--env=DATABASE_URL=postgres://localhost/mydb".into(),
                "--env=LOG_LEVEL=debug".into(),
            ],
            args: &[],
            input: "",
            busybox: &["env"],
        },
        Scene {
            title: "A folder of the host",
            guest: "files",
            options: vec![mount],
            args: &[
                "write",
                "/data/output.txt",
                "Written from WASI!",
                "list",
                "/data",
                "read",
                "/data/input.txt",
            ],
            input: "",
            busybox: &["ls", "/data"],
        },
        Scene {
            title: "Piped stdin",
            guest: "cat",
            options: Vec::new(),
            args: &[],
            input: "one line\nand another\n",
            busybox: &["cat"],
        },
    ]
}

/// Runs it with `ctr`, as anybody would, and says how long that took.
fn show(
    world: &World,
    scene: &Scene,
    image: &Image,
    runtime: Runtime,
    args: &[&str],
    aloud: bool,
) -> Result<Duration> {
    let id = format!("demo-{}-{aloud}-{runtime:?}", scene.guest).to_lowercase();
    let mut words = vec!["run", "--rm", "--runtime", runtime.name()];
    words.extend(scene.options.iter().map(String::as_str));
    words.extend([image.reference.as_str(), id.as_str()]);
    words.extend(image.entrypoint.iter().map(String::as_str));
    words.extend(args);
    if aloud {
        let pipe = if scene.input.is_empty() { "" } else { "(printf '…'; sleep 1) | " };
        println!("   $ {pipe}ctr {}", words.join(" "));
    }
    let started = Instant::now();
    let mut ctr = world.containerd.ctr(&words);
    let output = command::run_piped(&mut ctr, scene.input.as_bytes(), COMMAND)?;
    let took = started.elapsed();
    let output = output.ok()?;
    if aloud {
        // On stderr containerd 2.4 only says what it thinks of version 1 of cgroups.
        for line in output.stdout.lines() {
            println!("     {line}");
        }
    }
    Ok(took)
}
