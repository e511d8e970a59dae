//! The listing as people read it: a line for each process, a pod's lines together.

use std::fmt::Write;

use super::{Container, Listing, Module, Process, Role, Shim, State};
use crate::cache::size;

const HEAD: [&str; 9] =
    ["NAMESPACE", "POD", "CONTAINER", "ROLE", "PID", "MEMORY", "THREADS", "AGE", "MODULE"];

type Line = [String; 9];

pub(super) fn text(listing: &Listing, now: u64) -> String {
    if listing.shims.is_empty() {
        return "no container of Wherry runs here\n".into();
    }
    let mut lines: Vec<Line> = vec![HEAD.map(str::to_owned)];
    let mut total = 0;
    for shim in &listing.shims {
        let of_shim = lines_of(shim, now);
        lines.extend(of_shim);
        total += shim.process.memory_bytes.unwrap_or(0);
        for container in &shim.containers {
            let execs = container.execs.iter().map(|exec| &exec.process);
            // A native container's processes are counted with it.
            let execs = execs.filter(|_| container.role != Role::Native);
            let processes = container.process.iter().chain(execs);
            total += processes.filter_map(|process| process.memory_bytes).sum::<u64>();
        }
    }
    let mut text = aligned(&lines);
    let (shims, containers) = (
        listing.shims.len(),
        listing.shims.iter().map(|shim| shim.containers.len()).sum::<usize>(),
    );
    let _ = writeln!(
        text,
        "{}, {}, {}",
        count(shims, "shim"),
        count(containers, "container"),
        size(total)
    );
    text
}

fn lines_of(shim: &Shim, now: u64) -> Vec<Line> {
    let pod = shim.containers.iter().find_map(|container| container.pod.as_ref());
    let pod = pod.map_or_else(|| "-".to_owned(), |pod| format!("{}/{}", pod.namespace, pod.name));
    let line = |container: &str, role: &str, process: Option<&Process>, module: Option<&Module>| {
        let told = |text: fn(&Process, u64) -> String| process.map_or("-".into(), |p| text(p, now));
        [
            shim.namespace.clone(),
            pod.clone(),
            container.to_owned(),
            role.to_owned(),
            told(|process, _| process.pid.to_string()),
            told(|process, _| process.memory_bytes.map_or("-".into(), size)),
            told(|process, _| process.threads.to_string()),
            told(|process, now| age(now.saturating_sub(process.started))),
            module.map_or("-".into(), short),
        ]
    };
    let role = if shim.replaced { "shim (replaced)" } else { "shim" };
    let mut lines = vec![line(&name(&shim.id), role, Some(&shim.process), None)];
    for container in &shim.containers {
        let called = container.name.clone().unwrap_or_else(|| name(&container.id));
        let role = role_of(container);
        lines.push(line(&called, &role, container.process.as_ref(), container.module.as_ref()));
        for exec in &container.execs {
            lines.push(line(&called, "exec", Some(&exec.process), exec.module.as_ref()));
        }
    }
    lines
}

fn role_of(container: &Container) -> String {
    let role = match container.role {
        Role::Sandbox => "sandbox",
        Role::Command => "command",
        Role::Service => "service",
        Role::Guest => "guest",
        Role::Native => "native",
    };
    match (container.state, container.exit_code) {
        (State::Alive, _) => role.into(),
        (State::Creating, _) => format!("{role} (creating)"),
        (State::Stopped, Some(code)) => format!("{role} (ended {code})"),
        (State::Stopped, None) => format!("{role} (ended)"),
    }
}

/// Ids of CRI and Docker are 64 hexadecimal digits, of which everybody shows a few.
fn name(id: &str) -> String {
    let is_hash = id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hash { id[..12].into() } else { id.into() }
}

fn short(module: &Module) -> String {
    let digest = module.digest.trim_start_matches("sha256:");
    format!("{} ×{}", digest.get(..12).unwrap_or(digest), module.instances)
}

/// In the two largest units, as `kubectl get` tells it.
fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{}s", seconds % 60),
        3600..86_400 => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Each column as wide as its longest word.
