//! A guest that does what its arguments say and prints what came of it, one line for each.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::process::Command;

use wherry_sandbox::wire::{Channel, ToGuest, ToShim};

fn main() {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() == Some("jail") {
        let limits =
            wherry_sandbox::jail::Limits { memory: 1 << 30, cpu_seconds: 10, output: 1 << 20 };
        wherry_sandbox::jail::enter(&limits).expect("the jail");
        args.for_each(|line| println!("{line}: {}", perform(&line)));
        return;
    }
    let mut channel = Channel::inherited().expect("the wire");
    let (mut setup, mut fds) = channel.receive_setup().expect("a setup");
    fds.install_streams().expect("streams");
    let sources = std::mem::take(&mut fds.sources);
    drop(fds);
    let (before, cpu_before) = (std::time::Instant::now(), cpu());
    let entered = wherry_sandbox::enter(&mut setup, sources, &mut channel);
    let (took, cpu_took) = (before.elapsed().as_micros(), cpu() - cpu_before);
    let sealed = entered.and_then(|mut entered| {
        for line in setup.run.args.iter().filter_map(|a| a.strip_prefix("unsealed ")) {
            println!("{line}: {}", perform(line));
        }
        entered.seal().map(|()| entered)
    });
    let entered = match sealed {
        Ok(entered) => entered,
        Err(error) => {
            let message = error.sentence();
            channel.send(&ToShim::Refused { message }, &[]).expect("a shim");
            return;
        }
    };
    channel.send(&ToShim::Ready, &[]).expect("a shim");
    match channel.receive().expect("a shim") {
        Some(ToGuest::Start) => {}
        _ => return,
    }
    if let Err(error) = entered.start() {
        println!("start: {}", error.sentence());
    }
    for line in setup.run.args.iter().filter(|a| !a.starts_with("unsealed ")) {
        match line.as_str() {
            "took" => println!("{took} {cpu_took}"),
            "preopens" => println!("{:?}", setup.run.preopens),
            line => println!("{line}: {}", perform(line)),
        }
    }
}

/// Microseconds of processor that this thread has used.
fn cpu() -> i64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec * 1_000_000 + time.tv_nsec / 1000
}

