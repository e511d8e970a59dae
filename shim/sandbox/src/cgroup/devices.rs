//! Which devices a group may use: rules written to v1 files, or a program attached to a v2 group.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use rustix::fs::{Mode, OFlags};

use crate::Result;
use crate::error::Doing;
use crate::sys::bpf::{self, Instruction};

const FIELD: &str = "linux.resources.devices";

/// Writes the rules to `devices.allow` and `devices.deny`, in order: the kernel keeps the list.
pub(super) fn write_v1(folder: &Path, rules: &[LinuxDeviceCgroup]) -> Result<()> {
    let open = |file: &str| {
        rustix::fs::open(folder.join(file), OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .doing(|| format!("opening {file} of {}", folder.display()))
    };
    let (allow, deny) = (open("devices.allow")?, open("devices.deny")?);
    for rule in rules {
        let (file, line) = (if rule.allow() { &allow } else { &deny }, line(rule));
        rustix::io::write(file, line.as_bytes()).doing(|| {
            let verb = if rule.allow() { "allowing" } else { "denying" };
            format!("setting {FIELD}: {verb} {line} in {}", folder.display())
        })?;
    }
    Ok(())
}

/// cgroup-v1/devices.rst: type, major:minor, access.
fn line(rule: &LinuxDeviceCgroup) -> String {
    let number = |n: Option<i64>| n.filter(|n| *n >= 0).map_or("*".into(), |n| n.to_string());
    let kind = match rule.typ().unwrap_or_default() {
        LinuxDeviceType::B => "b",
        LinuxDeviceType::C | LinuxDeviceType::U => "c",
        LinuxDeviceType::A | LinuxDeviceType::P => "a",
    };
    let access = rule.access().as_deref().unwrap_or("rwm");
    format!("{kind} {}:{} {access}", number(rule.major()), number(rule.minor()))
}

/// Attaches a program that decides by the rules; one attached before is detached after, so that
/// there is no moment without.
pub(super) fn attach(folder: &Path, rules: &[LinuxDeviceCgroup]) -> Result<()> {
    let doing = || format!("setting {FIELD} of {}", folder.display());
    let group: OwnedFd = rustix::fs::open(
        folder,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .doing(doing)?;
    let before = bpf::attached_device_programs(group.as_fd()).doing(doing)?;
    let program = bpf::load_device_program(&program(rules)).doing(doing)?;
    bpf::attach_device_program(group.as_raw_fd(), program.as_raw_fd()).doing(doing)?;
    for old in before {
        bpf::detach_device_program(group.as_raw_fd(), old.as_raw_fd()).doing(doing)?;
    }
    Ok(())
}

// Registers: R1 the kernel's context, R2 the device's type, R3 the access still to be allowed,
// R4 and R5 its numbers.
const TYPE: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// The rules as a program for `BPF_CGROUP_DEVICE`: what the last of them says counts, so they are
/// asked from the last to the first. Each allowing rule takes off the access it grants, so that
/// read from one rule and write from another are read-write; what no rule speaks of is denied.
fn program(rules: &[LinuxDeviceCgroup]) -> Vec<Instruction> {
    let mut out = vec![
        // struct bpf_cgroup_dev_ctx { access_type, major, minor }, access_type being two halves.
        Instruction::load(TYPE, 1, 0),
        Instruction::mov(ACCESS, TYPE),
        Instruction::and(TYPE, 0xffff),
        Instruction::shift_right(ACCESS, 16),
        Instruction::load(MAJOR, 1, 4),
        Instruction::load(MINOR, 1, 8),
    ];
    for rule in rules.iter().rev() {
        let access = access_bits(rule);
        let verdict = if rule.allow() {
            vec![
                Instruction::and(ACCESS, !access),
                Instruction::jump_if_not(ACCESS, 0, 2),
                Instruction::set(0, 1),
                Instruction::exit(),
            ]
        } else {
            vec![
                Instruction::mov(6, ACCESS),
                Instruction::and(6, access),
                Instruction::jump_if(6, 0, 2),
                Instruction::set(0, 0),
                Instruction::exit(),
            ]
        };
        let mut tests: Vec<(u8, i32)> = Vec::new();
        match rule.typ().unwrap_or_default() {
            LinuxDeviceType::B => tests.push((TYPE, 1)),
            LinuxDeviceType::C | LinuxDeviceType::U => tests.push((TYPE, 2)),
            LinuxDeviceType::A | LinuxDeviceType::P => {}
        }
        let number = |n: Option<i64>| n.filter(|n| *n >= 0).and_then(|n| i32::try_from(n).ok());
        tests.extend(number(rule.major()).map(|n| (MAJOR, n)));
        tests.extend(number(rule.minor()).map(|n| (MINOR, n)));
        for (at, (register, value)) in tests.iter().enumerate() {
            let rest = tests.len() - at - 1 + verdict.len();
            out.push(Instruction::jump_if_not(*register, *value, rest as i16));
        }
        out.extend(verdict);
    }
    out.extend([Instruction::set(0, 0), Instruction::exit()]);
    out
}

pub(super) fn access_bits(rule: &LinuxDeviceCgroup) -> i32 {
    let access = rule.access().as_deref().unwrap_or("rwm");
    let bit = |c, bit| if access.contains(c) { bit } else { 0 };
    bit('m', 1) | bit('r', 2) | bit('w', 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn rules() -> Vec<LinuxDeviceCgroup> {
        serde_json::from_str(
            r#"[{"allow":false,"access":"rwm"},
                {"allow":true,"type":"c","major":1,"minor":3,"access":"r"},
                {"allow":true,"type":"c","major":1,"minor":3,"access":"w"},
                {"allow":true,"type":"c","major":5,"access":"rwm"},
                {"allow":false,"type":"c","major":5,"minor":1,"access":"w"},
                {"allow":true,"type":"b","access":"m"}]"#,
        )
        .unwrap()
    }

    #[test]
    fn rules_are_lines_for_v1() {
        let lines: String = rules().iter().map(|r| line(r) + "\n").collect();
        expect![[r#"
            a *:* rwm
            c 1:3 r
            c 1:3 w
            c 5:* rwm
            c 5:1 w
            b *:* m
        "#]]
        .assert_eq(&lines);
    }

    #[test]
    fn the_program_says_what_the_rules_say() {
        let program = program(&rules());
        let ask = |kind: u32, major, minor, access: &str| {
            let bit = |c, bit| if access.contains(c) { bit } else { 0 };
            let access = bit('m', 1) | bit('r', 2) | bit('w', 4);
            bpf::run(&program, [access << 16 | kind, major, minor]) == 1
        };
        let (block, char) = (1, 2);
        assert!(ask(char, 1, 3, "rw"));
        assert!(!ask(char, 1, 3, "rwm"));
        assert!(!ask(char, 1, 5, "r"));
        assert!(ask(char, 5, 0, "rwm"));
        assert!(ask(char, 5, 1, "r"));
        assert!(!ask(char, 5, 1, "rw"));
        assert!(ask(block, 8, 0, "m"));
        assert!(!ask(block, 8, 0, "r"));
    }
}
