//! What surrounds a program: user, files, mounts, limits, hooks.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use anyhow::{Result, ensure};
use serde_json::json;
use wherry_e2e::suite::{Case, For, World};
use wherry_e2e::task::RUN;

use crate::examples::is;
use crate::native::killed_for_memory;

pub(crate) const CASES: &[Case] = &[
    ("the_root_can_be_written", For::Any, |w| {
        let words = [
            "write", "/note", "kept", "read", "/note", "make", "/a", "write", "/a/b", "c", "list",
            "/a",
        ];
        is(w.guest("files")?.args(&words).run(&w.containerd)?, 0, "kept\nb\n", "")
    }),
    ("a_read_only_root_is_not_written", For::Any, |w| {
        let container = w.guest("files")?.args(&["write", "/note", "x"]);
        let done =
            container.edit(|spec| spec["root"]["readonly"] = json!(true)).run(&w.containerd)?;
        refused(done, "write /note")
    }),
    ("a_read_only_mount_is_not_written", For::Any, |w| read_only_mount(w, "files")),
    ("a_read_only_mount_is_not_written_p2", For::Any, |w| read_only_mount(w, "files-p2")),
    ("a_mount_in_a_mount_has_its_own_rights", For::Any, nested),
    ("what_is_mounted_writable_in_a_read_only_root_is_written", For::Any, |w| {
        let file = w.folder("writable-in-read-only")?.join("termination-log");
        fs::write(&file, "")?;
        let words = ["write", "/dev/termination-log", "why", "write", "/dev/shm/a", "b"];
        let container = w.guest("files")?.args(&words).bind(&file, "/dev/termination-log", &["rw"]);
        let container = container.edit(|spec| spec["root"]["readonly"] = json!(true));
        is(container.run(&w.containerd)?, 0, "", "")?;
        ensure!(fs::read_to_string(&file)? == "why\n");
        Ok(())
    }),
    ("a_file_is_mounted", For::Any, |w| {
        let file = w.folder("file-mount")?.join("motd");
        fs::write(&file, "ahoy\n")?;
        let container = w.guest("files")?.args(&["read", "/etc/motd"]);
        is(container.bind(&file, "/etc/motd", &["ro"]).run(&w.containerd)?, 0, "ahoy\n", "")
    }),
    ("a_tmpfs_is_written", For::Any, |w| {
        let container = w.guest("files")?.args(&["write", "/scratch/a", "b", "list", "/scratch"]);
        let tmpfs = json!({
            "destination": "/scratch", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]
        });
        let container = container.edit(move |spec| {
            if let Some(mounts) = spec["mounts"].as_array_mut() {
                mounts.push(tmpfs);
            }
        });
        is(container.run(&w.containerd)?, 0, "a\n", "")
    }),
    ("the_working_folder_is_told_to_the_program", For::Wherry, |w| {
        let folder = w.folder("told-cwd")?;
        let container = w.guest("cwd")?.bind(&folder, "/work", &["rw"]);
        let container = container.edit(|spec| spec["process"]["cwd"] = json!("/work"));
        is(container.run(&w.containerd)?, 0, "Some(\"/work\")\n", "")
    }),
    ("relative_paths_start_at_the_working_folder_without_a_root", For::Wherry, cwd),
    ("files_belong_to_the_user", For::Any, user),
    ("memory_runs_out_with_a_message", For::Wherry, |w| {
        let done = w.guest("oom")?.memory(64 << 20).run(&w.containerd)?;
        ensure!(done.code == 134 && done.stdout == "taking\n", "{done}");
        ensure!(done.stderr.contains("the container's memory limit is 64 MiB ("), "{done}");
        Ok(())
    }),
    // Files in memory: no memory.grow is refused before.
    ("want_of_memory_is_told_before_the_end", For::Any, |w| {
        killed_for_memory(w, w.guest("oom")?.args(&["files", "/dev/shm"]))
    }),
    ("limits_are_in_the_cgroup", For::Any, limits),
    ("a_cgroup_with_somebody_in_it_is_refused", For::Any, taken_cgroup),
    ("the_fewest_descriptors_are_enough_for_a_command", For::Any, |w| {
        for guest in ["hello", "hello-p2"] {
            let few = json!([{ "type": "RLIMIT_NOFILE", "soft": 16, "hard": 16 }]);
            let container = w.guest(guest)?.edit(|spec| spec["process"]["rlimits"] = few);
            is(container.run(&w.containerd)?, 0, "Hello, World!\n", "")?;
        }
        Ok(())
    }),
    ("the_process_is_as_the_spec_says", For::Any, process),
    ("a_guest_has_no_new_privileges_and_a_filter", For::Wherry, confined),
    ("hooks_see_the_state", For::Any, hooks),
];