fn perform(line: &str) -> String {
    let mut words = line.split(' ');
    let (what, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let done = match what {
        "cat" => fs::read_to_string(path).map(|t| t.trim().replace('\n', "|").replace('\0', "^")),
        "ls" => names(path),
        "write" => fs::OpenOptions::new().write(true).open(path).and_then(|mut f| {
            std::io::Write::write_all(&mut f, b"x").map(|()| "written".to_owned())
        }),
        "create" => fs::write(path, "x").map(|()| "created".to_owned()),
        "move" => fs::rename(path, "/tmp/moved").map(|()| "moved".to_owned()),
        "open" => fs::File::open(path).map(|_| "opened".to_owned()),
        "open-rw" => {
            fs::OpenOptions::new().read(true).write(true).open(path).map(|_| "opened".into())
        }
        "stat" => fs::symlink_metadata(path).map(|m| stat(path, &m)),
        "cwd" => std::env::current_dir().map(|d| d.display().to_string()),
        "id" => Ok(id()),
        "allocate" => Vec::<u8>::new()
            .try_reserve_exact(2 << 30)
            .map(|()| "enough".into())
            .map_err(|_| std::io::ErrorKind::OutOfMemory.into()),
        "limit" => Ok(limit()),
        "hostname" => fs::read_to_string("/proc/sys/kernel/hostname").map(|t| t.trim().into()),
        "threads" => std::thread::Builder::new()
            .spawn(|| rustix::thread::gettid().as_raw_nonzero().get())
            .map(|t| format!("{}", t.join().is_ok())),
        "thread-mem" => thread_mem(path),
        "run" => Command::new(path).output().map(|o| o.status.to_string()),
        call => attempt(call),
    };
    done.unwrap_or_else(|e| e.kind().to_string())
}

fn names(path: &str) -> std::io::Result<String> {
    let mut names: Vec<String> = fs::read_dir(path)?
        .map(|e| e.map(|e| e.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()?;
    names.sort();
    Ok(names.join(" "))
}

fn stat(path: &str, m: &fs::Metadata) -> String {
    let kind = match m.file_type() {
        t if t.is_symlink() => {
            let to = fs::read_link(path).map(|t| t.display().to_string()).unwrap_or_default();
            return format!("-> {to}");
        }
        t if t.is_char_device() => "char",
        t if t.is_block_device() => "block",
        t if t.is_fifo() => "fifo",
        t if t.is_dir() => "folder",
        _ => "file",
    };
    let (major, minor) = (rustix::fs::major(m.rdev()), rustix::fs::minor(m.rdev()));
    format!("{kind} {:o} {}:{} {major}:{minor}", m.mode() & 0o7777, m.uid(), m.gid())
}

fn id() -> String {
    use rustix::process::{getegid, geteuid, getgid, getgroups, getuid};
    let groups: Vec<_> = getgroups().unwrap().iter().map(|g| g.as_raw()).collect();
    format!(
        "{} {} {} {} {groups:?}",
        getuid().as_raw(),
        geteuid().as_raw(),
        getgid().as_raw(),
        getegid().as_raw()
    )
}

fn limit() -> String {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    format!("{:?} {:?}", limit.current, limit.maximum)
}

/// Opens the memory of this process by the number of a thread that is no leader.
fn thread_mem(mode: &str) -> std::io::Result<String> {
    let write = mode == "rw";
    let open = move || {
        let tid = rustix::thread::gettid().as_raw_nonzero();
        let path = format!("/proc/{tid}/mem");
        fs::OpenOptions::new().read(true).write(write).open(path).map(|_| "opened".into())
    };
    std::thread::Builder::new().spawn(open)?.join().unwrap_or_else(|_| Ok("panic".into()))
}

/// System calls by name.
fn attempt(call: &str) -> std::io::Result<String> {
    let (page, private) = (4096, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    let (rw, exec) = (libc::PROT_READ | libc::PROT_WRITE, libc::PROT_READ | libc::PROT_EXEC);
    // SAFETY: a program of tests; pages mapped here are used by nobody, and a fork ends at once.
    let result = unsafe {
        match call {
            "mmap" => libc::mmap(std::ptr::null_mut(), page, rw, private, -1, 0) as i64,
            "mmap-exec" => libc::mmap(std::ptr::null_mut(), page, exec, private, -1, 0) as i64,
            "mprotect-exec" => {
                let at = libc::mmap(std::ptr::null_mut(), page, rw, private, -1, 0);
                i64::from(libc::mprotect(at, page, exec))
            }
            "unshare-user" => i64::from(libc::unshare(libc::CLONE_NEWUSER)),
            "fork" => match libc::fork() {
                0 => libc::_exit(0),
                pid => i64::from(pid),
            },
            "ptrace" => libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0),
            "socket" => i64::from(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0)),
            "socket-netlink" => i64::from(libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, 0)),
            "socket-packet" => i64::from(libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)),
            "mknod" => {
                let null = libc::makedev(1, 3);
                i64::from(libc::mknod(c"/tmp/node".as_ptr(), libc::S_IFCHR | 0o666, null))
            }
            "keyctl" => libc::syscall(libc::SYS_keyctl, 0, -3, 1),
            "bpf" => libc::syscall(libc::SYS_bpf, 0, 0, 0),
            "getpriority" => i64::from(libc::getpriority(libc::PRIO_PROCESS, 0)),
            "sched_yield" => i64::from(libc::sched_yield()),
            "uname" => {
                let mut name = std::mem::zeroed();
                i64::from(libc::uname(&raw mut name))
            }
            "personality" => i64::from(libc::personality(0xffff_ffff)),
            "setuid" => i64::from(libc::setuid(0)),
            "io_uring" => libc::syscall(libc::SYS_io_uring_setup, 1, 0),
            _ => return Ok("no such command".into()),
        }
    };
    if result == -1 {
        let error = std::io::Error::last_os_error();
        return Ok(match error.raw_os_error() {
            Some(libc::EPERM) => "EPERM".into(),
            Some(libc::EACCES) => "EACCES".into(),
            Some(libc::ENOSYS) => "ENOSYS".into(),
            _ => error.to_string(),
        });
    }
    Ok("done".into())
}
