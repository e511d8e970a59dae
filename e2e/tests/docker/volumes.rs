//! Volumes as Compose uses them, and files that are copied in and out.

use std::fs;

use anyhow::{Result, ensure};
use wherry_e2e::docker::Docker;
use wherry_e2e::suite::{Case, For};

use crate::kept::{Kept, is, run, script, tool};

pub(crate) const CASES: &[Case<Docker>] = &[
    ("a_volume_is_shared_and_stays", For::Any, shared),
    ("volumes_from_gives_the_volumes_of_another", For::Any, from_another),
    ("a_new_volume_begins_with_what_the_image_has", For::Any, begins),
    ("an_anonymous_volume_goes_with_its_container", For::Any, anonymous),
    ("mounts_are_files_folders_and_memory", For::Any, mounts),
    ("tmpfs_has_a_size_and_is_gone_with_the_container", For::Any, tmpfs),
    ("cp_copies_in_and_out", For::Any, copied),
    ("cp_copies_folders_and_streams", For::Any, copied_folders),
];

fn shared(docker: &Docker) -> Result<()> {
    let volume = Kept::volume(docker, "shared")?;
    let mount = "shared:/data";
    let writes = Kept::idle(docker, &["-v", mount])?;
    let reads = Kept::idle(docker, &["-v", "shared:/elsewhere:ro"])?;
    writes.script("echo from one > /data/note")?;
    ensure!(reads.script("cat /elsewhere/note")? == "from one\n");
    let done = reads.exec(&[], &["sh", "-c", "echo no > /elsewhere/note"], "")?;
    ensure!(done.code != 0 && reads.script("cat /elsewhere/note")? == "from one\n", "{done}");
    drop((writes, reads));
    let done = run(docker, "files", &["--rm", "-v", mount], &["read", "/data/note"], "")?;
    is(done, 0, "from one\n", "")?;
    volume.docker.ask(&["volume", "inspect", "shared"])?;
    Ok(())
}

fn from_another(docker: &Docker) -> Result<()> {
    let first = Kept::tool(docker, &["-v", "/data"], &["sh", "-c", "echo mine > /data/note"])?;
    ensure!(first.ended()? == 0);
    let from = ["--volumes-from", &first.id];
    ensure!(script(docker, &from, "cat /data/note; echo more >> /data/note")? == "mine\n");
    let read_only = format!("{}:ro", first.id);
    let text = "cat /data/note; echo no 2>/dev/null > /data/more || echo refused";
    let told = script(docker, &["--volumes-from", &read_only], text)?;
    ensure!(told == "mine\nmore\nrefused\n", "{told}");
    Ok(())
}

fn begins(docker: &Docker) -> Result<()> {
    let _volume = Kept::volume(docker, "begins")?;
    let told = script(docker, &["-v", "begins:/etc"], "grep -c root /etc/passwd")?;
    ensure!(told == "1\n", "{told}");
    let told = script(docker, &["-v", "begins:/data"], "grep -c root /data/passwd")?;
    ensure!(told == "1\n", "{told}");
    Ok(())
}

fn anonymous(docker: &Docker) -> Result<()> {
    let idle = Kept::idle(docker, &["-v", "/data"])?;
    let name = idle.told("{{(index .Mounts 0).Name}}")?;
    docker.ask(&["volume", "inspect", &name])?;
    drop(idle);
    ensure!(docker.docker(&["volume", "inspect", &name], "")?.code != 0, "{name} is still there");
    Ok(())
}