/// Deleting one would kill the other.
fn taken_cgroup(world: &World) -> Result<()> {
    let path = world.containerd.cgroups.path(&world.containerd.place.tag, "taken");
    let container = |path: String| {
        let edit = move |spec: &mut serde_json::Value| spec["linux"]["cgroupsPath"] = json!(path);
        Ok::<_, anyhow::Error>(world.guest("sleep")?.edit(edit))
    };
    let mut first = container(path.clone())?.create(&world.containerd)?;
    first.start()?;
    let Err(refused) = container(path)?.create(&world.containerd) else {
        anyhow::bail!("a second container got the same cgroup");
    };
    ensure!(refused.message.contains("container's cgroup is not empty"), "{refused}");
    ensure!(first.client().state(&first.id)?.0 == wherry_e2e::client::TaskStatus::Running);
    first.kill(9)?;
    first.wait(RUN)?;
    first.delete()?;
    Ok(())
}

fn refused(done: wherry_e2e::command::Output, what: &str) -> Result<()> {
    ensure!(done.code == 1 && done.stdout.contains(&format!("{what}: refused (")), "{done}");
    Ok(())
}

fn read_only_mount(world: &World, guest: &str) -> Result<()> {
    let folder = world.folder(&format!("ro-{guest}"))?;
    fs::write(folder.join("there"), "x\n")?;
    for (verb, path) in [
        ("write", "/data/new"),
        ("write", "/data/there"),
        ("remove", "/data/there"),
        ("make", "/data/d"),
    ] {
        let container = world.guest(guest)?.args(&["read", "/data/there", verb, path]);
        let done = container.bind(&folder, "/data", &["ro"]).run(&world.containerd)?;
        refused(done, &format!("{verb} {path}"))?;
    }
    Ok(())
}

fn nested(world: &World) -> Result<()> {
    let (outer, inner) = (world.folder("outer")?, world.folder("inner")?);
    fs::create_dir_all(outer.join("in"))?;
    let nest = |args: &[&str]| {
        let container = world.guest("files")?.args(args);
        let container = container.bind(&outer, "/out", &["ro"]).bind(&inner, "/out/in", &["rw"]);
        container.run(&world.containerd)
    };
    is(nest(&["write", "/out/in/a", "b", "list", "/out/in", "list", "/out"])?, 0, "a\nin\n", "")?;
    refused(nest(&["write", "/out/a", "b"])?, "write /out/a")?;
    ensure!(fs::read_to_string(inner.join("a"))? == "b\n" && !outer.join("in/a").exists());
    Ok(())
}

/// WASI's names have no leading slash in the end: with `/` open, a libc takes `note` for `/note`.
fn cwd(world: &World) -> Result<()> {
    let folder = world.folder("cwd")?;
    fs::write(folder.join("note"), "found\n")?;
    for guest in ["files", "files-p2"] {
        let container = world.guest(guest)?.args(&["read", "note", "write", "new", "x"]);
        let container = container.bind(&folder, "/work", &["rw"]);
        let container = container.annotation("wherry.dev/root", "none");
        let container = container.edit(|spec| spec["process"]["cwd"] = json!("/work"));
        is(container.run(&world.containerd)?, 0, "found\n", "")?;
        fs::remove_file(folder.join("new"))?;
    }
    Ok(())
}

fn user(world: &World) -> Result<()> {
    let folder = world.folder("user")?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777))?;
    let container = world.guest("files")?.args(&["write", "/data/mine", "x"]);
    let container = container.bind(&folder, "/data", &["rw"]);
    let container =
        container.edit(|spec| spec["process"]["user"] = json!({ "uid": 1234, "gid": 2345 }));
    is(container.run(&world.containerd)?, 0, "", "")?;
    let about = fs::metadata(folder.join("mine"))?;
    ensure!((about.uid(), about.gid()) == (1234, 2345), "{}:{}", about.uid(), about.gid());
    // A folder of root's is closed to it, whatever capabilities the spec has for root. It may be refused as a
    // whole, because WASI's folders are opened before the program runs.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
    let container = world.guest("files")?.args(&["list", "/data"]).bind(&folder, "/data", &["rw"]);
    let container =
        container.edit(|spec| spec["process"]["user"] = json!({ "uid": 1234, "gid": 2345 }));
    match container.run(&world.containerd) {
        Ok(done) => refused(done, "list /data"),
        Err(error) => {
            let told = format!("{error:#}");
            ensure!(told.contains("/data") && told.contains("Permission denied"), "{told}");
            Ok(())
        }
    }
}

