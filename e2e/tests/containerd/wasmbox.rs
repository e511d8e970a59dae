//! `wasmbox`, the shell and tools of Wasm containers, where it runs: in a container. The control
//! runs busybox, which says what is expected.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Result, ensure};
use serde_json::json;
use wherry_e2e::command::Output;
use wherry_e2e::suite::{Case, For, World};
use wherry_e2e::task::{Container, RUN};
use wherry_e2e::{http, rig};

use crate::examples::is;

pub(crate) const CASES: &[Case] = &[
    ("wasmbox_command_lines_do_what_they_do_in_busybox", For::Any, command_lines),
    ("wasmbox_is_what_it_is_called", For::Any, names),
    ("wasmbox_says_that_it_has_no_such_applet", For::Wherry, no_applet),
    ("wasmbox_moves_between_volumes", For::Any, moves),
    ("wasmbox_exit_codes_come_through", For::Any, exit_codes),
    ("wasmbox_begins_in_the_working_directory", For::Any, working_directory),
    ("wasmbox_environment_is_in_its_order", For::Any, environment),
    ("wasmbox_copies_stdin_to_its_end", For::Any, stdin),
    ("wasmbox_script_shares_stdin_with_its_commands", For::Any, script),
    ("wasmbox_a_gigabyte_goes_through_a_pipeline_in_little_memory", For::Any, gigabyte),
    ("wasmbox_packs_for_kubectl_cp", For::Any, packs),
    ("wasmbox_unpacks_for_kubectl_cp", For::Any, unpacks),
    ("wasmbox_wget_fetches", For::Any, wget),
    ("wasmbox_wget_ends_with_1_where_there_is_nothing", For::Any, wget_fails),
    // Debian's busybox has no `nc -z`.
    ("wasmbox_nc_finds_open_ports", For::Wherry, ports),
    ("wasmbox_httpd_serves_files", For::Any, httpd),
    ("wasmbox_sleeps_until_it_is_killed", For::Any, sleeps),
    ("wasmbox_refuses_what_a_guest_cannot_do", For::Wherry, refusals),
];

/// Every block of the file: once here, in busybox on this machine, once in a container.
fn command_lines(world: &World) -> Result<()> {
    let file = include_str!("../../../shim/wasmbox/tests/lines.txt");
    let blocks = file.split("\n\n").map(|block| block.trim_end_matches('\n'));
    let lines: Vec<&str> =
        blocks.filter(|block| !block.is_empty() && !block.starts_with("# ")).collect();
    ensure!(lines.len() >= 150, "{} command lines", lines.len());
    let applets = world.folder("busybox-links")?;
    let busybox = rig::busybox()?;
    let list = Command::new(&busybox).arg("--list").output()?.stdout;
    for name in String::from_utf8(list)?.lines() {
        std::os::unix::fs::symlink(&busybox, applets.join(name))?;
    }
    let mut different = Vec::new();
    for (i, line) in lines.iter().enumerate() {
        let expected = busybox_here(&busybox, &applets, line)?;
        let work = world.folder(&format!("lines-{i}"))?;
        let container = world.tool(&["sh", "-c", line])?.env("HOME=/home/somebody");
        let container = container
            .bind(&work, "/work", &["rw"])
            .edit(|spec| spec["process"]["cwd"] = json!("/work"));
        let done = container.run(&world.containerd)?;
        if (done.code, &done.stdout) != (expected.0, &expected.1) {
            different.push(format!("{line}\n  expected {expected:?}\n  got {done}"));
        }
    }
    ensure!(
        different.is_empty(),
        "{} of {} differ:\n{}",
        different.len(),
        lines.len(),
        different.join("\n")
    );
    Ok(())
}

fn busybox_here(busybox: &Path, applets: &Path, line: &str) -> Result<(i32, String)> {
    let folder = tempfile::tempdir()?;
    let output = Command::new(busybox)
        .args(["sh", "-c", line])
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", applets)
        .env("HOME", "/home/somebody")
        .stdin(Stdio::null())
        .output()?;
    Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stdout).into_owned()))
}

fn runs(container: Container, world: &World, stdout: &str) -> Result<()> {
    is(container.run(&world.containerd)?, 0, stdout, "")
}

