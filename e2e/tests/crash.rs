//! `kill -9` of every program at every stage, and containerd coming and going under running containers:
//! afterwards everything works on, and nothing is left.
//!
//! The cases have one daemon and stop it, so they run one after another.

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use wherry_e2e::client::TaskStatus;
use wherry_e2e::command::{kill_9, patient, until};
use wherry_e2e::image::{Image, Recipe};
use wherry_e2e::rig::Runtime;
use wherry_e2e::suite::{self, Case, For, World};
use wherry_e2e::task::{Container, RUN, Task};
use wherry_e2e::{guests, leaks};

/// What containerd gives a shim's `delete`, and some for everything around it.
const CLEANUP: Duration = Duration::from_secs(20);

const CASES: &[Case] = &[
    ("a_shim_killed_before_start_leaves_nothing", For::Any, |w| shim_killed(w, Stage::Created)),
    ("a_shim_killed_while_running_leaves_nothing", For::Any, |w| shim_killed(w, Stage::Running)),
    ("a_shim_killed_after_the_end_leaves_nothing", For::Any, |w| shim_killed(w, Stage::Stopped)),
    ("a_shim_killed_under_a_spinning_program_leaves_nothing", For::Any, |w| {
        shim_killed(w, Stage::Spinning)
    }),
    ("a_shim_killed_under_a_native_program_leaves_nothing", For::Any, |w| {
        shim_killed(w, Stage::Native)
    }),
    ("a_shim_killed_under_a_paused_program_leaves_nothing", For::Any, |w| {
        shim_killed(w, Stage::Paused)
    }),
    ("a_shim_killed_under_a_paused_native_program_leaves_nothing", For::Any, |w| {
        shim_killed(w, Stage::NativePaused)
    }),
    ("a_shim_killed_before_a_native_start_leaves_nothing", For::Any, |w| {
        shim_killed(w, Stage::NativeCreated)
    }),
    ("a_shim_killed_while_runc_creates_leaves_nothing", For::Any, shim_killed_in_runc),
    ("a_guest_killed_before_start_is_an_exit", For::Any, |w| guest_killed(w, Stage::Created)),
    ("a_guest_killed_while_running_is_an_exit", For::Any, |w| guest_killed(w, Stage::Running)),
    ("a_compiler_killed_is_an_error_and_the_next_one_works", For::Wherry, compiler_killed),
    ("a_shim_killed_while_compiling_leaves_nothing", For::Wherry, shim_killed_compiling),
    ("a_corrupt_entry_of_the_cache_is_compiled_again", For::Wherry, |w| {
        damaged(w, |code| code[5000] ^= 1)
    }),
    ("a_truncated_entry_of_the_cache_is_compiled_again", For::Wherry, |w| {
        damaged(w, |code| code.truncate(5000))
    }),
    ("an_empty_entry_of_the_cache_is_compiled_again", For::Wherry, |w| damaged(w, Vec::clear)),
    ("a_full_disk_is_told", For::Wherry, full_disk),
    ("containerd_restarts_under_a_running_program", For::Any, |w| restart(w, World::stop)),
    ("containerd_crashes_under_a_running_program", For::Any, |w| restart(w, World::crash)),
    ("output_written_while_containerd_is_away_is_kept", For::Any, output_meanwhile),
    ("an_end_while_containerd_is_away_is_remembered", For::Any, ends_meanwhile),
    ("a_shim_killed_while_containerd_is_away_leaves_nothing", For::Any, shim_killed_meanwhile),
];

/// How a daemon goes.
trait Daemon {
    fn stop(&self) -> Result<()>;
    fn crash(&self) -> Result<()>;
}

impl Daemon for World {
    fn stop(&self) -> Result<()> {
        self.containerd.stop()
    }

    fn crash(&self) -> Result<()> {
        self.containerd.crash()
    }
}

fn main() -> ExitCode {
    suite::main_in_order("crash", CASES)
}

#[derive(Clone, Copy, PartialEq)]
enum Stage {
    Created,
    Running,
    Spinning,
    Stopped,
    Paused,
    Native,
    NativeCreated,
    NativePaused,
}

fn at(world: &World, stage: Stage) -> Result<Task> {
    if matches!(stage, Stage::Native | Stage::NativeCreated | Stage::NativePaused) {
        let words = ["sh", "-c", "busybox sleep 1d & echo being; wait"];
        let task = Container::of(&world.busybox()?).args(&words).create(&world.containerd)?;
        if stage != Stage::NativeCreated {
            task.start()?;
            task.says("ing\n")?;
        }
        if stage == Stage::NativePaused {
            world.containerd.ctr_output(&["task", "pause", &task.id], b"")?.ok()?;
        }
        return Ok(task);
    }
    let guest = if stage == Stage::Spinning { "spin" } else { "sleep" };
    let task = world.guest(guest)?.create(&world.containerd)?;
    if stage != Stage::Created {
        task.start()?;
        task.says("ing\n")?;
    }
    if stage == Stage::Paused {
        world.containerd.ctr_output(&["task", "pause", &task.id], b"")?.ok()?;
    }
    if stage == Stage::Stopped {
        task.kill(9)?;
        task.wait(RUN)?;
    }
    Ok(task)
}

