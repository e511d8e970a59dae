//! Each example program, with its exact output and exit code.

use std::fs;
use std::os::unix::fs::symlink;

use anyhow::{Result, ensure};
use wherry_e2e::command::Output;
use wherry_e2e::suite::{Case, For, World};
use wherry_e2e::task::Container;

pub(crate) const CASES: &[Case] = &[
    ("hello_greets_the_world", For::Any, |w| runs(w, "hello", &[], 0, "Hello, World!\n")),
    ("hello_greets_its_argument", For::Any, |w| runs(w, "hello", &["WASI"], 0, "Hello, WASI!\n")),
    ("hello_wat_is_text_and_runs", For::Wherry, |w| runs(w, "hello-wat", &[], 0, "Hello, WASI!\n")),
    ("hello_p2_greets_its_argument", For::Any, |w| {
        runs(w, "hello-p2", &["0.2"], 0, "Hello, 0.2!\n")
    }),
    ("hello_p3_greets_its_argument", For::Wherry, |w| {
        runs(w, "hello-p3", &["you"], 0, "Hello from WASI 0.3, you!\n")
    }),
    ("arguments_arrive_as_they_are", For::Any, |w| arguments(w, "args")),
    ("arguments_arrive_as_they_are_p2", For::Any, |w| arguments(w, "args-p2")),
    ("environment_is_what_the_spec_says_and_no_more", For::Wherry, |w| environment(w, "env")),
    ("environment_is_what_the_spec_says_and_no_more_p2", For::Wherry, |w| environment(w, "env-p2")),
    ("c_greets_and_ends_with_7", For::Wherry, |w| {
        let done = w.guest("hello-c")?.args(&["Wherry"]).run(&w.containerd)?;
        is(done, 7, "Hello from C, Wherry! (1 variables)\n", "goodbye\n")
    }),
    ("go_sorts_words_of_stdin", For::Wherry, |w| {
        let go = w.guest("hello-go")?.args(&["gopher"]).stdin("pear apple\nfig\n");
        is(go.run(&w.containerd)?, 0, "Hello from Go, gopher!\n3 apple fig pear\n", "")
    }),
    ("json_is_formatted_from_stdin", For::Any, |w| json(w, "json-fmt")),
    ("json_is_formatted_from_stdin_p2", For::Any, |w| json(w, "json-fmt-p2")),
    ("bad_json_ends_with_1_and_a_reason", For::Any, |w| {
        let done = w.guest("json-fmt")?.stdin("{").run(&w.containerd)?;
        is(done, 1, "", "Invalid JSON: EOF while parsing an object at line 1 column 1\n")
    }),
    ("clocks_and_random_numbers_are_there", For::Any, |w| {
        runs(w, "clock", &[], 0, "monotonic: true\nwall: true\nrandom: true\n")
    }),
    ("clocks_and_random_numbers_are_there_p2", For::Any, |w| {
        runs(w, "clock-p2", &[], 0, "monotonic: true\nwall: true\nrandom: true\n")
    }),
    ("files_are_written_listed_and_read_on_a_mount", For::Any, |w| files(w, "files")),
    ("files_are_written_listed_and_read_on_a_mount_p2", For::Any, |w| files(w, "files-p2")),
    ("a_link_out_of_a_mount_is_refused", For::Wherry, |w| link_out(w, "files")),
    ("a_link_out_of_a_mount_is_refused_p2", For::Wherry, |w| link_out(w, "files-p2")),
    ("exit_codes_come_through", For::Any, |w| exit_codes(w, "exit")),
    // The exit codes of `wasi:cli/exit` are 0 and 1 until 0.2.12, and Rust's std asks for no more.
    ("exit_code_0_comes_through_p2", For::Any, |w| runs(w, "exit-p2", &["0"], 0, "")),
    ("exit_code_1_comes_through_p2", For::Any, |w| runs(w, "exit-p2", &["1"], 1, "")),
    ("a_trap_ends_with_134_and_says_where", For::Wherry, |w| trap(w, "trap")),
    ("a_trap_ends_with_134_and_says_where_p2", For::Wherry, |w| trap(w, "trap-p2")),
    ("a_panic_says_its_message", For::Wherry, panics),
    ("a_refused_growth_of_memory_is_an_answer", For::Wherry, |w| {
        let taking = w.guest("oom")?.args(&["gently"]).memory(64 << 20);
        is(taking.run(&w.containerd)?, 3, "taking\nrefused\n", "")
    }),
    ("a_function_is_called_by_name", For::Wherry, functions),
];

pub(crate) fn is(output: Output, code: i32, stdout: &str, stderr: &str) -> Result<()> {
    let expected = Output { code, stdout: stdout.to_string(), stderr: stderr.to_string() };
    ensure!(output == expected, "got {output}\nexpected {expected}");
    Ok(())
}

/// With nothing on stderr.
fn runs(world: &World, guest: &str, args: &[&str], code: i32, stdout: &str) -> Result<()> {
    is(world.guest(guest)?.args(args).run(&world.containerd)?, code, stdout, "")
}

fn arguments(world: &World, guest: &str) -> Result<()> {
    let args = ["", "two words", "--flag=ü", "\"quoted\"", "$HOME", "new\nline"];
    let expected = "1 \"\"\n2 \"two words\"\n3 \"--flag=ü\"\n4 \"\\\"quoted\\\"\"\n5 \"$HOME\"\n6 \"new\\nline\"\n";
    runs(world, guest, &args, 0, expected)
}

