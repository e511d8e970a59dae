//! The filter of the OCI spec (`linux.seccomp`), as runc and libseccomp read it.

use std::collections::HashMap;

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag,
    LinuxSeccompOperator, LinuxSyscall,
};

use super::{Action, Condition, Policy, Program, Rule, Test, install};
use crate::sys::seccomp::ALL_THREADS;
use crate::{Error, Result};

/// Names and numbers of this architecture's calls, one pair a line.
#[cfg(target_arch = "x86_64")]
const CALLS: &str = include_str!("x86_64.txt");
#[cfg(target_arch = "aarch64")]
const CALLS: &str = include_str!("aarch64.txt");

/// The spec's filter, ready to be installed.
#[derive(Debug)]
pub(crate) struct Filter {
    program: Program,
    flags: u64,
}

impl Filter {
    /// Of the spec's `architectures` only ours matters: calls by another one's numbers are ended
    /// by our own filter, whatever the spec allows them.
    pub(crate) fn read(spec: &LinuxSeccomp) -> Result<Filter> {
        let program = Program::compile(&policy(spec)?);
        Ok(Filter { program, flags: flags(spec) })
    }

    /// For all threads.
    pub(crate) fn install(&self) -> Result<()> {
        install(&self.program, self.flags | ALL_THREADS, "the filter of linux.seccomp")
    }
}

fn policy(spec: &LinuxSeccomp) -> Result<Policy> {
    let numbers: HashMap<&str, u32> = CALLS
        .lines()
        .filter_map(|line| line.split_once(' ').and_then(|(n, v)| Some((n, v.parse().ok()?))))
        .collect();
    let otherwise = action(spec.default_action(), spec.default_errno_ret())?;
    let mut rules = Vec::new();
    for syscall in spec.syscalls().iter().flatten() {
        let action = action(syscall.action(), syscall.errno_ret())?;
        // What a newer or older kernel, or another architecture, calls something else is left out,
        // as in runc (`seccomp_linux.go` matchCall); the default holds for it.
        for number in syscall.names().iter().filter_map(|name| numbers.get(name.as_str())) {
            if action != otherwise || syscall.args().is_some() {
                rules.extend(rules_for(*number, syscall, action)?);
            }
        }
    }
    let unknown_is_enosys = !matches!(otherwise, Action::Allow | Action::Log) && !rules.is_empty();
    Ok(Policy { rules, otherwise, unknown_is_enosys })
}

/// All arguments must match; several tests of one argument are alternatives (runc `matchCall`).
fn rules_for(call: u32, syscall: &LinuxSyscall, action: Action) -> Result<Vec<Rule>> {
    let args = syscall.args().as_deref().unwrap_or_default();
    let conditions: Vec<_> = args.iter().map(condition).collect::<Result<_>>()?;
    let mut seen: Vec<u8> = conditions.iter().map(|c| c.argument).collect();
    seen.sort_unstable();
    let repeated = seen.windows(2).any(|pair| pair[0] == pair[1]);
    if !repeated {
        return Ok(vec![Rule { call, conditions, action }]);
    }
    let alone = |c| Rule { call, conditions: vec![c], action };
    Ok(conditions.into_iter().map(alone).collect())
}

