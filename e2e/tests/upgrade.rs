//! Programs that are replaced while containers run: containerd 1.7 by 2.4 on the same state, our own in place,
//! and a node that has no containerd for a minute.
//!
//! Each case has a containerd of its own and proves at its end that nothing is left of it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::{Arguments, Failed, Trial};
use wherry_e2e::client::TaskStatus;
use wherry_e2e::command::{kill_9, until};
use wherry_e2e::containerd::Containerd;
use wherry_e2e::exec::Exec;
use wherry_e2e::image::Recipe;
use wherry_e2e::place::Network;
use wherry_e2e::rig::{self, Runtime, Version};
use wherry_e2e::suite::World;
use wherry_e2e::task::{Container, RUN, Task};
use wherry_e2e::{guests, http, leaks};

type Case = (&'static str, fn(&mut World, &Path) -> Result<()>);

const CASES: &[Case] = &[
    ("containerd_1_7_becomes_2_4_under_containers", containerd_upgraded),
    ("our_programs_are_replaced_under_containers", programs_replaced),
    ("a_minute_without_containerd_loses_no_line", a_minute_without),
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Two of them start with the oldest containerd, and all count processes.
    arguments.test_threads = Some(1);
    let trial = |(name, case): &Case| {
        let case = *case;
        Trial::test(*name, move || on_a_world(case).map_err(|e| Failed::from(format!("{e:#}"))))
    };
    libtest_mimic::run(&arguments, CASES.iter().map(trial).collect()).exit_code()
}

/// A containerd 1.7 with copies of our programs in a folder that the case may change.
fn on_a_world(case: fn(&mut World, &Path) -> Result<()>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    put(&rig::programs()?, folder.path())?;
    let ours = [folder.path().to_path_buf()];
    let containerd = Containerd::start(Version::V1_7, Runtime::Wherry, Network::Machine, &ours)?;
    let mut world = World::new(containerd);
    let done = case(&mut world, folder.path());
    let left = leaks::after(&world.containerd).context("left behind");
    done.and(left).with_context(|| world.containerd.log())
}

/// As a package manager does: beside the old file, then over it.
fn put(from: &Path, to: &Path) -> Result<()> {
    for name in rig::PROGRAMS {
        let new = to.join(format!("{name}.new"));
        fs::copy(from.join(name), &new)?;
        fs::rename(new, to.join(name))?;
    }
    Ok(())
}

/// One task in each state that there is, and what must be true of it again afterwards.
struct Fleet {
    running: Task,
    created: Task,
    paused: Task,
    ended: Task,
    terminal: Task,
    native: Task,
    service: (Task, SocketAddr),
}

impl Fleet {
    fn launch(world: &World) -> Result<Fleet> {
        let started = |container: Container| -> Result<Task> {
            let task = container.create(&world.containerd)?;
            task.start()?;
            Ok(task)
        };
        let ended = started(world.guest("exit")?.args(&["42"]))?;
        ensure!(ended.wait(RUN)? == 42);
        let paused = started(world.guest("sleep")?)?;
        paused.says("sleeping")?;
        world.containerd.ctr_output(&["tasks", "pause", &paused.id], b"")?.ok()?;
        let at = http::free_address()?;
        let service = world.guest("http-p2")?.annotation("wherry.dev/http.listen", &at.to_string());
        let fleet = Fleet {
            running: started(world.guest("sleep")?)?,
            created: world.guest("hello")?.args(&["late"]).create(&world.containerd)?,
            paused,
            ended,
            terminal: started(world.guest("cat")?.stdin("").terminal())?,
            native: started(Container::of(&world.busybox()?).args(&["busybox", "sleep", "1d"]))?,
            service: (started(service.host_network())?, at),
        };
        fleet.running.says("sleeping")?;
        http::listening(at)?;
        Ok(fleet)
    }

    fn all(&mut self) -> [&mut Task; 7] {
        let Fleet { running, created, paused, ended, terminal, native, service } = self;
        [running, created, paused, ended, terminal, native, &mut service.0]
    }

    /// Everybody is as before, and does what can be done in that state.
    fn sails_on(mut self, world: &World) -> Result<()> {
        for task in self.all() {
            task.reconnect(&world.containerd);
        }
        let client = world.containerd.client();
        for (task, expected) in [
            (&self.running, TaskStatus::Running),
            (&self.created, TaskStatus::Created),
            (&self.paused, TaskStatus::Paused),
            (&self.terminal, TaskStatus::Running),
            (&self.native, TaskStatus::Running),
            (&self.service.0, TaskStatus::Running),
        ] {
            let (status, pid, _) = client.state(&task.id)?;
            ensure!((status, pid) == (expected, task.pid), "{status:?}, not {expected:?}: {pid}");
        }
        self.answers("aboard")?;
        ensure!(http::get(self.service.1, "/")? == (200, "Hello, WASI!\n".to_string()));
        world.containerd.ctr_output(&["tasks", "resume", &self.paused.id], b"")?.ok()?;
        ensure!(client.state(&self.paused.id)?.0 == TaskStatus::Running);
        self.created.start()?;
        ensure!(self.created.wait(RUN)? == 0);
        ensure!(self.created.output().0 == "Hello, late!\n");
        self.end(world)
    }

    /// Execs, of Wasm and of the machine's own.
    fn answers(&self, words: &str) -> Result<()> {
        let echo = [vec!["echo", words], vec!["busybox", "echo", words]];
        for (task, words_to_run) in [&self.running, &self.native].into_iter().zip(echo) {
            let said = Exec::of(&words_to_run).run(task)?;
            ensure!(said.code == 0 && said.stdout == format!("{words}\n"), "{said}");
        }
        Ok(())
    }

    fn end(mut self, world: &World) -> Result<()> {
        let ended = self.ended.id.clone();
        for task in self.all() {
            let client = world.containerd.client();
            if client.state(&task.id).is_ok_and(|(status, ..)| status != TaskStatus::Stopped) {
                task.kill(9)?;
                ensure!(task.wait(RUN)? == 137, "{} ended otherwise", task.id);
            }
            // One that had ended before is a stopped task, or was cleaned up as containerd came (`shim_load.go`).
            match client.state(&task.id) {
                Ok((_, _, code)) => {
                    let told = task.delete_task()?;
                    ensure!(told == i32::try_from(code)?);
                    ensure!(task.id != ended || told == 42, "{told}");
                }
                Err(_) => ensure!(task.id == ended, "{} was lost", task.id),
            }
            task.delete_rest()?;
        }
        let Fleet { running, created, paused, ended, terminal, native, service } = self;
        for task in [running, created, paused, ended, terminal, native, service.0] {
            task.forget();
        }
        Ok(())
    }
}

fn containerd_upgraded(world: &mut World, _: &Path) -> Result<()> {
    let fleet = Fleet::launch(world)?;
    world.containerd.upgrade(Version::V2_4)?;
    fleet.sails_on(world)?;
    let done = world.guest("hello")?.run(&world.containerd)?;
    ensure!(done.code == 0 && done.stdout == "Hello, World!\n", "{done}");
    Ok(())
}

/// First by programs that can't speak to the old ones at all: whoever needed them would fail.
fn programs_replaced(world: &mut World, programs: &Path) -> Result<()> {
    let fleet = Fleet::launch(world)?;
    let orphan = world.guest("sleep")?.create(&world.containerd)?;
    orphan.start()?;
    orphan.says("sleeping")?;
    for name in &rig::PROGRAMS[1..] {
        let new = programs.join("new");
        fs::copy("/bin/false", &new)?;
        fs::rename(&new, programs.join(name))?;
    }
    fleet.answers("as before")?;
    fleet.created.start()?;
    ensure!(fleet.created.wait(RUN)? == 0);
    let refused = world.guest("hello")?.create(&world.containerd).err();
    let refused = refused.context("made by a guest program that is none")?;
    ensure!(!refused.to_string().is_empty());

    put(&rig::programs()?, programs)?;
    // New shims beside old ones, also for a module that nobody has compiled.
    let wat = fs::read_to_string(guests::path("hello-wat")?)?;
    let wat = format!(";; after the upgrade\n{wat}").into_bytes();
    let fresh = world.pack(Recipe::program("wherry.test/fresh:1", "app.wasm", wat))?;
    let done = Container::of(&fresh).run(&world.containerd)?;
    ensure!(done.code == 0 && done.stdout == "Hello, WASI!\n", "{done}");
    // The new program's `delete` for a container of an old shim.
    let shim = leaks::shim_of(&world.containerd, &orphan.id).context("no shim")?;
    kill_9(shim)?;
    let lives = format!("/proc/{}/ns/mnt", orphan.pid);
    ensure!(until(RUN, || fs::exists(&lives).is_ok_and(|lives| !lives)), "the guest lives on");
    let mut orphan = orphan;
    // containerd may have forgotten the task by itself.
    orphan.delete_task().ok();
    orphan.delete_rest()?;
    orphan.forget();
    fleet.end(world)
}

fn a_minute_without(world: &mut World, _: &Path) -> Result<()> {
    const AWAY: Duration = Duration::from_secs(60);
    // Ten lines a second, for longer than containerd is away.
    let script = "i=0; while [ $i -lt 700 ]; do i=$((i+1)); echo line $i; sleep 0.1; done";
    let task = world.tool(&["sh", "-c", script])?.create(&world.containerd)?;
    task.start()?;
    task.says("line 5\n")?;
    world.containerd.crash()?;
    let before = Instant::now();
    task.says(&format!("line {}\n", AWAY.as_secs() * 10))?;
    std::thread::sleep(AWAY.saturating_sub(before.elapsed()));
    world.containerd.resume()?;
    let mut task = task;
    task.reconnect(&world.containerd);
    let code = match world.containerd.client().state(&task.id) {
        Ok(_) => task.wait(RUN)?,
        Err(refused) => bail!("lost: {refused}"),
    };
    ensure!(code == 0, "ended with {code}");
    task.delete()?;
    let expected: String = (1..=700).map(|n| format!("line {n}\n")).collect();
    let (stdout, stderr) = task.output();
    ensure!(stdout == expected && stderr.is_empty(), "{} bytes: {stderr}", stdout.len());
    Ok(())
}