fn names(world: &World) -> Result<()> {
    runs(world.tool(&["echo", "by", "name"])?, world, "by name\n")?;
    runs(world.tool(&["/bin/echo", "by", "path"])?, world, "by path\n")?;
    let own = if world.runtime() == rig::Runtime::Wherry { "wasmbox" } else { "busybox" };
    runs(world.tool(&[own, "echo", "by", "argument"])?, world, "by argument\n")?;
    runs(
        world.tool(&["sh", "-c", "/bin/echo from a shell; /bin/sh -c 'echo and its shell'"])?,
        world,
        "from a shell\nand its shell\n",
    )
}

fn no_applet(world: &World) -> Result<()> {
    let done = world.tool(&["wasmbox", "nosuch"])?.run(&world.containerd)?;
    ensure!(done.code == 127 && done.stderr.contains("nosuch: applet not found"), "{done}");
    let done = world.tool(&["sh", "-c", "nosuch; echo $?; /bin/nosuch"])?.run(&world.containerd)?;
    is(done, 127, "127\n", "sh: nosuch: not found\nsh: /bin/nosuch: not found\n")
}

fn exit_codes(world: &World) -> Result<()> {
    for code in [0, 1, 3, 42, 127, 255] {
        let done = world.tool(&["sh", "-c", &format!("exit {code}")])?.run(&world.containerd)?;
        is(done, code, "", "")?;
    }
    is(world.tool(&["false"])?.run(&world.containerd)?, 1, "", "")
}

fn working_directory(world: &World) -> Result<()> {
    let at =
        |cwd: &'static str| move |spec: &mut serde_json::Value| spec["process"]["cwd"] = json!(cwd);
    runs(world.tool(&["pwd"])?.edit(at("/etc")), world, "/etc\n")?;
    runs(world.tool(&["ls", "passwd"])?.edit(at("/etc")), world, "passwd\n")?;
    runs(
        world.tool(&["sh", "-c", "pwd; cd ..; pwd; cat etc/group"])?.edit(at("/etc")),
        world,
        "/etc\n/\nroot:x:0:\n",
    )
}

fn environment(world: &World) -> Result<()> {
    // With a home of its own: runc adds one.
    let container = world.tool(&["env"])?.env("ZEBRA=1").env("HOME=/").env("APPLE=two words");
    runs(container.env("EMPTY="), world, "PATH=/bin\nZEBRA=1\nHOME=/\nAPPLE=two words\nEMPTY=\n")
}

fn stdin(world: &World) -> Result<()> {
    let text = "0123456789abcde\n".repeat(256 * 1024);
    let done = world.tool(&["cat"])?.stdin(&text).run(&world.containerd)?;
    ensure!(
        done.code == 0 && done.stdout == text,
        "code {}, {} bytes",
        done.code,
        done.stdout.len()
    );
    runs(world.tool(&["cat"])?, world, "")
}

fn script(world: &World) -> Result<()> {
    let text = "x=5\nread line\nfor the command\necho $x \"$line\"\nexec cat\nthe rest\nis data\n";
    // busybox reads ahead in a pipe, so `read` and `cat` find nothing there.
    if world.runtime() == rig::Runtime::Runc {
        return Ok(());
    }
    runs(world.tool(&["sh"])?.stdin(text), world, "5 for the command\nthe rest\nis data\n")
}

fn gigabyte(world: &World) -> Result<()> {
    let line = "dd if=/dev/zero bs=1M count=1024 2>/dev/null | cat | wc -c";
    runs(world.tool(&["sh", "-c", line])?.memory(64 << 20), world, "1073741824\n")
}

