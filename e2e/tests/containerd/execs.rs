//! Further processes in a container, and terminals of the container and of these.

use std::process::Command;

use anyhow::{Result, bail, ensure};
use serde_json::json;
use wherry_e2e::command::until;
use wherry_e2e::exec::Exec;
use wherry_e2e::image::{Image, Recipe};
use wherry_e2e::suite::{Case, For, World};
use wherry_e2e::task::{Container, RUN, Task};
use wherry_e2e::tasks::{Call, Status, Told};

use crate::examples::is;

pub(crate) const CASES: &[Case] = &[
    ("an_exec_has_its_own_arguments_and_code", For::Any, |w| {
        let task = running(w)?;
        let done = Exec::of(&["/bin/args.wasm", "one", "two words"]).run(&task)?;
        is(done, 0, "1 \"one\"\n2 \"two words\"\n", "")?;
        for code in [0, 1, 42, 255] {
            let done = Exec::of(&["exit.wasm", &code.to_string()]).run(&task)?;
            ensure!(done.code == code, "{done}");
        }
        Ok(())
    }),
    ("an_exec_reads_its_input_to_the_end", For::Any, |w| {
        let text = "0123456789abcde\n".repeat(64 * 1024);
        let done = Exec::of(&["/bin/cat.wasm"]).stdin(&text).run(&running(w)?)?;
        ensure!(done.code == 0 && done.stdout == text, "{} bytes", done.stdout.len());
        Ok(())
    }),
    // containerd's own shim forgets it, and the exec waits for ever.
    ("an_exec_s_input_is_closed_before_it_starts", For::Wherry, |w| {
        let task = running(w)?;
        let mut exec = Exec::of(&["/bin/cat.wasm"]).stdin("early\n").add_to(&task)?;
        exec.ask(&Call::CloseIo { stdin: true })?;
        exec.start()?;
        is(exec.finish()?, 0, "early\n", "")
    }),
    ("an_exec_shares_the_files_of_its_container", For::Any, shares_files),
    ("an_exec_is_its_own_user_and_folder", For::Any, own_user),
    ("an_exec_of_what_is_not_there_is_refused_as_go_says_it", For::Any, not_there),
    ("an_exec_of_a_native_program_is_refused_by_name", For::Wherry, native),
    ("an_exec_is_signalled_by_itself", For::Any, signalled),
    ("an_exec_is_listed_with_its_id", For::Any, listed),
    ("an_exec_ends_before_its_container_does", For::Any, ends_first),
    ("an_exec_runs_in_the_container_s_namespaces_and_cgroup", For::Any, inside),
    ("a_hundred_execs_one_after_the_other", For::Any, |w| {
        let task = running(w)?;
        for n in 0..100 {
            let done = Exec::of(&["/bin/args.wasm", &n.to_string()]).run(&task)?;
            is(done, 0, &format!("1 \"{n}\"\n"), "")?;
        }
        Ok(())
    }),
    ("a_terminal_is_one_for_the_container", For::Any, terminal),
    ("a_terminal_is_one_for_an_exec", For::Any, exec_terminal),
    ("a_terminal_is_resized_at_any_time", For::Any, resized),
    ("an_interrupt_typed_ends_the_program", For::Any, interrupted),
    ("a_terminal_hangs_up_with_its_input", For::Any, |w| {
        let task = running(w)?;
        let mut exec = Exec::of(&["/bin/isatty.wasm", "wait"]).terminal().add_to(&task)?;
        exec.start()?;
        exec.says("[true, true, true]")?;
        exec.ask(&Call::CloseIo { stdin: true })?;
        let done = exec.finish()?;
        ensure!(done.code == 129, "{done}");
        Ok(())
    }),
    ("a_terminal_s_last_output_is_not_lost", For::Any, |w| {
        let task = running(w)?;
        for _ in 0..20 {
            let done = Exec::of(&["/bin/lines.wasm", "2000"]).terminal().run(&task)?;
            let lines = done.stdout.lines().filter(|line| line.starts_with("line ")).count();
            ensure!(lines == 2000 && done.stdout.ends_with("\r\n"), "{lines} lines");
        }
        Ok(())
    }),
];