fn condition(arg: &LinuxSeccompArg) -> Result<Condition> {
    let argument = u8::try_from(arg.index()).ok().filter(|i| *i < 6).ok_or_else(|| {
        Error::Refused(format!(
            "linux.seccomp.syscalls.args.index {}: a call has arguments 0 to 5",
            arg.index()
        ))
    })?;
    let value = arg.value();
    let (test, value) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => (Test::NotEqual, value),
        LinuxSeccompOperator::ScmpCmpLt => (Test::Less, value),
        LinuxSeccompOperator::ScmpCmpLe => (Test::LessOrEqual, value),
        LinuxSeccompOperator::ScmpCmpEq => (Test::Equal, value),
        LinuxSeccompOperator::ScmpCmpGe => (Test::GreaterOrEqual, value),
        LinuxSeccompOperator::ScmpCmpGt => (Test::Greater, value),
        // `value` is the mask, `valueTwo` what must be left.
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            (Test::MaskedEqual(value), arg.value_two().unwrap_or(0))
        }
    };
    Ok(Condition { argument, test, value })
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<Action> {
    let number = || {
        let errno = errno.unwrap_or(libc::EPERM as u32);
        u16::try_from(errno).map_err(|_| {
            Error::Refused(format!("linux.seccomp: errnoRet {errno} is no error number"))
        })
    };
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => {
            Action::KillThread
        }
        LinuxSeccompAction::ScmpActKillProcess => Action::KillProcess,
        LinuxSeccompAction::ScmpActTrap => Action::Trap,
        LinuxSeccompAction::ScmpActErrno => Action::Errno(number()?),
        LinuxSeccompAction::ScmpActTrace => Action::Trace(number()?),
        LinuxSeccompAction::ScmpActLog => Action::Log,
        LinuxSeccompAction::ScmpActAllow => Action::Allow,
        LinuxSeccompAction::ScmpActNotify => {
            return Err(Error::Refused(
                "linux.seccomp: SCMP_ACT_NOTIFY is not supported: the guest has no agent to ask; \
                 use SCMP_ACT_ERRNO"
                    .into(),
            ));
        }
    })
}

/// `seccomp(2)`. `TSYNC` is always set, and `WAIT_KILLABLE_RECV` speaks of agents only.
fn flags(spec: &LinuxSeccomp) -> u64 {
    let bit = |flag: &LinuxSeccompFilterFlag| match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => 1 << 1,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => 1 << 2,
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync
        | LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
    };
    spec.flags().iter().flatten().map(bit).fold(0, |all, one| all | one)
}

#[cfg(test)]
mod tests {
    use super::super::bpf::tests::ask;
    use super::*;

    fn read(json: &str) -> Filter {
        Filter::read(&serde_json::from_str(json).unwrap()).unwrap()
    }

    #[test]
    fn actions_operators_and_errnos_are_the_specs() {
        let filter = read(
            r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":13,
                "architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],
                "syscalls":[
                  {"names":["getpid","no_such_call"],"action":"SCMP_ACT_ALLOW"},
                  {"names":["personality"],"action":"SCMP_ACT_ALLOW",
                   "args":[{"index":0,"value":0,"op":"SCMP_CMP_EQ"},
                           {"index":0,"value":8,"op":"SCMP_CMP_EQ"}]},
                  {"names":["clone"],"action":"SCMP_ACT_LOG",
                   "args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]},
                  {"names":["mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":22},
                  {"names":["umask"],"action":"SCMP_ACT_KILL_PROCESS"}]}"#,
        );
        let call = |name: &str, first| {
            let line = CALLS.lines().find(|l| l.split(' ').next() == Some(name)).unwrap();
            let number = line.split(' ').nth(1).unwrap().parse().unwrap();
            ask(&filter.program, number, [first, 0, 0, 0, 0, 0])
        };
        let (allow, log, errno) = (0x7fff_0000, 0x7ffc_0000, 0x0005_0000);
        assert_eq!(call("getpid", 0), allow);
        assert_eq!(call("personality", 8), allow);
        assert_eq!(call("personality", 4), errno | 13);
        assert_eq!(call("clone", 0x11), log);
        assert_eq!(call("clone", 0x1000_0000), errno | 13);
        assert_eq!(call("mkdirat", 0), errno | 22);
        assert_eq!(call("umask", 0), 0x8000_0000);
        assert_eq!(call("getppid", 0), errno | 13);
        assert_eq!(ask(&filter.program, 460, [0; 6]), errno | 38);
    }

    #[test]
    fn an_agent_is_refused_by_name() {
        let spec = serde_json::from_str(r#"{"defaultAction":"SCMP_ACT_NOTIFY"}"#).unwrap();
        let error = Filter::read(&spec).unwrap_err().to_string();
        assert!(error.contains("SCMP_ACT_NOTIFY"), "{error}");
    }
}