fn mounts(docker: &Docker) -> Result<()> {
    let folder = docker.world().folder("docker-mounts")?;
    fs::write(folder.join("file"), "a file\n")?;
    fs::create_dir_all(folder.join("folder"))?;
    let file = format!("type=bind,src={},dst=/deep/in/file,ro", folder.join("file").display());
    let dir = format!("type=bind,src={},dst=/work", folder.join("folder").display());
    let options = ["--mount", &file, "--mount", &dir, "--mount", "type=tmpfs,dst=/work/memory"];
    let text = "cat /deep/in/file; echo kept > /work/kept; echo lost > /work/memory/lost; \
        echo no 2>/dev/null > /deep/in/file || echo refused; ls /work/memory";
    let told = script(docker, &options, text)?;
    ensure!(told == "a file\nrefused\nlost\n", "{told}");
    ensure!(fs::read_to_string(folder.join("folder/kept"))? == "kept\n");
    ensure!(!folder.join("folder/memory/lost").exists(), "a tmpfs is no folder of the machine");
    let done = tool(docker, &["--mount", "type=bind,src=/nowhere-at-all,dst=/x"], &["true"])?;
    ensure!(done.code == 125 && done.stderr.contains("/nowhere-at-all"), "{done}");
    Ok(())
}

fn tmpfs(docker: &Docker) -> Result<()> {
    let text = "test -f /t/much && echo stayed; \
        dd if=/dev/zero of=/t/much bs=1024 count=2000 2>/dev/null || echo full; wc -c < /t/much";
    let image = docker.load(&docker.world().toolbox()?)?;
    let options = ["--tmpfs", "/t:size=1m,mode=1777"];
    let fills = Kept::container(docker, "create", &image, &options, &["sh", "-c", text])?;
    for _ in 0..2 {
        is(docker.docker(&["start", "--attach", &fills.id], "")?, 0, "full\n1048576\n", "")?;
    }
    Ok(())
}

fn copied(docker: &Docker) -> Result<()> {
    let folder = docker.world().folder("docker-cp")?;
    fs::write(folder.join("in"), "copied\n")?;
    let (from, to) = (folder.join("in"), folder.join("out"));
    let idle = Kept::idle(docker, &["--stop-timeout", "1"])?;
    let inside = format!("{}:/copied", idle.id);
    docker.ask(&["cp", &from.display().to_string(), &inside])?;
    ensure!(idle.script("cat /copied; echo more >> /copied")? == "copied\n");
    // Out of one that runs, and of one that is over.
    for expected in ["copied\nmore\n", "copied\nmore\n"] {
        docker.ask(&["cp", &inside, &to.display().to_string()])?;
        let seen = fs::read_to_string(&to)?;
        ensure!(seen == expected, "{seen:?}");
        idle.done(&["stop"])?;
    }
    docker.ask(&["cp", &from.display().to_string(), &inside])?;
    idle.done(&["start"])?;
    ensure!(idle.script("cat /copied")? == "copied\n");
    let done = docker.docker(&["cp", &format!("{}:/nowhere", idle.id), "-"], "")?;
    ensure!(done.code == 1 && done.stderr.contains("/nowhere"), "{done}");
    Ok(())
}

fn copied_folders(docker: &Docker) -> Result<()> {
    let folder = docker.world().folder("docker-cp-folders")?;
    fs::create_dir_all(folder.join("tree/deep"))?;
    fs::write(folder.join("tree/deep/leaf"), "leaf\n")?;
    std::os::unix::fs::symlink("deep/leaf", folder.join("tree/link"))?;
    let idle = Kept::idle(docker, &["-v", "/volume"])?;
    let tree = folder.join("tree").display().to_string();
    docker.ask(&["cp", &tree, &format!("{}:/volume/", idle.id)])?;
    let told = idle.script("cat /volume/tree/deep/leaf /volume/tree/link")?;
    ensure!(told == "leaf\nleaf\n", "{told}");
    // A stream out of one is a stream into another.
    let out = docker.docker(&["cp", &format!("{}:/volume/tree", idle.id), "-"], "")?.ok()?;
    let other = Kept::idle(docker, &[])?;
    docker.docker(&["cp", "-", &format!("{}:/tmp", other.id)], &out.stdout)?.ok()?;
    ensure!(other.script("cat /tmp/tree/link")? == "leaf\n");
    Ok(())
}
