//! The program itself: what it answers, in its jail and out of it.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use expect_test::{Expect, expect};

const HELLO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "_start")))"#;

/// An export of this name is all that makes a service.
const SERVICE: &str = r#"(component
    (component $c)
    (instance $i (instantiate $c))
    (export "wasi:http/incoming-handler@0.2.0" (instance $i)))"#;

const BROKEN: &[u8] = b"\0asm\x01\0\0\0\x01\xff";

struct Rig {
    dir: tempfile::TempDir,
}

impl Rig {
    fn new() -> Rig {
        Rig { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, bytes).expect("written");
        path
    }

    fn wherry(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wherry"));
        command.args(words).current_dir(self.dir.path());
        command
    }

    /// What it says on both streams, and how it ended.
    fn told(&self, words: &[&str]) -> String {
        let output = self.wherry(words).stdin(Stdio::null()).output().expect("wherry runs");
        let told = [output.stdout.as_slice(), &output.stderr].concat();
        let told = String::from_utf8_lossy(&told);
        match output.status.code() {
            Some(0) => told.into_owned(),
            Some(code) => format!("{told}exit {code}\n"),
            None => format!("{told}{}\n", output.status),
        }
    }

    /// As the shim calls it: the program on descriptor 0, the code to a file on 1.
    fn compile(&self, program: &[u8], words: &[&str]) -> (Output, Vec<u8>) {
        let program = File::open(self.file("program", program)).expect("the program");
        let code = File::create(self.dir.path().join("code")).expect("a file");
        let mut all = vec!["compile"];
        all.extend(words);
        let mut command = self.wherry(&all);
        command.env_clear().stdin(program).stdout(code).stderr(Stdio::piped());
        let output = command.spawn().and_then(|child| child.wait_with_output());
        (output.expect("wherry runs"), fs::read(self.dir.path().join("code")).expect("the code"))
    }

    fn answer(&self, program: &[u8]) -> String {
        let (output, code) = self.compile(program, &[]);
        let kind = if code.starts_with(b"\x7fELF") { "code" } else { "no code" };
        format!("{} {kind}", String::from_utf8_lossy(&output.stderr).trim_end())
    }
}

fn check(told: &str, expected: Expect) {
    expected.assert_eq(told);
}