/// `wherry compile`, not the other things that `wherry` is asked.
fn is_compiler(pid: u32) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = words.split(|byte| *byte == 0).collect();
    words.first().is_some_and(|program| program.ends_with(b"wherry"))
        && words.contains(&b"compile".as_slice())
}

fn shim_of(world: &World, id: &str) -> Result<u32> {
    leaks::shim_of(&world.containerd, id).with_context(|| format!("no shim of {id}"))
}

/// Waits until nothing but the container's entry is left of `id`, then removes that too.
fn nothing_left(world: &World, id: &str) -> Result<()> {
    let client = world.containerd.client();
    let mut left = Vec::new();
    // containerd's shim for runc leaves its socket when it is killed; ours must not.
    if world.runtime() == Runtime::Runc {
        let sockets = world.containerd.place.inside("/run/containerd/s");
        for socket in fs::read_dir(sockets).into_iter().flatten().flatten() {
            fs::remove_file(socket.path())?;
        }
    }
    let clean = until(CLEANUP, || {
        left = leaks::living(&world.containerd);
        left.retain(|what| *what != format!("container {id}"));
        left.is_empty()
    });
    client.delete_task(id).ok();
    client.remove_snapshot(id).ok();
    client.delete_container(id).ok();
    if !clean {
        bail!("left behind: {}", left.join("\n  "));
    }
    Ok(())
}

fn shim_killed(world: &World, stage: Stage) -> Result<()> {
    let task = at(world, stage)?;
    let (pid, shim) = (task.pid, shim_of(world, &task.id)?);
    kill_9(shim)?;
    let id = task.forget();
    nothing_left(world, &id)?;
    ensure!(!fs::exists(format!("/proc/{pid}/ns/mnt"))?, "the program lives on as {pid}");
    works(world)
}

/// While a hook holds up `runc create`, with the cgroup and the first processes made.
fn shim_killed_in_runc(world: &World) -> Result<()> {
    let id = "in-runc";
    let held = patient(Duration::from_secs(3)).as_secs().to_string();
    let hook = serde_json::json!({ "path": "/bin/sleep", "args": ["sleep", held] });
    let container = Container::of(&world.busybox()?)
        .args(&["true"])
        .id(id)
        .edit(move |spec| spec["hooks"] = serde_json::json!({ "createRuntime": [hook] }));
    let made = std::thread::scope(|scope| {
        let making = scope.spawn(|| container.create(&world.containerd));
        let in_hook = || fs::exists(world.containerd.bundle(id).join("log.json")).unwrap_or(false);
        ensure!(until(RUN, || in_hook() && has_init(world, id)), "runc never came to the hook");
        kill_9(shim_of(world, id)?)?;
        Ok(making.join().expect("the thread does not panic").is_ok())
    })?;
    ensure!(!made, "made without a shim");
    nothing_left(world, id)?;
    works(world)
}

/// A process is in the container's cgroup.
fn has_init(world: &World, id: &str) -> bool {
    let groups = leaks::cgroups(&world.containerd.place.tag);
    let group = world.containerd.cgroups.folder(&world.containerd.place.tag, id);
    let ours = groups.into_iter().filter(|path| path.ends_with(&group));
    let procs = ours.map(|group| fs::read_to_string(group.join("cgroup.procs")));
    procs.filter_map(Result::ok).any(|text| !text.is_empty())
}

/// The next container is none the worse for it.
fn works(world: &World) -> Result<()> {
    let done = world.guest("hello")?.args(&["again"]).run(&world.containerd)?;
    ensure!(done.code == 0 && done.stdout == "Hello, again!\n", "{done}");
    Ok(())
}

fn guest_killed(world: &World, stage: Stage) -> Result<()> {
    let mut task = at(world, stage)?;
    kill_9(task.pid)?;
    let code = task.wait(RUN)?;
    ensure!(code == 137, "ended with {code}");
    ensure!(task.client().state(&task.id)?.0 == TaskStatus::Stopped);
    task.delete()?;
    works(world)
}

/// A module that takes a while to compile and that nobody has compiled before.
fn slow_to_compile(world: &World, name: &str) -> Result<Image> {
    let mut module = fs::read(guests::path("hello-go")?)?;
    // A custom section: its name makes another module of it and nothing else.
    let section = [&[name.len() as u8][..], name.as_bytes()].concat();
    module.extend([&[0, section.len() as u8][..], &section].concat());
    world.pack(Recipe::program(&format!("wherry.test/slow-{name}:1"), "slow.wasm", module))
}

/// Creates in a thread and gives the compiler's pid, once there is one.
fn while_compiling<T: Send>(
    world: &World,
    image: &Image,
    act: impl FnOnce(u32) -> Result<T>,
) -> Result<(Result<Task>, T)> {
    let compilers = || {
        let all = leaks::pids_of_containers(&world.containerd);
        all.into_iter().filter(|pid| is_compiler(*pid)).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let container = Container::of(image).id("compiling");
        let making = scope.spawn(move || container.create(&world.containerd));
        let mut found = Vec::new();
        let seen = until(RUN, || {
            found = compilers();
            !found.is_empty() || making.is_finished()
        });
        ensure!(seen && !found.is_empty(), "no compiler was ever seen");
        let acted = act(found[0])?;
        let made = making.join().expect("the thread does not panic");
        Ok((made.map_err(anyhow::Error::from), acted))
    })
}