/// `kubectl cp pod:/data .` runs `tar cf - /data` and reads what it prints.
fn packs(world: &World) -> Result<()> {
    let data = world.folder("packs")?;
    fs::create_dir_all(data.join("sub/empty"))?;
    fs::write(data.join("sub/numbers"), "0123456789".repeat(100_000))?;
    fs::write(data.join("ü name with spaces"), "text\n")?;
    std::os::unix::fs::symlink("sub/numbers", data.join("link"))?;
    let out = world.folder("packed")?;
    let container = world.tool(&["sh", "-c", "tar cf - /data > /out/archive.tar"])?;
    let done = container
        .bind(&data, "/data", &["ro"])
        .bind(&out, "/out", &["rw"])
        .run(&world.containerd)?;
    ensure!(done.code == 0, "{done}");
    let mut seen = Vec::new();
    for entry in tar::Archive::new(fs::File::open(out.join("archive.tar"))?).entries()? {
        let mut entry = entry?;
        let mut content = String::new();
        entry.read_to_string(&mut content)?;
        let link =
            entry.link_name()?.map(|link| format!(" -> {}", link.display())).unwrap_or_default();
        seen.push(format!("{}{link} {}", entry.path()?.display(), content.len()));
    }
    seen.sort();
    let expected = [
        "data/ 0",
        "data/link -> sub/numbers 0",
        "data/sub/ 0",
        "data/sub/empty/ 0",
        "data/sub/numbers 1000000",
        "data/ü name with spaces 5",
    ];
    ensure!(seen == expected, "{seen:?}");
    Ok(())
}

/// `kubectl cp . pod:/data` runs `tar -xmf - -C /data`, and with `--no-preserve` two options more.
fn unpacks(world: &World) -> Result<()> {
    let mut builder = tar::Builder::new(Vec::new());
    let long = format!("{}/{}", "folder".repeat(20), "name".repeat(30));
    for (path, content) in [("a/b/file", "content\n"), (&long, "deep\n"), ("./dotted", "dots\n")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_000_000_000);
        builder.append_data(&mut header, path, content.as_bytes())?;
    }
    let archive = String::from_utf8(builder.into_inner()?)?;
    for (i, words) in [
        &["tar", "-xmf", "-", "-C", "/data"][..],
        &["tar", "xmf", "-", "-C", "/data"],
        &["tar", "--no-same-permissions", "--no-same-owner", "-xmf", "-", "-C", "/data"],
    ]
    .iter()
    .enumerate()
    {
        // busybox has no long form of the first.
        if i == 2 && world.runtime() == rig::Runtime::Runc {
            continue;
        }
        let data = world.folder(&format!("unpacks-{i}"))?;
        let container = world.tool(words)?.stdin(&archive).bind(&data, "/data", &["rw"]);
        is(container.run(&world.containerd)?, 0, "", "")?;
        ensure!(fs::read_to_string(data.join("a/b/file"))? == "content\n");
        ensure!(fs::read_to_string(data.join(&long))? == "deep\n");
        ensure!(fs::read_to_string(data.join("dotted"))? == "dots\n");
        ensure!(
            fs::metadata(data.join("a/b/file"))?.modified()?.elapsed()? < Duration::from_secs(3600),
            "-m"
        );
    }
    Ok(())
}

/// Answers so many connections with this, and ends.
fn answering(
    answers: Vec<&'static str>,
) -> Result<(std::net::SocketAddr, thread::JoinHandle<std::io::Result<String>>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let at = listener.local_addr()?;
    let server = thread::spawn(move || {
        let mut heard = String::new();
        for answer in answers {
            let (mut stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(RUN))?;
            let mut request = Vec::new();
            let mut piece = [0; 1024];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut piece)? {
                    0 => break,
                    length => request.extend_from_slice(&piece[..length]),
                }
            }
            heard.push_str(&String::from_utf8_lossy(&request));
            stream.write_all(answer.as_bytes())?;
        }
        Ok(heard)
    });
    Ok((at, server))
}

fn wget(world: &World) -> Result<()> {
    let (at, server) = answering(vec![
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n",
        "HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n6\r\nthere\n\r\n0\r\n\r\n",
    ])?;
    let line = format!("wget -q -O - http://{at}/path?query && wget -q -O - http://{at}/");
    runs(world.tool(&["sh", "-c", &line])?.host_network(), world, "hello\nthere\n")?;
    let heard = server.join().expect("the server does not panic")?;
    ensure!(
        heard.starts_with("GET /path?query HTTP/1.1\r\n")
            && heard.contains(&format!("Host: {at}\r\n")),
        "{heard}"
    );
    ensure!(heard.contains("GET /there HTTP/1.1\r\n"), "{heard}");
    Ok(())
}