#[test]
fn the_compiler_answers_with_one_line() {
    let rig = Rig::new();
    check(
        &rig.answer(HELLO.as_bytes()),
        expect![[r#"{"kind":"module","profile":"command"} code"#]],
    );
    check(
        &rig.answer(SERVICE.as_bytes()),
        expect![[r#"{"kind":"component","profile":"service"} code"#]],
    );
    check(
        &rig.answer(b""),
        expect![[
            r#"{"error":"the program is empty: 0 bytes, where a WebAssembly module or component is expected"} no code"#
        ]],
    );
    check(
        &rig.answer(b"\0asm\x01\0"),
        expect![[
            r#"{"error":"the program is truncated: it ends after 6 bytes, in its header"} no code"#
        ]],
    );
    check(
        &rig.answer(BROKEN),
        expect![[
            r#"{"error":"the program cannot be compiled: failed to parse WebAssembly module: unexpected end-of-file (at offset 0xa)"} no code"#
        ]],
    );
    check(
        &rig.answer(b"\x7fELF\x02\x01\x01\xc8"),
        expect![[
            r#"{"error":"the program is native code (an ELF file), not WebAssembly: build it for a target like wasm32-wasip1 or wasm32-wasip2"} no code"#
        ]],
    );
}

#[test]
fn the_jail_ends_a_compiler_that_takes_too_much() {
    let rig = Rig::new();
    // Two million functions: little to write down, much to hold.
    let bomb = format!("(module{})", "(func)".repeat(2_000_000));
    for limit in [["--memory", "268435456"], ["--cpu-seconds", "1"]] {
        let (output, _) = rig.compile(bomb.as_bytes(), &limit);
        assert!(!output.status.success(), "{limit:?}: {output:?}");
    }
}

#[test]
fn the_same_program_becomes_the_same_code_with_any_number_of_threads() {
    let rig = Rig::new();
    let (_, one) = rig.compile(HELLO.as_bytes(), &["--threads", "1"]);
    let (_, many) = rig.compile(HELLO.as_bytes(), &["--threads", "4"]);
    assert!(!one.is_empty() && one == many);
}

#[test]
fn people_name_files() {
    let rig = Rig::new();
    rig.file("hello.wat", HELLO.as_bytes());
    check(&rig.told(&["compile", "hello.wat", "-o", "hello.cwasm"]), expect![[""]]);
    check(
        &rig.told(&["compile", "none.wat", "-o", "x"]),
        expect![[r#"
        wherry: can't open none.wat: No such file or directory (os error 2)
        exit 1
    "#]],
    );
    check(
        &rig.told(&["inspect", "hello.wat"]),
        expect![[r#"
        kind     module text, 170 bytes
        world    WASI preview 1 command
        profile  command
        imports
          wasi_snapshot_preview1.fd_write
        exports
          memory
          _start
    "#]],
    );
    check(
        &rig.told(&["inspect", "hello.wat", "--json"]),
        expect![[r#"
        {"bytes":170,"exports":["memory","_start"],"imports":["wasi_snapshot_preview1.fd_write"],"kind":"module text","profile":"command","world":"WASI preview 1 command"}
    "#]],
    );
    check(
        &rig.told(&["inspect", "hello.cwasm"]),
        expect![[r#"
        wherry: hello.cwasm holds native code that was compiled ahead of time: native code from an image is never trusted, put the .wasm file itself into the image
        exit 1
    "#]],
    );
    check(
        &rig.told(&["frobnicate"]),
        expect![[r#"
        wherry: there is no command "frobnicate"
        Try `wherry help`.
        exit 2
    "#]],
    );
}

/// A FIFO without a writer held it up for ever.
#[test]
fn only_files_are_inspected() {
    let rig = Rig::new();
    let made = Command::new("mkfifo").arg(rig.dir.path().join("fifo")).status();
    assert!(made.expect("mkfifo runs").success());
    // Ends what would wait, as a failure: 124.
    let told = |path: &str| {
        let inspect = rig.wherry(&["inspect", path]);
        let mut command = Command::new("timeout");
        command.arg("10").arg(inspect.get_program()).args(inspect.get_args());
        let output = command.current_dir(rig.dir.path()).output().expect("timeout runs");
        let told = String::from_utf8_lossy(&output.stderr);
        format!("{told}{}\n", output.status)
    };
    check(
        &told("fifo"),
        expect![[r#"
        wherry: can't read fifo: it is no regular file: copy it into one
        exit status: 1
    "#]],
    );
    check(
        &told("/dev/zero"),
        expect![[r#"
        wherry: can't read /dev/zero: it is no regular file: copy it into one
        exit status: 1
    "#]],
    );
    check(
        &told("."),
        expect![[r#"
        wherry: can't read .: is a directory
        exit status: 1
    "#]],
    );
}

#[test]
fn the_cache_is_warmed_listed_verified_and_pruned() {
    let rig = Rig::new();
    rig.file("hello.wat", HELLO.as_bytes());
    rig.file("broken.wasm", BROKEN);
    let cache = |words: &[&str]| rig.told(&[&["cache", "--dir", "cache"], words].concat());
    let engine = rig.told(&["engine-id"]);
    assert_eq!(engine, rig.told(&["engine-id"]));
    check(
        &cache(&["warm", "hello.wat"]),
        expect![[r#"
        sha256:51ee20991d879eadfded64bf4ca92310dd44e738776250afd087edccfc098579  hello.wat
    "#]],
    );
    check(
        &cache(&["warm", "broken.wasm"]),
        expect![[r#"
        wherry: broken.wasm: the program cannot be compiled: failed to parse WebAssembly module: unexpected end-of-file (at offset 0xa)
        wherry: 1 of 1 files were not compiled
        exit 1
    "#]],
    );
    let listed: serde_json::Value = serde_json::from_str(&cache(&["ls", "--json"])).expect("JSON");
    assert_eq!(listed[0]["engine"], engine.trim_end());
    assert_eq!(listed[0]["profile"], "command");
    check(
        &cache(&["verify"]),
        expect![[r#"
        1 sound, 0 removed
    "#]],
    );
    let code = find(&rig.dir.path().join("cache"), ".cwasm");
    fs::set_permissions(&code, fs::Permissions::from_mode(0o600)).expect("a mode");
    let damage = File::options().append(true).open(&code).and_then(|mut f| f.write_all(b"x"));
    damage.expect("damaged");
    assert!(cache(&["verify"]).ends_with("0 sound, 1 removed\n"));
    cache(&["warm", "hello.wat"]);
    assert!(cache(&["prune", "--max-bytes", "1"]).starts_with("removed 1 entries"));
    check(
        &cache(&["ls", "--json"]),
        expect![[r#"
        []
    "#]],
    );
}

fn find(dir: &Path, end: &str) -> PathBuf {
    let engine = fs::read_dir(dir).expect("the cache").next().expect("one").expect("an entry");
    let mut files = fs::read_dir(engine.path()).expect("entries").map(|e| e.expect("one").path());
    files.find(|path| path.to_string_lossy().ends_with(end)).expect("the file")
}

#[test]
fn fetch_tells_that_there_is_no_containerd() {
    let rig = Rig::new();
    let words = ["fetch", "--address", "none.sock", "--namespace", "n", "--container", "c"];
    check(
        &rig.told(&words),
        expect![[r#"
        {"error":"can't connect to containerd at none.sock: No such file or directory (os error 2)"}
        exit 1
    "#]],
    );
}

#[test]
fn fleet_is_another_program_beside_this_one_or_in_the_path() {
    let rig = Rig::new();
    let own = rig.dir.path().join("wherry");
    fs::copy(env!("CARGO_BIN_EXE_wherry"), &own).expect("a copy");
    let told = |path: &Path| {
        let mut command = Command::new(&own);
        let output = command.args(["fleet", "status", "-o", "json"]).env("PATH", path).output();
        let output = output.expect("wherry runs");
        let told = [output.stdout.as_slice(), &output.stderr].concat();
        let place = rig.dir.path().display().to_string();
        String::from_utf8_lossy(&told).replace(&place, "DIR") + &output.status.to_string()
    };
    let elsewhere = rig.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("a folder");
    let program = |folder: &Path, says: &str| {
        let file = folder.join("wherry-fleet");
        fs::write(&file, format!("#!/bin/sh\necho {says} \"$@\"\nexit 3\n")).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("a program");
    };
    expect![[r#"
        wherry: there is no wherry-fleet, neither beside DIR/wherry nor in PATH
        exit status: 1"#]]
    .assert_eq(&told(&elsewhere));
    program(&elsewhere, "there");
    expect![[r#"
        there status -o json
        exit status: 3"#]]
    .assert_eq(&told(&elsewhere));
    program(rig.dir.path(), "here");
    expect![[r#"
        here status -o json
        exit status: 3"#]]
    .assert_eq(&told(&elsewhere));
}

/// A node is a PID namespace with a process that has containerd's name, `$1` a folder, `$2` this program. Its debug pods
/// have a root of their own and the node's at `/host`: one with the node's processes, one with its own.
const NODE: &str = r#"
cd "$1"
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
mkfifo up hold
./containerd --address /run/c.sock &
read ready < up
"$2" doctor --json > node || true
for kind in --mount --mount\ --pid\ --fork; do
  unshare $kind sh -ec '
    mount -t tmpfs tmpfs pod
    mkdir pod/host pod/proc
    ln -s host/lib host/lib64 host/usr pod/
    mount --rbind / pod/host
    mount -t proc proc pod/proc
    exec chroot pod "/host$2" doctor --json --root /host' sh "$@" > "seen${kind#--mount}" || true
done
"#;

#[test]
fn doctor_finds_in_a_debug_pod_what_it_finds_on_the_node() {
    let rig = Rig::new();
    let daemon = rig.file("containerd", b"#!/bin/sh\necho > up\nread end < hold\n");
    fs::set_permissions(&daemon, fs::Permissions::from_mode(0o755)).expect("a program");
    fs::create_dir(rig.dir.path().join("pod")).expect("a folder");
    let node = ["--pid", "--fork", "--kill-child", "--mount", "--propagation", "private"];
    let ran = Command::new("unshare")
        .args(node)
        .args(["--mount-proc", "sh", "-ec", NODE, "sh"])
        .args([rig.dir.path(), Path::new(env!("CARGO_BIN_EXE_wherry"))])
        .stdin(Stdio::null())
        .output()
        .expect("unshare (util-linux)");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let said = String::from_utf8_lossy(&ran.stderr);
    let found = |name: &str| fs::read_to_string(rig.dir.path().join(name)).expect("findings");
    assert!(found("node").contains("does not answer"), "{} {said}", found("node"));
    assert_eq!(found("seen"), found("node"), "{said}");
    assert_eq!(found("seen --pid --fork"), found("node"), "{said}");
}

#[test]
fn doctor_says_what_a_root_that_is_no_node_lacks() {
    let rig = Rig::new();
    let root = rig.dir.path().display().to_string();
    check(
        &rig.told(&["doctor", "--root", &root]).replace(&root, "DIR"),
        expect![[r#"
        wherry: DIR is not the root of the first process here, and has no /proc: in a pod, mount the node's / there and set hostPID: true (kubectl debug node/NODE --profile=sysadmin does)
        exit 1
    "#]],
    );
}