/// The value of a controller's file, in whichever version of cgroups this machine has.
fn limits(world: &World) -> Result<()> {
    let container = world.guest("sleep")?.edit(|spec| {
        spec["linux"]["resources"] = json!({
            "memory": { "limit": 268_435_456 },
            "cpu": { "shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0" },
            "pids": { "limit": 77 }
        });
    });
    let mut task = container.create(&world.containerd)?;
    let place = world.containerd.cgroups.folder(&world.containerd.place.tag, &task.id);
    let place = place.display();
    let v2 = fs::exists("/sys/fs/cgroup/cgroup.controllers")?;
    let expected: &[(&str, &str, &str)] = if v2 {
        &[
            ("", "memory.max", "268435456"),
            ("", "cpu.weight", "59"),
            ("", "cpu.max", "50000 100000"),
            ("", "cpuset.cpus", "0"),
            ("", "pids.max", "77"),
        ]
    } else {
        &[
            ("memory", "memory.limit_in_bytes", "268435456"),
            ("cpu", "cpu.shares", "512"),
            ("cpu", "cpu.cfs_quota_us", "50000"),
            ("cpuset", "cpuset.cpus", "0"),
            ("pids", "pids.max", "77"),
        ]
    };
    for (controller, file, value) in expected {
        let path = format!("/sys/fs/cgroup/{controller}/{place}/{file}");
        let found = fs::read_to_string(&path).unwrap_or_else(|error| error.to_string());
        ensure!(found.trim() == *value, "{path} is {found:?}");
    }
    task.kill(9)?;
    task.wait(RUN)?;
    task.delete()?;
    Ok(())
}

fn process(world: &World) -> Result<()> {
    let container = world.guest("sleep")?.edit(|spec| {
        spec["process"]["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 99, "hard": 111 }]);
        spec["process"]["oomScoreAdj"] = json!(500);
        spec["process"]["user"] = json!({ "uid": 33, "gid": 44, "additionalGids": [55, 66] });
    });
    let mut task = container.create(&world.containerd)?;
    task.start()?;
    task.says("sleeping")?;
    let read = |name: &str| fs::read_to_string(format!("/proc/{}/{name}", task.pid));
    let limits = read("limits")?;
    let files: Vec<_> = limits.lines().filter(|line| line.starts_with("Max open files")).collect();
    ensure!(files.iter().all(|line| line.contains(" 99 ") && line.contains(" 111 ")), "{files:?}");
    ensure!(read("oom_score_adj")?.trim() == "500");
    let status = read("status")?;
    for line in ["Uid:\t33\t33\t33\t33", "Gid:\t44\t44\t44\t44", "Groups:\t55 66"] {
        ensure!(status.contains(line), "{line:?} is not in {status}");
    }
    task.kill(9)?;
    task.wait(RUN)?;
    task.delete()?;
    Ok(())
}

fn confined(world: &World) -> Result<()> {
    let mut task = world.guest("sleep")?.create(&world.containerd)?;
    task.start()?;
    task.says("sleeping")?;
    let status = fs::read_to_string(format!("/proc/{}/status", task.pid))?;
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2"] {
        ensure!(status.contains(line), "{line:?} is not in {status}");
    }
    task.kill(9)?;
    task.wait(RUN)?;
    task.delete()?;
    Ok(())
}

fn hooks(world: &World) -> Result<()> {
    let folder = world.folder("hooks")?;
    let told = folder.clone();
    let container = world.guest("hello")?.edit(move |spec| {
        let hook = |name: &str| {
            let script = format!("cat > {}/{name}", told.display());
            json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }])
        };
        spec["hooks"] = json!({
            "prestart": hook("prestart"),
            "createRuntime": hook("createRuntime"),
            "poststart": hook("poststart"),
            "poststop": hook("poststop")
        });
    });
    let mut task = container.create(&world.containerd)?;
    for name in ["prestart", "createRuntime"] {
        let state: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(folder.join(name))?)?;
        ensure!(state["id"] == task.id.as_str() && state["pid"] == task.pid, "{name}: {state}");
    }
    task.start()?;
    task.wait(RUN)?;
    task.delete()?;
    for name in ["poststart", "poststop"] {
        ensure!(folder.join(name).exists(), "{name} was not run");
    }
    Ok(())
}