/// One image with several programs, whose own only sleeps.
fn toolbox(world: &World) -> Result<Image> {
    let content = |name: &str| Ok::<_, anyhow::Error>(std::fs::read(world.runtime().guest(name)?)?);
    let mut recipe =
        Recipe::program("wherry.test/toolbox:latest", "bin/sleep.wasm", content("sleep")?);
    for name in ["args", "cat", "exit", "files", "isatty", "lines"] {
        recipe = recipe.file(&format!("bin/{name}.wasm"), &content(name)?);
    }
    world.pack(recipe.entrypoint(&["/bin/sleep.wasm"]))
}

fn running(world: &World) -> Result<Task> {
    let task = Container::of(&toolbox(world)?).args(&["600"]).create(&world.containerd)?;
    task.start()?;
    Ok(task)
}

fn shares_files(world: &World) -> Result<()> {
    let folder = world.folder("exec-volume")?;
    let container = Container::of(&toolbox(world)?).args(&["600"]);
    let task = container.bind(&folder, "/data", &["rw"]).create(&world.containerd)?;
    task.start()?;
    let words = ["/bin/files.wasm", "write", "/data/a", "b", "write", "/c", "d"];
    is(Exec::of(&words).run(&task)?, 0, "", "")?;
    let words = ["/bin/files.wasm", "read", "/c", "list", "/data"];
    is(Exec::of(&words).run(&task)?, 0, "d\na\n", "")?;
    ensure!(std::fs::read_to_string(folder.join("a"))? == "b\n");
    // A program that is on a volume, and came after the container.
    std::fs::copy(world.runtime().guest("args")?, folder.join("late.wasm"))?;
    is(Exec::of(&["/data/late.wasm", "x"]).run(&task)?, 0, "1 \"x\"\n", "")
}

fn own_user(world: &World) -> Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let folder = world.folder("exec-user")?;
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777))?;
    let container = Container::of(&toolbox(world)?).args(&["600"]);
    let task = container.bind(&folder, "/data", &["rw"]).create(&world.containerd)?;
    task.start()?;
    let exec = Exec::of(&["/bin/files.wasm", "write", "/data/mine", "x"]);
    let exec = exec.edit(|process| process["user"] = json!({ "uid": 1000, "gid": 2000 }));
    is(exec.run(&task)?, 0, "", "")?;
    let about = std::fs::metadata(folder.join("mine"))?;
    ensure!((about.uid(), about.gid()) == (1000, 2000), "{about:?}");
    Ok(())
}

fn not_there(world: &World) -> Result<()> {
    let task = running(world)?;
    for (word, why) in [
        ("nothing", "exec: \"nothing\": executable file not found in $PATH"),
        ("/no/such", "exec: \"/no/such\": stat /no/such: no such file or directory"),
    ] {
        let exec = Exec::of(&[word]).add_to(&task)?;
        let Err(refused) = exec.start() else { bail!("{word} was started") };
        ensure!(refused.message.contains(why), "{refused}");
        ensure!(exec.state()?.status == Status::Created);
    }
    is(Exec::of(&["/bin/args.wasm", "still here"]).run(&task)?, 0, "1 \"still here\"\n", "")
}

fn native(world: &World) -> Result<()> {
    let folder = world.folder("exec-native")?;
    std::fs::copy("/bin/true", folder.join("true"))?;
    std::fs::write(folder.join("script"), "#!/bin/sh\ntrue\n")?;
    let container = Container::of(&toolbox(world)?).args(&["600"]);
    let task = container.bind(&folder, "/data", &["ro"]).create(&world.containerd)?;
    task.start()?;
    for name in ["true", "script"] {
        let exec = Exec::of(&[&format!("/data/{name}")]).add_to(&task)?;
        let Err(refused) = exec.start() else { bail!("{name} was started") };
        ensure!(refused.message.contains(&format!("/data/{name} ")), "{refused}");
    }
    Ok(())
}

fn signalled(world: &World) -> Result<()> {
    let task = running(world)?;
    for signal in [1, 2, 9, 15] {
        let mut exec = Exec::of(&["/bin/sleep.wasm", "600"]).add_to(&task)?;
        exec.start()?;
        exec.kill(signal)?;
        let done = exec.finish()?;
        ensure!(done.code == 128 + i32::try_from(signal)?, "{done}");
    }
    ensure!(task.client().state(&task.id)?.0 == wherry_e2e::client::TaskStatus::Running);
    Ok(())
}

