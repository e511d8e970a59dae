//! A policy as a program of the kernel's.
//!
//! Calls are found by bisection, not one after the other: the kernel runs every filter for every
//! call number when it is installed, to remember which are always allowed (`seccomp.c`
//! `seccomp_cache_prepare`), and a list of 300 comparisons makes that half a millisecond.

use super::{Action, Condition, Policy, Rule, Test};
use crate::sys::seccomp::Instruction;

/// A compiled filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program(Vec<Instruction>);

impl Program {
    pub(crate) fn as_raw(&self) -> &[Instruction] {
        &self.0
    }
}

// linux/bpf_common.h.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

/// x86-64's other call table has this bit set in the number.
const X32: u32 = 0x4000_0000;

/// In the place of a jump's distance until the rule's length is known.
const TO_NEXT_RULE: u8 = u8::MAX;

/// What to do from this call number on.
struct From<'a> {
    call: u32,
    rules: &'a [&'a Rule],
    action: Action,
}

impl Program {
    /// Calls of another architecture than ours end the process: nothing of ours makes any.
    pub(crate) fn compile(policy: &Policy) -> Program {
        // Stable: rules of one call stay in their order.
        let mut rules: Vec<&Rule> = policy.rules.iter().collect();
        rules.sort_by_key(|rule| rule.call);
        let ranges = ranges(&rules, policy);
        let kill = action(Action::KillProcess);
        let mut out = Vec::with_capacity(4 * ranges.len() + 64);
        out.extend([
            load(ARCHITECTURE),
            branch(JUMP_EQUAL, NATIVE, 1, 0),
            ret(kill),
            load(NUMBER),
            branch(JUMP_GREATER_OR_EQUAL, X32, 0, 1),
            ret(kill),
        ]);
        search(&ranges, &mut out);
        Program(out)
    }
}

/// The numbers cut into ranges of which each has one answer, neighbours with the same joined.
fn ranges<'a>(rules: &'a [&'a Rule], policy: &Policy) -> Vec<From<'a>> {
    let mut out: Vec<From<'a>> = Vec::with_capacity(rules.len() + 2);
    let mut push = |call: u32, rules: &'a [&'a Rule], action: Action| match out.last() {
        Some(last) if last.rules.is_empty() && rules.is_empty() && last.action == action => {}
        _ => out.push(From { call, rules, action }),
    };
    let mut next = 0;
    for rules in rules.chunk_by(|a, b| a.call == b.call) {
        let call = rules[0].call;
        if call > next {
            push(next, &[], policy.otherwise);
        }
        // A rule without conditions answers for the call whatever other rules ask.
        match rules.iter().find(|r| r.conditions.is_empty()) {
            Some(rule) => push(call, &[], rule.action),
            None => push(call, rules, policy.otherwise),
        }
        next = call + 1;
    }
    let beyond = if policy.unknown_is_enosys {
        Action::Errno(libc::ENOSYS as u16)
    } else {
        policy.otherwise
    };
    push(next, &[], beyond);
    out
}

