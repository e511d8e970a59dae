//! `uname`, `hostname`, `nproc`, `free`, `uptime`, `mount`, `tty`: the system as `/proc` shows it.

use std::fs;

use crate::call::{Call, Failure, Outcome};
use crate::options::Options;

fn kernel(name: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?;
    Some(text.trim_end().to_string())
}

/// The host name of the container, from the kernel or else from the file that runtimes write.
fn host() -> String {
    kernel("hostname")
        .or_else(|| {
            fs::read_to_string("/etc/hostname").ok().map(|text| text.trim_end().to_string())
        })
        .unwrap_or_else(|| "localhost".to_string())
}

pub(super) fn hostname(call: &Call<'_>) -> Outcome {
    let options = Options::parse(call.args, "fsdiIF:", &[])?;
    if let Some(name) = options.operands.first() {
        return Err(Failure::new(format!("can't set the name {name}: WASI lets no guest do that")));
    }
    let name = host();
    let line = match options.last_of("sdi") {
        Some('s') => name.split('.').next().unwrap_or_default().to_string(),
        Some('d') => name.split_once('.').map(|(_, domain)| domain.to_string()).unwrap_or_default(),
        Some('i') => super::nc::addresses(&name)?
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(" "),
        _ => name,
    };
    writeln!(call.out(), "{line}")?;
    Ok(0)
}

const MACHINE: &str = if cfg!(target_family = "wasm") { "wasm32" } else { std::env::consts::ARCH };

pub(super) fn arch(call: &Call<'_>) -> Outcome {
    super::words::say(call, &format!("{MACHINE}\n"))
}

/// The kernel's names, and of the machine the one that programs here are made for.
pub(super) fn uname(call: &Call<'_>) -> Outcome {
    let options = Options::parse(call.args, "asnrvmpio", &[("all", 'a')])?;
    let fields = [
        ('s', kernel("ostype").unwrap_or_else(|| "Linux".to_string())),
        ('n', host()),
        ('r', kernel("osrelease").unwrap_or_else(|| "unknown".to_string())),
        ('v', kernel("version").unwrap_or_else(|| "unknown".to_string())),
        ('m', MACHINE.to_string()),
        ('o', "WASI".to_string()),
    ];
    let wanted: String = call.args.concat();
    let shown: Vec<String> = fields
        .into_iter()
        .filter(|(letter, _)| {
            options.has('a') || options.has(*letter) || (wanted.is_empty() && *letter == 's')
        })
        .map(|(_, value)| value)
        .collect();
    writeln!(call.out(), "{}", shown.join(" "))?;
    Ok(0)
}

pub(super) fn nproc(call: &Call<'_>) -> Outcome {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let count = text.lines().filter(|line| line.starts_with("processor")).count();
    writeln!(call.out(), "{}", count.max(1))?;
    Ok(0)
}

pub(super) fn free(call: &Call<'_>) -> Outcome {
    let options = Options::parse(call.args, "bkmgh", &[])?;
    let text = fs::read_to_string("/proc/meminfo")
        .map_err(|error| Failure::of("/proc/meminfo", &error))?;
    let shift = match options.last_of("bkmg") {
        Some('m') => 20,
        Some('g') => 30,
        Some('b') => 0,
        _ => 10,
    };
    let value = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib =
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0);
        (kib << 10) >> shift
    };
    let cached = value("Buffers") + value("Cached") + value("SReclaimable");
    let used = value("MemTotal").saturating_sub(value("MemFree") + cached);
    let swap = value("SwapTotal").saturating_sub(value("SwapFree"));
    let row = |cells: &[u64]| cells.iter().map(|cell| format!("{cell:>12}")).collect::<String>();
    let memory = row(&[
        value("MemTotal"),
        used,
        value("MemFree"),
        value("Shmem"),
        cached,
        value("MemAvailable"),
    ]);
    let titles: String = ["total", "used", "free", "shared", "buff/cache", "available"]
        .iter()
        .map(|title| format!("{title:>12}"))
        .collect();
    let swap = row(&[value("SwapTotal"), swap, value("SwapFree")]);
    writeln!(call.out(), "     {titles}\nMem: {memory}\nSwap:{swap}")?;
    Ok(0)
}

pub(super) fn uptime(call: &Call<'_>) -> Outcome {
    let text =
        fs::read_to_string("/proc/uptime").map_err(|error| Failure::of("/proc/uptime", &error))?;
    let seconds = text.split('.').next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split_whitespace().take(3).collect();
    let now = super::clock::Moment::of(std::time::SystemTime::now()).format("%T");
    let (days, hours, minutes) = (seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60);
    let days = if days > 0 { format!("{days} days, ") } else { String::new() };
    writeln!(
        call.out(),
        " {now} up {days}{hours:2}:{minutes:02},  load average: {}",
        load.join(", ")
    )?;
    Ok(0)
}

pub(super) fn mount(call: &Call<'_>) -> Outcome {
    if call.args.iter().any(|arg| !arg.starts_with('-')) {
        return Err(Failure::new(
            "a WebAssembly guest cannot mount: name the volume in the container's spec",
        ));
    }
    let text =
        fs::read_to_string("/proc/mounts").map_err(|error| Failure::of("/proc/mounts", &error))?;
    for line in text.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        if let [source, place, kind, options, ..] = fields[..] {
            writeln!(call.out(), "{source} on {place} type {kind} ({options})")?;
        }
    }
    Ok(0)
}

pub(super) fn tty(call: &Call<'_>) -> Outcome {
    let is_terminal = call.streams.terminals()[0];
    if !call.args.iter().any(|arg| arg == "-s") {
        writeln!(call.out(), "{}", if is_terminal { "/dev/console" } else { "not a tty" })?;
    }
    Ok(i32::from(!is_terminal))
}
