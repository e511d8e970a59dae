//! What can be observed of commands: output, exit codes, signals.

mod support;

use std::io::{BufRead, BufReader, Read};

use expect_test::{Expect, expect};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Guest, show, show_status};

/// Writes its first argument and then the value of `data` in the text to stdout.
const HELLO: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_write"
        (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\10\00\00\00\06\00\00\00")
    (data (i32.const 16) "hello\n")
    (func (export "_start")
        (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))))"#;

fn exit(module: &str, status: u32) -> String {
    format!(
        r#"(module
            (import "{module}" "proc_exit" (func $exit (param i32)))
            (memory (export "memory") 1)
            (func (export "_start") (call $exit (i32.const {status}))))"#
    )
}

#[track_caller]
fn check(guest: Guest, expected: Expect) {
    expected.assert_eq(&guest.show());
}

#[test]
fn output_and_success() {
    check(
        Guest::new(HELLO),
        expect![[r#"
            hello
            exit 0
        "#]],
    );
}

#[test]
fn exit_codes_are_the_low_eight_bits() {
    let codes = [0, 1, 42, 125, 126, 127, 128, 134, 137, 255, 256, 257].map(|status| {
        let output = Guest::new(exit("wasi_snapshot_preview1", status)).show();
        format!("{status} -> {output}")
    });
    expect![[r#"
        0 -> exit 0
        1 -> exit 1
        42 -> exit 42
        125 -> exit 125
        126 -> exit 126
        127 -> exit 127
        128 -> exit 128
        134 -> exit 134
        137 -> exit 137
        255 -> exit 255
        256 -> exit 0
        257 -> exit 1
    "#]]
    .assert_eq(&codes.concat());
}

#[test]
fn the_snapshot_before_preview_1() {
    check(
        Guest::new(exit("wasi_unstable", 200)),
        expect![[r#"
            exit 200
        "#]],
    );
}

#[test]
fn a_trap_is_told_with_function_names() {
    let text = r#"(module
        (func $inner unreachable)
        (func $outer (call $inner))
        (func (export "_start") (call $outer)))"#;
    check(
        Guest::new(text),
        expect![[r#"
            wherry: the guest trapped: wasm trap: wasm `unreachable` instruction executed
            error while executing at wasm backtrace:
                0:     0x25 - <unknown>!inner
                1:     0x29 - <unknown>!outer
                2:     0x2e - <unknown>!<wasm function 2>
            exit 134
        "#]],
    );
}

#[test]
fn a_trap_is_told_in_the_termination_log_of_the_container_alone() {
    let guest = Guest::new("(module (func (export \"_start\") unreachable))");
    let log = guest.folder.path().join("termination-log");
    std::fs::write(&log, "").unwrap();
    // As an exec, which has none.
    assert!(guest.show().ends_with("exit 134\n"));
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "");
    let output = guest.command().env("TERMINATION_LOG", &log).output().unwrap();
    let told = std::fs::read_to_string(&log).unwrap();
    assert!(told.starts_with("wherry: the guest trapped: "), "{told}");
    assert_eq!(show(&output), told + "exit 134\n");
}

#[test]
fn endless_recursion_traps() {
    let text = r#"(module (func $down (call $down)) (export "_start" (func $down)))"#;
    let output = Guest::new(text).show();
    assert!(output.starts_with("wherry: the guest trapped: wasm trap: call stack exhausted"));
    assert!(output.ends_with("exit 134\n"), "{output}");
}

/// Grows by 16 MiB until it fails, and exits with the number of times: 255 until 4 GiB.
const GROWING: &str = r#"(module
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start") (local $times i32)
            (loop $again
                (if (i32.ge_s (memory.grow (i32.const 256)) (i32.const 0))
                    (then
                        (local.set $times (i32.add (local.get $times) (i32.const 1)))
                        (br $again))))
            (call $exit (local.get $times))))"#;

#[test]
fn memory_that_cannot_grow_is_the_guests_affair() {
    let show = |limit| {
        let mut guest = Guest::new(GROWING);
        guest.run.memory_limit = limit;
        guest.show()
    };
    assert_eq!(show(None), "exit 255\n");
    // 64 MiB less 5 for the host, and a page of 64 KiB to start with.
    assert_eq!(show(Some(64 << 20)), "exit 3\n");
    assert_eq!(show(Some(1 << 20)), "exit 0\n");
}

/// A module of `declarations` that exits with 1 if `grow` gives -1, else with 0, under 64 MiB.
fn grown(declarations: &str, grow: &str) -> String {
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            {declarations}
            (global $got (mut i32) (i32.const 0))
            (func $grow (global.set $got {grow}))
            (func (export "_start")
                (call $grow)
                (call $exit (i32.eq (global.get $got) (i32.const -1)))))"#
    );
    let mut guest = Guest::new(text);
    guest.run.memory_limit = Some(64 << 20);
    guest.show()
}

#[test]
fn a_memory_that_is_declared_empty_grows_within_the_limit_too() {
    let memory = |pages: u32| format!(r#"(memory (export "memory") {pages})"#);
    let grow = |pages: u32| format!("(memory.grow (i32.const {pages}))");
    assert_eq!(grown(&memory(0), &grow(512)), "exit 0\n");
    assert_eq!(grown(&memory(0), &grow(3200)), "exit 1\n");
    assert_eq!(grown(&memory(1), &grow(3200)), "exit 1\n");
    // In the start function the store is still being instantiated.
    let started = format!("{} (start $grow)", memory(0));
    assert_eq!(grown(&started, &grow(3200)), "exit 1\n");
    // What is declared need not be touched.
    assert_eq!(grown(&memory(3200), "(i32.const 0)"), "exit 0\n");
}

#[test]
fn tables_grow_within_the_limit_of_memory() {
    let table = |elements: u32| {
        format!(r#"(memory (export "memory") 1) (table $table {elements} funcref)"#)
    };
    let grow =
        |elements: u32| format!("(table.grow $table (ref.null func) (i32.const {elements}))");
    assert_eq!(grown(&table(0), &grow(1_000_000)), "exit 0\n");
    assert_eq!(grown(&table(0), &grow(30_000_000)), "exit 1\n");
    assert_eq!(grown(&table(1), &grow(30_000_000)), "exit 1\n");
}

#[test]
fn growth_beyond_the_declared_maximum_takes_nothing_from_the_limit() {
    let refused = "(drop (memory.grow (i32.const 20)))".repeat(100);
    let grow = format!("(block (result i32) {refused} (memory.grow (i32.const 19)))");
    assert_eq!(grown(r#"(memory (export "memory") 1 20)"#, &grow), "exit 0\n");
}

/// Of a module of `declarations` that does `body` under 48 MiB: what is told of it, but for the
/// backtrace, and the same in the termination log.
fn told_of(declarations: &str, body: &str) -> String {
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
            {declarations}
            (func (export "_start") {body}))"#
    );
    let mut guest = Guest::new(text);
    guest.run.memory_limit = Some(48 << 20);
    let log = guest.folder.path().join("termination-log");
    std::fs::write(&log, "").unwrap();
    let output = guest.command().env("TERMINATION_LOG", &log).output().unwrap();
    let told = std::fs::read_to_string(&log).unwrap();
    let status = show_status(output.status);
    assert_eq!(show(&output), format!("{told}{status}\n"));
    let kept = told.lines().filter(|line| !line.starts_with("error") && !line.starts_with(' '));
    kept.chain([status.as_str()]).map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_program_that_dies_of_its_memory_limit_is_told_with_the_limit() {
    const ONE: &str = r#"(memory (export "memory") 1)"#;
    const GROW: &str = "(loop $again
        (br_if $again (i32.ge_s (memory.grow (i32.const 256)) (i32.const 0))))";
    expect![[r#"
        wherry: the guest trapped: wasm trap: wasm `unreachable` instruction executed
        before that it was refused 16 MiB more memory: 32 MiB of 43.2 MiB for guests were taken; the container's memory limit is 48 MiB (resources.limits.memory, docker --memory)
        exit 134
    "#]]
    .assert_eq(&told_of(ONE, &format!("{GROW} unreachable")));
    // As libraries abort that do not trap.
    expect![[r#"
        wherry: the guest aborted
        before that it was refused 16 MiB more memory: 32 MiB of 43.2 MiB for guests were taken; the container's memory limit is 48 MiB (resources.limits.memory, docker --memory)
        exit 134
    "#]]
    .assert_eq(&told_of(ONE, &format!("{GROW} (call $exit (i32.const 134))")));
    let table = format!("{ONE} (table $table 0 funcref)");
    let grow = "(drop (table.grow $table (ref.null func) (i32.const 4194304)))";
    expect![[r#"
        wherry: the guest trapped: wasm trap: wasm `unreachable` instruction executed
        before that it was refused 64 MiB more for a table: 64 KiB of 43.2 MiB for guests were taken; the container's memory limit is 48 MiB (resources.limits.memory, docker --memory)
        exit 134
    "#]]
    .assert_eq(&told_of(&table, &format!("{grow} unreachable")));
}

#[test]
fn the_limit_is_not_named_where_it_refused_nothing_or_the_program_went_on() {
    let declared = r#"(memory (export "memory") 1 20)"#;
    expect![[r#"
        wherry: the guest trapped: wasm trap: wasm `unreachable` instruction executed
        exit 134
    "#]]
    .assert_eq(&told_of(declared, "(drop (memory.grow (i32.const 4000))) unreachable"));
    let open = r#"(memory (export "memory") 1)"#;
    let grow = "(drop (memory.grow (i32.const 4000)))";
    assert_eq!(told_of(open, &format!("{grow} (call $exit (i32.const 7))")), "exit 7\n");
    assert_eq!(told_of(open, grow), "exit 0\n");
}

#[test]
fn the_limit_of_memory_is_what_the_cgroup_says_now() {
    let show = |says: &str| {
        let mut guest = Guest::new(GROWING);
        guest.run.memory_limit = Some(1 << 20);
        let file = guest.folder.path().join("memory.max");
        std::fs::write(&file, says).unwrap();
        guest.memory = Some(file);
        guest.show()
    };
    assert_eq!(show("67108864\n"), "exit 3\n");
    assert_eq!(show("max\n"), "exit 255\n");
    assert_eq!(show("9223372036854771712\n"), "exit 255\n");
    // What cannot be read is as it was planned.
    assert_eq!(show(""), "exit 0\n");
}

#[test]
fn components_return_success_or_failure() {
    let run = |version: &str, status: i32| {
        let text = format!(
            r#"(component
                (core module $m (func (export "run") (result i32) (i32.const {status})))
                (core instance $i (instantiate $m))
                (func $run (result (result)) (canon lift (core func $i "run")))
                (instance $interface (export "run" (func $run)))
                (export "wasi:cli/run@{version}" (instance $interface)))"#
        );
        Guest::new(text).show()
    };
    assert_eq!(run("0.2.0", 0), "exit 0\n");
    assert_eq!(run("0.2.12", 1), "exit 1\n");
}

#[test]
fn signals_end_an_endless_loop_at_once() {
    let text = r#"(module
        (import "wasi_snapshot_preview1" "fd_write"
            (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (data (i32.const 0) "\10\00\00\00\06\00\00\00")
        (data (i32.const 16) "ready\n")
        (func (export "_start")
            (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
            (loop $forever (br $forever))))"#;
    let guest = Guest::new(text);
    let ends = [
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGALRM,
        Signal::SIGPIPE,
        Signal::SIGKILL,
    ]
    .map(|signal| {
        let mut child = guest.start();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        // Ignored by default, so ignored by a guest.
        for harmless in [Signal::SIGCHLD, Signal::SIGWINCH, Signal::SIGURG, Signal::SIGCONT] {
            kill(Pid::from_raw(child.id().cast_signed()), harmless).unwrap();
        }
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
        format!("{signal} {}\n", show_status(child.wait().unwrap()))
    });
    expect![[r#"
        SIGTERM exit 143
        SIGINT exit 130
        SIGQUIT exit 131
        SIGHUP exit 129
        SIGUSR1 exit 138
        SIGUSR2 exit 140
        SIGALRM exit 142
        SIGPIPE exit 141
        SIGKILL signal: 9 (SIGKILL)
    "#]]
    .assert_eq(&ends.concat());
}

/// Copies stdin to stdout.
const CAT: &str = r#"(module
    (import "wasi_snapshot_preview1" "fd_read"
        (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write"
        (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
    (memory (export "memory") 2)
    (func (export "_start") (local $status i32)
        (loop $again
            (i32.store (i32.const 0) (i32.const 1024))
            (i32.store (i32.const 4) (i32.const 65536))
            (local.set $status
                (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
            (if (local.get $status) (then (call $exit (local.get $status))))
            (if (i32.load (i32.const 4))
                (then
                    (local.set $status
                        (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
                    (if (local.get $status) (then (call $exit (local.get $status))))
                    (br $again))))))"#;

#[test]
fn input_reaches_the_guest_and_ends() {
    let guest = Guest::new(CAT);
    assert_eq!(guest.show_with_input("one\ntwo"), "one\ntwoexit 0\n");
    assert_eq!(guest.show_with_input(""), "exit 0\n");
    let large: String = (0..200_000).map(|number| format!("{number}\n")).collect();
    let (input, output) = (large.clone(), guest.start());
    let output = feed(output, input);
    assert_eq!(output, large + "exit 0\n");
}

fn feed(mut child: std::process::Child, input: String) -> String {
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        use std::io::Write;
        stdin.write_all(input.as_bytes()).unwrap();
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    show(&output)
}

#[test]
fn a_closed_output_is_an_error_and_not_the_end() {
    let guest = Guest::new(CAT);
    let mut child = guest.start();
    drop(child.stdout.take());
    let output = feed(child, "lost".to_owned());
    // 64 is EPIPE in preview 1.
    assert_eq!(output, "exit 64\n");
}

#[test]
fn streams_in_non_blocking_mode_lose_nothing() {
    let guest = Guest::new(CAT);
    let (mut reader, writer) = std::io::pipe().unwrap();
    nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))
        .unwrap();
    let mut child =
        guest.command().stdin(std::process::Stdio::piped()).stdout(writer).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = "0123456789abcdef".repeat(40_000);
    let sent = input.clone();
    let feeder = std::thread::spawn(move || {
        use std::io::Write;
        stdin.write_all(sent.as_bytes()).unwrap();
    });
    let mut received = String::new();
    reader.read_to_string(&mut received).unwrap();
    feeder.join().unwrap();
    assert_eq!(show_status(child.wait().unwrap()), "exit 0");
    assert!(received == input, "{} of {} bytes", received.len(), input.len());
}
