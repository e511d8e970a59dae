//! What busybox cannot be asked, because it does otherwise or says it otherwise.

use std::rc::Rc;

use expect_test::{Expect, expect};

use crate::call::{Call, Variables};
use crate::streams::{Spool, Streams, input};

/// Runs a script and shows what it wrote on both outputs, and its exit code.
#[track_caller]
fn check_with(args: &[&str], stdin: &str, expected: Expect) {
    let args: Vec<String> = args.iter().map(|arg| arg.to_string()).collect();
    let (stdout, stderr) = (Spool::new(), Spool::new());
    let streams = Streams {
        stdin: input(std::io::Cursor::new(stdin.as_bytes().to_vec())),
        stdout: stdout.clone(),
        stderr: stderr.clone(),
    };
    let env = Variables::from_iter([("HOME".to_string(), "/home/me".to_string())]);
    let call = Call { name: "sh", args: &args, env: Rc::new(env), streams };
    let status = super::sh(&call).unwrap_or_else(|failure| panic!("{failure:?}"));
    let text =
        |spool| String::from_utf8(Spool::take_bytes(spool).expect("in memory")).expect("text");
    expected.assert_eq(&format!("{}{}exit {status}\n", text(&stdout), text(&stderr)));
}

#[track_caller]
fn check(script: &str, expected: Expect) {
    check_with(&["-c", script], "", expected);
}

#[test]
fn what_needs_processes_is_refused_by_name() {
    check(
        "echo a; sleep 1 & echo b",
        expect![[r#"
        a
        sh: a job cannot run in the background (&): a WebAssembly guest has no processes
        exit 2
    "#]],
    );
}

#[test]
fn syntax_errors_are_told_after_what_stands_before_them() {
    check(
        "echo a\nif; then",
        expect![[r#"
        a
        sh: syntax error: unexpected ";"
        exit 2
    "#]],
    );
    check(
        "echo 'open",
        expect![[r#"
        sh: syntax error: unexpected end of file
        exit 2
    "#]],
    );
    check(
        "for 1x in a; do :; done",
        expect![[r#"
        sh: syntax error: unexpected "1x"
        exit 2
    "#]],
    );
    check(
        "echo ${x!}",
        expect![[r#"
        sh: syntax error: bad substitution
        exit 2
    "#]],
    );
}

#[test]
fn errors_name_the_command() {
    check(
        "nosuch; cat /no/such; cd /no/such; echo x > /no/such/file; test a b",
        expect![[r#"
        sh: nosuch: not found
        cat: can't open '/no/such': No such file or directory
        sh: cd: can't cd to /no/such: No such file or directory
        sh: can't create /no/such/file: No such file or directory
        test: a: unknown operand
        exit 2
    "#]],
    );
    check(
        "readonly x=1; x=2; echo never",
        expect![[r#"
        sh: x: is read only
        exit 2
    "#]],
    );
    check(
        "echo ${x:?is needed}; echo never",
        expect![[r#"
        sh: x: is needed
        exit 2
    "#]],
    );
    check(
        "echo $((1 / 0)); echo never",
        expect![[r#"
        sh: division by zero
        exit 2
    "#]],
    );
}

#[test]
fn a_script_on_stdin_shares_it_with_its_commands() {
    check_with(
        &[],
        "read x\nthe line\necho \"$x\"\nwc -l\na\nb\nc\n",
        expect![[r#"
        the line
        3
        exit 0
    "#]],
    );
    check_with(
        &["-s", "a"],
        "f() {\necho $1\n}\nf in\necho $1",
        expect![[r#"
        in
        a
        exit 0
    "#]],
    );
    check_with(
        &[],
        "if true; then\necho a",
        expect![[r#"
        sh: syntax error: unexpected end of file
        exit 2
    "#]],
    );
}

#[test]
fn what_has_no_end_is_ended() {
    // Without optimization a command takes more stack than a test's thread has.
    let large = std::thread::Builder::new().stack_size(256 << 20);
    let endless = large.spawn(|| {
        check(
            "f() { if true; then eval f; fi; }; f; echo never",
            expect![[r#"
            sh: too many commands in each other
            exit 2
        "#]],
        );
    });
    endless.expect("a thread").join().expect("the expected end");
    let deep = format!("echo {}x{}", "$(echo ".repeat(300), ")".repeat(300));
    check(
        &deep,
        expect![[r#"
        sh: syntax error: more than 200 constructs in each other
        exit 2
    "#]],
    );
}

#[test]
fn a_trace_shows_commands_as_they_run() {
    check(
        "set -x; x=1; echo $x \"a b\"; set +x; echo quiet",
        expect![[r#"
        1 a b
        quiet
        + x=1
        + echo 1 a b
        + set +x
        exit 0
    "#]],
    );
}

#[test]
fn an_interactive_shell_prompts_and_goes_on() {
    check_with(
        &["-i"],
        "echo a\nif true; then\necho b\nfi\ncd /no/such\n${x:?y}\necho c\nexit 4\n",
        expect![[r#"
        a
        b
        c
        # # > > # sh: cd: can't cd to /no/such: No such file or directory
        # sh: x: y
        # # exit 4
    "#]],
    );
}

#[test]
fn filters_of_a_pipeline_end_their_producer() {
    check(
        "yes | sed s/y/n/ | head -2; echo $?",
        expect![[r#"
        n
        n
        0
        exit 0
    "#]],
    );
    check(
        "set -o pipefail; yes | head -1; echo $?",
        expect![[r#"
        y
        141
        exit 0
    "#]],
    );
    check(
        "echo a | cat /no/such; echo b | tail -n x; echo $?",
        expect![[r#"
        1
        cat: can't open '/no/such': No such file or directory
        sh: tail: invalid number 'x'
        exit 0
    "#]],
    );
}

#[test]
fn outputs_that_go_to_one_place_keep_their_order() {
    check(
        "{ echo 1; cat /no/such; echo 2; } 2>&1 | cat",
        expect![[r#"
        1
        cat: can't open '/no/such': No such file or directory
        2
        exit 0
    "#]],
    );
    check(
        "echo x | grep -q . /no/such 2>&1 | cat",
        expect![[r#"
        grep: can't open '/no/such': No such file or directory
        exit 0
    "#]],
    );
}

#[test]
fn signals_can_only_be_sent_to_oneself() {
    check(
        "trap 'echo never' TERM; trap; (kill $$); echo $?",
        expect![[r#"
        trap -- 'echo never' TERM
        143
        exit 0
    "#]],
    );
}
