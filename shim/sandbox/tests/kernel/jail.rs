//! What the compiler finds in its jail.

use std::process::{Command, Stdio};

use expect_test::expect;

#[test]
fn the_compiler_has_three_streams_memory_and_threads() {
    let ran = Command::new(env!("CARGO_BIN_EXE_wherry-sandbox-probe"))
        .arg("jail")
        .args([
            "mmap",
            "threads",
            "open /",
            "open /etc/passwd",
            "open /proc/self/mem",
            "create /tmp/x",
        ])
        .args([
            "socket",
            "fork",
            "run /bin/true",
            "unshare-user",
            "ptrace",
            "id",
            "allocate",
            "write /dev/stdout",
        ])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    expect![[r#"
        mmap: done
        threads: true
        open /: permission denied
        open /etc/passwd: permission denied
        open /proc/self/mem: permission denied
        create /tmp/x: permission denied
        socket: EPERM
        fork: EPERM
        run /bin/true: permission denied
        unshare-user: EPERM
        ptrace: EPERM
        id: 65534 65534 65534 65534 []
        allocate: out of memory
        write /dev/stdout: permission denied
    "#]]
    .assert_eq(&String::from_utf8(ran.stdout).unwrap());
}