fn wget_fails(world: &World) -> Result<()> {
    let (at, server) = answering(vec!["HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"])?;
    let done = world
        .tool(&["wget", "-q", "-O", "-", &format!("http://{at}/")])?
        .host_network()
        .run(&world.containerd)?;
    ensure!(done.code == 1 && done.stderr.contains("404 Not Found"), "{done}");
    server.join().expect("the server does not panic")?;
    let done = world
        .tool(&["wget", "-q", "-O", "-", "http://127.0.0.1:1/"])?
        .host_network()
        .run(&world.containerd)?;
    ensure!(done.code == 1 && done.stderr.contains("Connection refused"), "{done}");
    let done = world
        .tool(&["wget", "-q", "-O", "-", "http://no.such.name.invalid/"])?
        .run(&world.containerd)?;
    ensure!(done.code == 1 && done.stderr.contains("bad address"), "{done}");
    Ok(())
}

fn ports(world: &World) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let open = listener.local_addr()?.port();
    // Nobody listens on the first port.
    let closed = 1;
    let line =
        format!("nc -z -w 5 127.0.0.1 {open}; echo $?; nc -z -w 5 127.0.0.1 {closed}; echo $?");
    runs(world.tool(&["sh", "-c", &line])?.host_network(), world, "0\n1\n")
}

fn httpd(world: &World) -> Result<()> {
    let www = world.folder("www")?;
    fs::write(www.join("index.html"), "<p>home</p>\n")?;
    fs::create_dir_all(www.join("sub"))?;
    fs::write(www.join("sub/a b.txt"), "text\n")?;
    let at = http::free_address()?;
    let container = world.tool(&["httpd", "-f", "-p", &at.to_string(), "-h", "/www"])?;
    let mut task =
        container.bind(&www, "/www", &["ro"]).host_network().create(&world.containerd)?;
    task.start()?;
    http::listening(at)?;
    ensure!(http::get(at, "/")? == (200, "<p>home</p>\n".to_string()));
    ensure!(http::get(at, "/sub/a%20b.txt")? == (200, "text\n".to_string()));
    ensure!(http::get(at, "/nosuch")?.0 == 404);
    ensure!(http::get(at, "/../etc/passwd")?.0 >= 400);
    task.kill(9)?;
    ensure!(task.wait(RUN)? == 137);
    task.delete()?;
    Ok(())
}

fn sleeps(world: &World) -> Result<()> {
    let mut task =
        world.tool(&["sh", "-c", "echo begun; sleep inf && exit 0"])?.create(&world.containerd)?;
    task.start()?;
    task.says("begun\n")?;
    task.kill(9)?;
    ensure!(task.wait(RUN)? == 137);
    task.delete()?;
    Ok(())
}

fn moves(world: &World) -> Result<()> {
    let line = "cd /dev/shm; echo 1 > a; mkdir -p d/e; echo 2 > d/e/f; mv a /tmp/b && mv d /tmp && \
                cat /tmp/b /tmp/d/e/f; ls /dev/shm; mv /tmp/none /dev/shm 2>/dev/null || echo none";
    is(world.tool(&["sh", "-c", line])?.run(&world.containerd)?, 0, "1\n2\nnone\n", "")
}

fn refusals(world: &World) -> Result<()> {
    let cases: &[(&str, i32, &str)] = &[
        (
            "sleep 1 & echo never",
            2,
            "a job cannot run in the background (&): a WebAssembly guest has no processes",
        ),
        ("kill -9 4711", 1, "a WebAssembly guest can send no signals"),
        ("chmod 600 /etc/passwd", 1, "WASI knows neither modes nor owners of files"),
        ("ping 127.0.0.1", 1, "WASI has no raw sockets"),
        ("mount /a /b", 1, "a WebAssembly guest cannot mount"),
        ("ln -s /etc/passwd /tmp/link", 1, "WASI makes no link to an absolute path"),
        ("wget https://127.0.0.1/", 1, "https is not built in"),
        (
            "cp /bin/wasmbox /tmp/other.wasm; /tmp/other.wasm",
            126,
            "a WebAssembly guest cannot start another one",
        ),
    ];
    for (line, code, sentence) in cases {
        let done: Output = world.tool(&["sh", "-c", line])?.run(&world.containerd)?;
        ensure!(done.code == *code && done.stderr.contains(sentence), "{line}: {done}");
    }
    Ok(())
}