fn listed(world: &World) -> Result<()> {
    let task = running(world)?;
    let exec = Exec::of(&["/bin/sleep.wasm", "600"]).add_to(&task)?;
    let pid = exec.start()?;
    let Told::Pids(pids) = wherry_e2e::tasks::Tasks::Daemon(wherry_e2e::tasks::Daemon(
        task.client().clone(),
    ))
    .ask(&task.id, "", &Call::Pids)?
    else {
        bail!("no pids")
    };
    ensure!(pids.contains(&(task.pid, None)), "{pids:?}");
    ensure!(pids.contains(&(pid, Some(exec.id.clone()))), "{pids:?}");
    Ok(())
}

fn ends_first(world: &World) -> Result<()> {
    let events = world.containerd.client().events()?;
    let mut task = running(world)?;
    let mut execs = Vec::new();
    for _ in 0..3 {
        let exec = Exec::of(&["/bin/sleep.wasm", "600"]).add_to(&task)?;
        exec.start()?;
        execs.push(exec);
    }
    task.kill(9)?;
    ensure!(task.wait(RUN)? == 137);
    for exec in &mut execs {
        ensure!(exec.finish()?.code == 137);
    }
    task.delete()?;
    ensure!(until(RUN, || events.of(&task.id).last().is_some_and(|what| what == "delete")));
    let exits: Vec<_> =
        events.whole(&task.id).into_iter().filter(|event| event.what == "exit").collect();
    let of_init = |event: &wherry_e2e::client::Event| {
        // Field 2 of TaskExit is the id of the process: the container's own for its init.
        event.payload.windows(task.id.len()).filter(|w| *w == task.id.as_bytes()).count() == 2
    };
    ensure!(exits.len() == 4 && exits.iter().position(of_init) == Some(3), "{exits:?}");
    Ok(())
}

fn inside(world: &World) -> Result<()> {
    let task = running(world)?;
    let exec = Exec::of(&["/bin/sleep.wasm", "600"]).add_to(&task)?;
    let pid = exec.start()?;
    for kind in ["mnt", "net", "ipc", "uts", "pid"] {
        let of = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/{kind}"));
        ensure!(of(pid)? == of(task.pid)?, "{kind}");
    }
    let groups = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/cgroup"));
    ensure!(groups(pid)? == groups(task.pid)?);
    Ok(())
}

fn terminal(world: &World) -> Result<()> {
    let image = world.image("isatty")?;
    let mut task = Container::of(&image).terminal().create(&world.containerd)?;
    task.start()?;
    ensure!(task.wait(RUN)? == 0);
    task.delete()?;
    let said = task.output().0;
    ensure!(said == "[true, true, true]\r\n", "{said:?}");
    is(world.guest("isatty")?.run(&world.containerd)?, 0, "[false, false, false]\n", "")
}

fn exec_terminal(world: &World) -> Result<()> {
    let task = running(world)?;
    let mut exec = Exec::of(&["/bin/isatty.wasm", "wait"]).terminal().add_to(&task)?;
    exec.start()?;
    exec.says("[true, true, true]\r\n")?;
    // Typed by one client, and another after it has gone.
    exec.types("hel")?;
    exec.types("lo\r")?;
    exec.says("said \"hello\"\r\n")?;
    ensure!(exec.finish()?.code == 0);
    Ok(())
}

fn resized(world: &World) -> Result<()> {
    let task = running(world)?;
    let exec = Exec::of(&["/bin/isatty.wasm", "wait"]).terminal().add_to(&task)?;
    let pid = exec.start()?;
    exec.says("true")?;
    let size = || {
        let stty = Command::new("stty").args(["-F", &format!("/proc/{pid}/fd/0"), "size"]).output();
        Ok::<_, anyhow::Error>(String::from_utf8(stty?.stdout)?)
    };
    for (height, width) in [(40, 100), (12, 34)] {
        exec.ask(&Call::Resize { width, height })?;
        let is = size()?;
        ensure!(is == format!("{height} {width}\n"), "{is:?}");
    }
    Ok(())
}

fn interrupted(world: &World) -> Result<()> {
    let task = running(world)?;
    let mut exec = Exec::of(&["/bin/isatty.wasm", "wait"]).terminal().add_to(&task)?;
    exec.start()?;
    exec.says("true")?;
    exec.types("\u{3}")?;
    ensure!(exec.finish()?.code == 130);
    Ok(())
}