fn environment(world: &World, guest: &str) -> Result<()> {
    let done = world
        .guest(guest)?
        .env("DATABASE_URL=postgres://localhost/mydb")
        .env("EMPTY=")
        .env("WITH=equals=signs and spaces")
        .run(&world.containerd)?;
    is(
        done,
        0,
        "DB: postgres://localhost/mydb\nLog Level: info\nDATABASE_URL = postgres://localhost/mydb\nEMPTY = \n\
         PATH = /bin:/\nWITH = equals=signs and spaces\n",
        "",
    )
}

fn json(world: &World, guest: &str) -> Result<()> {
    let input = r#"{"name":"WASI","version":2,"active":true}"#;
    let done = world.guest(guest)?.stdin(input).run(&world.containerd)?;
    is(done, 0, "{\n  \"active\": true,\n  \"name\": \"WASI\",\n  \"version\": 2\n}\n", "")
}

fn files(world: &World, guest: &str) -> Result<()> {
    let data = world.folder(&format!("data-{guest}"))?;
    fs::write(data.join("input.txt"), "Hello from host\n")?;
    let words = [
        "write",
        "/data/output.txt",
        "Written from WASI!",
        "make",
        "/data/new",
        "list",
        "/data",
        "read",
        "/data/input.txt",
        "read",
        "/data/output.txt",
        "remove",
        "/data/input.txt",
        "list",
        "/data",
    ];
    let done = world.guest(guest)?.args(&words).bind(&data, "/data", &["rw"]);
    is(
        done.run(&world.containerd)?,
        0,
        "input.txt new output.txt\nHello from host\nWritten from WASI!\nnew output.txt\n",
        "",
    )?;
    ensure!(fs::read_to_string(data.join("output.txt"))? == "Written from WASI!\n");
    Ok(())
}

fn link_out(world: &World, guest: &str) -> Result<()> {
    let data = world.folder(&format!("links-{guest}"))?;
    let secret = world.folder(&format!("secret-{guest}"))?;
    fs::write(secret.join("key"), "secret\n")?;
    symlink("/etc/passwd", data.join("absolute"))?;
    symlink("../etc/passwd", data.join("relative"))?;
    symlink(&secret, data.join("folder"))?;
    for path in ["/data/absolute", "/data/relative", "/data/folder/key"] {
        let container = Container::of(&world.image(guest)?).args(&["read", path]);
        let done = container.bind(&data, "/data", &["rw"]).run(&world.containerd)?;
        ensure!(done.code == 1, "{path}: {done}");
        ensure!(done.stdout.starts_with(&format!("read {path}: refused (")), "{path}: {done}");
    }
    Ok(())
}

fn exit_codes(world: &World, guest: &str) -> Result<()> {
    for code in [0, 1, 42, 255] {
        runs(world, guest, &[&code.to_string()], code, "")?;
    }
    Ok(())
}

fn trap(world: &World, guest: &str) -> Result<()> {
    // As the kubelet mounts it, for what `kubectl describe` then says.
    let log = world.folder(&format!("reason-of-{guest}"))?.join("termination-log");
    fs::write(&log, "")?;
    let container = world.guest(guest)?.bind(&log, "/dev/termination-log", &["rw"]);
    let done = container.run(&world.containerd)?;
    ensure!(done.code == 134 && done.stdout == "before the trap\n", "{done}");
    let reason = fs::read_to_string(&log)?;
    for words in ["unreachable", "trap::fall"] {
        ensure!(done.stderr.contains(words), "stderr should hold {words:?}: {done}");
        ensure!(reason.contains(words), "the termination log should hold {words:?}: {reason:?}");
    }
    Ok(())
}

fn panics(world: &World) -> Result<()> {
    for guest in ["panic", "panic-p2"] {
        let done = world.guest(guest)?.run(&world.containerd)?;
        ensure!(done.code == 134 && done.stdout == "before the panic\n", "{done}");
        ensure!(done.stderr.contains("all is lost"), "{done}");
    }
    Ok(())
}

/// `path#export` with arguments and results as WAVE.
fn functions(world: &World) -> Result<()> {
    // A result that is an error is a failure, as it is of a command's `run`.
    let cases: &[(&str, &str, &[&str], i32, &str)] = &[
        ("greet", "/greet.wasm#greet", &["\"Wherry\""], 0, "\"Hello, Wherry!\"\n"),
        ("greet", "/greet.wasm#hello", &[], 0, "\"Hello from WASI Component!\"\n"),
        ("greet", "/greet.wasm#add", &["40", "2"], 0, "42\n"),
        ("greet", "/greet.wasm#divide", &["1", "4"], 0, "ok(0.25)\n"),
        ("greet", "/greet.wasm#divide", &["1", "0"], 1, "err(\"division by zero\")\n"),
        ("greet", "/greet.wasm#sum", &["[1, 2, 39]"], 0, "42\n"),
        ("greet", "/greet.wasm#mirror", &["{x: 1, y: 2}"], 0, "{x: 2, y: 1}\n"),
        ("add-wat", "/add.wat#add", &["40", "2"], 0, "42\n"),
    ];
    for (guest, program, args, code, stdout) in cases {
        let mut words = vec![program.to_string()];
        words.extend(args.iter().map(|word| word.to_string()));
        let container = world.guest(guest)?;
        let container = container.edit(move |spec| spec["process"]["args"] = words.into());
        is(container.run(&world.containerd)?, *code, stdout, "")
            .map_err(|e| e.context(*program))?;
    }
    Ok(())
}