/// Below the middle comes first, then what is above it: the jump there is known when both are.
fn search(ranges: &[From<'_>], out: &mut Vec<Instruction>) {
    if let [one] = ranges {
        one.rules.iter().for_each(|one| rule(one, out));
        out.push(ret(action(one.action)));
        return;
    }
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let from = above[0].call;
    // A conditional jump reaches 255 instructions, a plain one everywhere.
    out.push(branch(JUMP_GREATER_OR_EQUAL, from, 0, 1));
    let jump = out.len();
    out.push(Instruction { code: JUMP, if_true: 0, if_false: 0, value: 0 });
    search(below, out);
    out[jump].value = (out.len() - jump - 1) as u32;
    search(above, out);
}

/// Falls through to its answer when all conditions hold, jumps behind it otherwise.
fn rule(rule: &Rule, out: &mut Vec<Instruction>) {
    let from = out.len();
    rule.conditions.iter().for_each(|one| condition(one, out));
    out.push(ret(action(rule.action)));
    let length = out.len();
    for (at, instruction) in out.iter_mut().enumerate().skip(from) {
        // Six arguments at six instructions each: within a jump's reach.
        let rest = (length - at - 1) as u8;
        for distance in [&mut instruction.if_true, &mut instruction.if_false] {
            if *distance == TO_NEXT_RULE {
                *distance = rest;
            }
        }
    }
}

/// Arguments have 64 bits and the machine 32: high half, then low half.
fn condition(condition: &Condition, out: &mut Vec<Instruction>) {
    let low_at = ARGUMENTS + 8 * u32::from(condition.argument);
    let (low, high) = (load(low_at), load(low_at + 4));
    let (value, top) = (condition.value as u32, (condition.value >> 32) as u32);
    let no = TO_NEXT_RULE;
    match condition.test {
        Test::Equal => {
            out.extend([
                high,
                branch(JUMP_EQUAL, top, 0, no),
                low,
                branch(JUMP_EQUAL, value, 0, no),
            ]);
        }
        Test::NotEqual => {
            out.extend([
                high,
                branch(JUMP_EQUAL, top, 0, 2),
                low,
                branch(JUMP_EQUAL, value, no, 0),
            ]);
        }
        Test::MaskedEqual(mask) => out.extend([
            high,
            and((mask >> 32) as u32),
            branch(JUMP_EQUAL, top, 0, no),
            low,
            and(mask as u32),
            branch(JUMP_EQUAL, value, 0, no),
        ]),
        Test::Greater | Test::GreaterOrEqual => {
            let last =
                if condition.test == Test::Greater { JUMP_GREATER } else { JUMP_GREATER_OR_EQUAL };
            out.extend([
                high,
                branch(JUMP_GREATER, top, 3, 0),
                branch(JUMP_EQUAL, top, 0, no),
                low,
                branch(last, value, 0, no),
            ]);
        }
        Test::Less | Test::LessOrEqual => {
            let last =
                if condition.test == Test::Less { JUMP_GREATER_OR_EQUAL } else { JUMP_GREATER };
            out.extend([
                high,
                branch(JUMP_GREATER, top, no, 0),
                branch(JUMP_EQUAL, top, 0, 2),
                low,
                branch(last, value, no, 0),
            ]);
        }
    }
}

/// linux/seccomp.h.
fn action(action: Action) -> u32 {
    match action {
        Action::KillProcess => 0x8000_0000,
        Action::KillThread => 0,
        Action::Trap => 0x0003_0000,
        Action::Errno(errno) => 0x0005_0000 | u32::from(errno),
        Action::Trace(message) => 0x7ff0_0000 | u32::from(message),
        Action::Log => 0x7ffc_0000,
        Action::Allow => 0x7fff_0000,
    }
}

fn load(at: u32) -> Instruction {
    Instruction { code: LOAD, if_true: 0, if_false: 0, value: at }
}

fn and(mask: u32) -> Instruction {
    Instruction { code: AND, if_true: 0, if_false: 0, value: mask }
}

fn branch(code: u16, value: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction { code, if_true, if_false, value }
}

fn ret(value: u32) -> Instruction {
    Instruction { code: RETURN, if_true: 0, if_false: 0, value }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Runs a program as the kernel does: what it answers to this call.
    pub(crate) fn ask(program: &Program, call: u32, arguments: [u64; 6]) -> u32 {
        run(program, NATIVE, call, arguments)
    }

    fn run(program: &Program, architecture: u32, call: u32, arguments: [u64; 6]) -> u32 {
        let (mut a, mut at) = (0_u32, 0);
        loop {
            let i = program.0[at];
            let mut over = 0;
            let mut test = |holds: bool| over = if holds { i.if_true } else { i.if_false } as usize;
            match i.code {
                LOAD => {
                    a = match i.value {
                        NUMBER => call,
                        ARCHITECTURE => architecture,
                        at => {
                            let word = (at - ARGUMENTS) / 4;
                            (arguments[word as usize / 2] >> (32 * (word % 2))) as u32
                        }
                    }
                }
                AND => a &= i.value,
                JUMP => over = i.value as usize,
                JUMP_EQUAL => test(a == i.value),
                JUMP_GREATER => test(a > i.value),
                JUMP_GREATER_OR_EQUAL => test(a >= i.value),
                RETURN => return i.value,
                code => panic!("instruction {code:#x}"),
            }
            at += 1 + over;
        }
    }

    #[test]
    fn every_comparison_of_64_bits_answers_as_numbers_do() {
        let values = [0, 1, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001, 0x2_0000_0000, u64::MAX];
        type Holds = fn(u64, u64) -> bool;
        let tests: [(Test, Holds); 7] = [
            (Test::Equal, |a, b| a == b),
            (Test::NotEqual, |a, b| a != b),
            (Test::Less, |a, b| a < b),
            (Test::LessOrEqual, |a, b| a <= b),
            (Test::Greater, |a, b| a > b),
            (Test::GreaterOrEqual, |a, b| a >= b),
            (Test::MaskedEqual(0x1_0000_0001), |a, b| a & 0x1_0000_0001 == b),
        ];
        for (test, expected) in tests {
            for value in values {
                let rule = Rule::new(7, Action::Allow).when(2, test, value);
                let policy = Policy {
                    rules: vec![rule],
                    otherwise: Action::Errno(1),
                    unknown_is_enosys: false,
                };
                let program = Program::compile(&policy);
                for argument in values {
                    let answer = ask(&program, 7, [9, 9, argument, 9, 9, 9]) == 0x7fff_0000;
                    assert_eq!(
                        answer,
                        expected(argument, value),
                        "{argument:#x} {test:?} {value:#x}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_policy_answers_for_every_number() {
        let mut rules: Vec<Rule> = (0..400)
            .filter(|n| n % 3 != 1)
            .map(|n| Rule::new(n, Action::Errno(n as u16)))
            .collect();
        rules.push(Rule::new(4, Action::Trap).when(0, Test::Equal, 1));
        rules.push(Rule::new(4, Action::Log).when(0, Test::Equal, 2).when(1, Test::Less, 3));
        let policy = Policy { rules, otherwise: Action::Allow, unknown_is_enosys: true };
        let program = Program::compile(&policy);
        for n in 0..400 {
            let expected = if n % 3 != 1 { 0x0005_0000 | n } else { 0x7fff_0000 };
            assert_eq!(ask(&program, n, [0; 6]), expected, "call {n}");
        }
        assert_eq!(ask(&program, 4, [1, 0, 0, 0, 0, 0]), 0x0003_0000);
        assert_eq!(ask(&program, 4, [2, 2, 0, 0, 0, 0]), 0x7ffc_0000);
        assert_eq!(ask(&program, 4, [2, 3, 0, 0, 0, 0]), 0x7fff_0000);
        assert_eq!(ask(&program, 1000, [0; 6]), 0x0005_0000 | libc::ENOSYS as u32);
        assert_eq!(ask(&program, X32, [0; 6]), 0x8000_0000);
        assert_eq!(run(&program, 3, 0, [0; 6]), 0x8000_0000);
    }
}
