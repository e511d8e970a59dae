//! Images in every form that people use, and images made of containers.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

use anyhow::{Result, ensure};
use wherry_e2e::docker::{Docker, Engine, Store};
use wherry_e2e::image::Form;
use wherry_e2e::suite::{Case, For};

use crate::kept::{Kept, is, soon};

pub(crate) const CASES: &[Case<Docker>] = &[
    ("every_form_of_an_image_runs_or_is_refused_by_name", For::Wherry, forms),
    ("commit_makes_an_image_of_a_container", For::Any, commit),
    ("diff_and_export_show_what_a_container_wrote", For::Any, diff),
    ("save_and_load_bring_an_image_back", For::Any, save),
];

/// What becomes of an image.
enum Fate {
    Runs,
    /// Docker does not take it: these are its words.
    NotLoaded(&'static str),
    /// Docker starts a container of it whose layers nobody unpacks, and does not tell us of which image.
    Unknown,
}

/// Docker's own store knows images of this machine's platform only. A Wasm layer is no file system: where one
/// is, containerd has to tell, and whose container it is, Docker has to tell containerd. Docker 26 does not.
fn fate(docker: &Docker, form: Form) -> Fate {
    let layer = matches!(form, Form::WasmLayer | Form::Artifact);
    match (docker.store, form) {
        (_, Form::Linux | Form::Index) => Fate::Runs,
        (Store::Docker, Form::Artifact) => Fate::NotLoaded("no RootFS key"),
        (Store::Docker, _) => Fate::NotLoaded("cannot load wasi image on linux"),
        (Store::Containerd, _) if layer && docker.engine == Engine::V26 => Fate::Unknown,
        (Store::Containerd, _) => Fate::Runs,
    }
}

fn forms(docker: &Docker) -> Result<()> {
    for form in [Form::Linux, Form::Index, Form::Wasi, Form::WasmLayer, Form::Artifact] {
        let image = docker.world().image_as("hello", form)?;
        let fate = fate(docker, form);
        if let Fate::NotLoaded(words) = fate {
            let done = docker.docker(&["load", "--input", &image.tar.display().to_string()], "")?;
            ensure!(done.code == 1 && done.stderr.contains(words), "{form:?}: {done}");
            continue;
        }
        let reference = docker.load(&image)?;
        // An artifact has no configuration: what its program is called and is told, the caller says.
        let (options, args): (&[&str], &[&str]) = match form {
            Form::Linux | Form::Index => (&[], &["Docker"]),
            Form::Wasi | Form::WasmLayer => (&["--platform", "wasi/wasm"], &["Docker"]),
            Form::Artifact => (&[], &["hello.wasm", "Docker"]),
        };
        let first = ["run", "--rm", "--runtime", docker.runtime()];
        let done = docker.docker(&[&first[..], options, &[&reference], args].concat(), "")?;
        let as_expected = match fate {
            Fate::Runs => done.code == 0 && done.stdout == "Hello, Docker!\n",
            _ => done.code == 127 && done.stderr.contains("doesn't know which image"),
        };
        ensure!(as_expected, "{form:?}: {done}");
    }
    Ok(())
}

fn commit(docker: &Docker) -> Result<()> {
    let first = Kept::tool(docker, &[], &["sh", "-c", "echo kept > /kept"])?;
    ensure!(first.ended()? == 0);
    let image = Kept::image(docker, "wherry.test/committed:1");
    docker.ask(&["commit", "--change", "ENV OF=commit", &first.id, &image.id])?;
    let second = Kept::container(
        docker,
        "run",
        &image.id,
        &[],
        &["sh", "-c", "cat /kept; echo $OF; sleep 1000"],
    )?;
    soon(|| docker.ask(&["logs", &second.id]), |logs| logs == "kept\ncommit")?;
    // Of one that runs, too: Docker pauses it for the while.
    let third = Kept::image(docker, "wherry.test/committed:2");
    second.script("echo again > /again")?;
    docker.ask(&["commit", "--change", "ENTRYPOINT [\"/bin/cat\"]", &second.id, &third.id])?;
    let words = ["run", "--rm", "--runtime", docker.runtime(), &third.id, "/kept", "/again"];
    is(docker.docker(&words, "")?, 0, "kept\nagain\n", "")?;
    ensure!(second.status()? == "running", "{}", second.state()?);
    Ok(())
}

fn diff(docker: &Docker) -> Result<()> {
    let text = "mkdir /made && echo 1 > /made/file && rm /etc/group";
    let wrote = Kept::tool(docker, &[], &["sh", "-c", text])?;
    ensure!(wrote.ended()? == 0);
    let told = wrote.done(&["diff"])?;
    let mut lines: Vec<&str> = told.lines().collect();
    lines.sort_unstable();
    ensure!(lines == ["A /made", "A /made/file", "C /etc", "D /etc/group"], "{told}");
    let exported = docker.world().folder("docker-export")?.join("exported.tar");
    docker.ask(&["export", "--output", &exported.display().to_string(), &wrote.id])?;
    let mut paths = BTreeSet::new();
    for entry in tar::Archive::new(File::open(exported)?).entries()? {
        paths.insert(entry?.path()?.into_owned());
    }
    let has = |path: &str| paths.contains(Path::new(path));
    ensure!(has("made/file") && has("etc/passwd") && !has("etc/group"), "{paths:?}");
    Ok(())
}

fn save(docker: &Docker) -> Result<()> {
    let image = docker.load(&docker.world().image("args")?)?;
    let copy = Kept::image(docker, "wherry.test/saved:1");
    docker.ask(&["tag", &image, &copy.id])?;
    let tar = docker.world().folder("docker-save")?.join("saved.tar").display().to_string();
    docker.ask(&["save", "--output", &tar, &copy.id])?;
    docker.ask(&["rmi", &copy.id])?;
    docker.ask(&["load", "--input", &tar])?;
    let words = ["run", "--rm", "--runtime", docker.runtime(), &copy.id, "one", "two"];
    let done = docker.docker(&words, "")?.ok()?;
    ensure!(done.stdout.contains("one") && done.stdout.contains("two"), "{done}");
    Ok(())
}