fn compiler_killed(world: &World) -> Result<()> {
    let image = slow_to_compile(world, "compiler")?;
    let (made, ()) = while_compiling(world, &image, kill_9)?;
    let told = format!("{:#}", made.err().context("it was made without a compiler")?);
    ensure!(told.contains("compil"), "{told}");
    let done = Container::of(&image).args(&["again"]).stdin("b a").run(&world.containerd)?;
    ensure!(done.code == 0 && done.stdout == "Hello from Go, again!\n2 a b\n", "{done}");
    Ok(())
}

fn shim_killed_compiling(world: &World) -> Result<()> {
    let image = slow_to_compile(world, "shim")?;
    let (made, ()) = while_compiling(world, &image, |_| kill_9(shim_of(world, "compiling")?))?;
    ensure!(made.is_err(), "it was made without a shim");
    nothing_left(world, "compiling")?;
    works(world)
}

fn damaged(world: &World, damage: fn(&mut Vec<u8>)) -> Result<()> {
    works(world)?;
    let all = world.compiled();
    ensure!(!all.is_empty(), "nothing is in the cache");
    for path in &all {
        let mut code = fs::read(path)?;
        damage(&mut code);
        // Another file in its place, as a broken disk or a crash would leave it: nobody has this one mapped.
        fs::remove_file(path)?;
        fs::write(path, code)?;
    }
    works(world)
}

fn full_disk(world: &World) -> Result<()> {
    let inside = |words: &[&str]| {
        let mut command = world.containerd.place.command(words[0]);
        wherry_e2e::command::run(command.args(&words[1..]), b"", RUN)?.ok()
    };
    inside(&["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", "/var/lib/wherry"])?;
    let done = world.guest("args")?.args(&["a"]).run(&world.containerd);
    inside(&["umount", "/var/lib/wherry"])?;
    let told = format!("{:#}", done.err().context("16 KiB hold no compiled code")?);
    ensure!(told.contains("space") && told.contains("/var/lib/wherry"), "{told}");
    works(world)
}

fn restart(world: &World, end: fn(&World) -> Result<()>) -> Result<()> {
    let task = at(world, Stage::Running)?;
    end(world)?;
    ensure!(fs::exists(format!("/proc/{}/ns/mnt", task.pid))?, "the program went with containerd");
    world.containerd.resume()?;
    let client = world.containerd.client();
    let (status, pid, _) = client.state(&task.id)?;
    ensure!((status, pid) == (TaskStatus::Running, task.pid), "{status:?} {pid}");
    ensure!(client.pids(&task.id)?.contains(&task.pid));
    client.kill(&task.id, 9)?;
    ensure!(client.wait(&task.id, RUN)? == 137);
    ensure!(client.delete_task(&task.id)? == 137);
    nothing_left(world, &task.forget())
}

fn output_meanwhile(world: &World) -> Result<()> {
    // Long enough for containerd to be gone before the second word.
    let length = patient(Duration::from_secs(3)).as_secs().to_string();
    let mut task = world.guest("sleep")?.args(&[&length]).create(&world.containerd)?;
    task.start()?;
    task.says("sleeping")?;
    world.containerd.stop()?;
    task.says("woken")?;
    world.containerd.resume()?;
    forgotten_or(world, &task.id, 0)?;
    ensure!(task.output() == ("sleeping\nwoken\n".to_string(), String::new()));
    nothing_left(world, &task.forget())
}

/// A task that has ended is given back by a containerd that restarts, or, if its shim names no processes any
/// more, cleaned up (`shim_load.go`).
fn forgotten_or(world: &World, id: &str, code: u32) -> Result<()> {
    let client = world.containerd.client();
    match client.state(id) {
        Ok((status, _, ended)) => {
            ensure!((status, ended) == (TaskStatus::Stopped, code), "{status:?} {ended}");
            ensure!(client.delete_task(id)? == code);
        }
        Err(refused) => {
            ensure!(refused.code == containerd_client::tonic::Code::NotFound, "{refused}");
        }
    }
    Ok(())
}

fn ends_meanwhile(world: &World) -> Result<()> {
    let task = at(world, Stage::Running)?;
    world.containerd.crash()?;
    kill_9(task.pid)?;
    world.containerd.resume()?;
    forgotten_or(world, &task.id, 137)?;
    nothing_left(world, &task.forget())?;
    works(world)
}

fn shim_killed_meanwhile(world: &World) -> Result<()> {
    let task = at(world, Stage::Running)?;
    let shim = shim_of(world, &task.id)?;
    world.containerd.stop()?;
    kill_9(shim)?;
    world.containerd.resume()?;
    nothing_left(world, &task.forget())?;
    works(world)
}