fn aligned(lines: &[Line]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
    let widths: Vec<usize> = (0..HEAD.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for line in lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::{Exec, Pod};
    use super::*;

    const NOW: u64 = 1_000_000;

    fn process(pid: u32, kib: u64, threads: u64, age: u64) -> Process {
        Process { pid, memory_bytes: Some(kib << 10), threads, started: NOW - age }
    }

    fn module(digit: &str, instances: usize) -> Module {
        let digest = format!("sha256:{}", digit.repeat(64));
        Module { digest, engine: "e".into(), instances }
    }

    fn container(role: Role, name: Option<&str>, process: Option<Process>) -> Container {
        Container {
            id: "c".repeat(64),
            role,
            state: if process.is_some() { State::Alive } else { State::Creating },
            exit_code: None,
            pod: None,
            name: name.map(str::to_owned),
            image: None,
            args: Vec::new(),
            process,
            module: None,
            execs: Vec::new(),
        }
    }

    fn shim(namespace: &str, id: &str, containers: Vec<Container>) -> Shim {
        Shim {
            process: process(10, 400, 2, 90_061),
            namespace: namespace.into(),
            id: id.into(),
            containerd: "/run/containerd/containerd.sock".into(),
            program: "/usr/local/bin/containerd-shim-wherry-v1".into(),
            replaced: false,
            containers,
        }
    }

    #[test]
    fn a_pod_is_a_block_of_lines() {
        let mut sandbox = container(Role::Sandbox, None, Some(process(11, 90, 1, 90_060)));
        sandbox.pod =
            Some(Pod { name: "web-1".into(), namespace: "default".into(), uid: "u".into() });
        let mut web = container(Role::Service, Some("web"), Some(process(12, 1900, 3, 3725)));
        web.module = Some(module("8", 2));
        web.execs.push(Exec { process: process(14, 1000, 1, 5), module: Some(module("1", 1)) });
        let mut sidecar = container(Role::Native, Some("proxy"), Some(process(13, 9000, 1, 61)));
        sidecar.execs.push(Exec { process: process(15, 500, 1, 5), module: None });
        let mut ended = container(Role::Guest, Some("job"), None);
        (ended.state, ended.exit_code) = (State::Stopped, Some(3));
        let creating = container(Role::Guest, Some("next"), None);
        let pod = shim("k8s.io", &"a".repeat(64), vec![sandbox, web, sidecar, ended, creating]);
        let mut alone = shim("default", "c1", vec![]);
        alone.replaced = true;
        let listing = Listing { shims: vec![alone, pod] };
        expect![[r#"
            NAMESPACE  POD            CONTAINER     ROLE              PID  MEMORY      THREADS  AGE   MODULE
            default    -              c1            shim (replaced)   10   400.0 KiB   2        1d1h  -
            k8s.io     default/web-1  aaaaaaaaaaaa  shim              10   400.0 KiB   2        1d1h  -
            k8s.io     default/web-1  cccccccccccc  sandbox           11   90.0 KiB    1        1d1h  -
            k8s.io     default/web-1  web           service           12   1.9 MiB     3        1h2m  888888888888 ×2
            k8s.io     default/web-1  web           exec              14   1000.0 KiB  1        5s    111111111111 ×1
            k8s.io     default/web-1  proxy         native            13   8.8 MiB     1        1m1s  -
            k8s.io     default/web-1  proxy         exec              15   500.0 KiB   1        5s    -
            k8s.io     default/web-1  job           guest (ended 3)   -    -           -        -     -
            k8s.io     default/web-1  next          guest (creating)  -    -           -        -     -
            2 shims, 5 containers, 12.5 MiB
        "#]]
        .assert_eq(&text(&listing, NOW));
    }

    #[test]
    fn nothing_is_told_too() {
        expect![[r#"
            no container of Wherry runs here
        "#]]
        .assert_eq(&text(&Listing { shims: Vec::new() }, NOW));
    }

    #[test]
    fn the_json_keeps_its_fields() {
        let mut web = container(Role::Service, Some("web"), Some(process(12, 1, 3, 5)));
        web.module = Some(module("8", 2));
        let listing = Listing { shims: vec![shim("k8s.io", "a", vec![web])] };
        expect![[r#"
            {
              "shims": [
                {
                  "pid": 10,
                  "memory_bytes": 409600,
                  "threads": 2,
                  "started": 909939,
                  "namespace": "k8s.io",
                  "id": "a",
                  "containerd": "/run/containerd/containerd.sock",
                  "program": "/usr/local/bin/containerd-shim-wherry-v1",
                  "replaced": false,
                  "containers": [
                    {
                      "id": "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc",
                      "role": "service",
                      "state": "alive",
                      "name": "web",
                      "args": [],
                      "pid": 12,
                      "memory_bytes": 1024,
                      "threads": 3,
                      "started": 999995,
                      "module": {
                        "digest": "sha256:8888888888888888888888888888888888888888888888888888888888888888",
                        "engine": "e",
                        "instances": 2
                      },
                      "execs": []
                    }
                  ]
                }
              ]
            }"#]].assert_eq(&serde_json::to_string_pretty(&listing).expect("JSON"));
    }
}
