//! `bpf(2)` as far as programs that decide about devices.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::errno;

/// One instruction, as `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

// Codes of Documentation/bpf/standardization/instruction-set.rst. 32-bit arithmetic throughout.
const LOAD_WORD: u8 = 0x61;
const MOV_REGISTER: u8 = 0xbc;
const MOV: u8 = 0xb4;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const JUMP_EQUAL: u8 = 0x15;
const JUMP_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

impl Instruction {
    fn new(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
        Instruction { code, registers: from << 4 | to, offset, immediate }
    }

    pub(crate) fn load(to: u8, from: u8, offset: i16) -> Instruction {
        Instruction::new(LOAD_WORD, to, from, offset, 0)
    }

    pub(crate) fn mov(to: u8, from: u8) -> Instruction {
        Instruction::new(MOV_REGISTER, to, from, 0, 0)
    }

    pub(crate) fn set(to: u8, value: i32) -> Instruction {
        Instruction::new(MOV, to, 0, 0, value)
    }

    pub(crate) fn and(to: u8, value: i32) -> Instruction {
        Instruction::new(AND, to, 0, 0, value)
    }

    pub(crate) fn shift_right(to: u8, bits: i32) -> Instruction {
        Instruction::new(SHIFT_RIGHT, to, 0, 0, bits)
    }

    pub(crate) fn jump_if(register: u8, value: i32, over: i16) -> Instruction {
        Instruction::new(JUMP_EQUAL, register, 0, over, value)
    }

    pub(crate) fn jump_if_not(register: u8, value: i32, over: i16) -> Instruction {
        Instruction::new(JUMP_NOT_EQUAL, register, 0, over, value)
    }

    pub(crate) fn exit() -> Instruction {
        Instruction::new(EXIT, 0, 0, 0, 0)
    }
}

const PROG_LOAD: i32 = 5;
const PROG_ATTACH: i32 = 8;
const PROG_DETACH: i32 = 9;
const PROG_GET_FD_BY_ID: i32 = 13;
const PROG_QUERY: i32 = 16;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTI: u32 = 2;

#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log: [u64; 2],
    version_and_flags: u64,
    name: [u8; 16],
}

#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

#[repr(C)]
struct Query {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

/// # Safety
///
/// `T` must be the kernel's structure for this command, and what it points to must live.
unsafe fn bpf<T>(command: i32, attributes: &mut T) -> rustix::io::Result<RawFd> {
    // SAFETY: the size goes along; the caller keeps the rest.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>())
    };
    if result < 0 { Err(errno()) } else { Ok(result as RawFd) }
}

pub(crate) fn load_device_program(program: &[Instruction]) -> rustix::io::Result<OwnedFd> {
    let mut load = Load {
        kind: PROG_TYPE_CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Apache".as_ptr() as u64,
        log: [0; 2],
        version_and_flags: 0,
        name: *b"wherry_devices\0\0",
    };
    // SAFETY: the beginning of `union bpf_attr` for BPF_PROG_LOAD; program and license live. A
    // new descriptor comes back, which nobody else owns.
    unsafe { Ok(OwnedFd::from_raw_fd(bpf(PROG_LOAD, &mut load)?)) }
}

pub(crate) fn attach_device_program(group: RawFd, program: RawFd) -> rustix::io::Result<()> {
    let (target, program) = (group as u32, program as u32);
    let mut attach = Attach { target, program, kind: CGROUP_DEVICE, flags: ALLOW_MULTI };
    // SAFETY: the beginning of `union bpf_attr` for BPF_PROG_ATTACH; numbers only.
    unsafe { bpf(PROG_ATTACH, &mut attach).map(drop) }
}

pub(crate) fn detach_device_program(group: RawFd, program: RawFd) -> rustix::io::Result<()> {
    let (target, program) = (group as u32, program as u32);
    let mut detach = Attach { target, program, kind: CGROUP_DEVICE, flags: 0 };
    // SAFETY: the beginning of `union bpf_attr` for BPF_PROG_DETACH; numbers only.
    unsafe { bpf(PROG_DETACH, &mut detach).map(drop) }
}

/// The programs attached to this very group.
pub(crate) fn attached_device_programs(group: BorrowedFd<'_>) -> rustix::io::Result<Vec<OwnedFd>> {
    let mut ids = [0_u32; 64];
    let mut query = Query {
        target: group.as_raw_fd() as u32,
        kind: CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
        padding: 0,
    };
    // SAFETY: the beginning of `union bpf_attr` for BPF_PROG_QUERY; the array lives and its length
    // is given.
    unsafe { bpf(PROG_QUERY, &mut query)? };
    let mut found = Vec::new();
    for id in &ids[..ids.len().min(query.count as usize)] {
        let mut by_id = [*id, 0, 0];
        // SAFETY: the beginning of `union bpf_attr` for BPF_PROG_GET_FD_BY_ID: id, next id, flags.
        // A new descriptor comes back, which nobody else owns.
        found.push(unsafe { OwnedFd::from_raw_fd(bpf(PROG_GET_FD_BY_ID, &mut by_id)?) });
    }
    Ok(found)
}

/// Runs a program as the kernel would: for tests.
#[cfg(test)]
pub(crate) fn run(program: &[Instruction], context: [u32; 3]) -> u32 {
    let (mut registers, mut at) = ([0_u32; 11], 0);
    loop {
        let i = program[at];
        let (to, from) = ((i.registers & 15) as usize, (i.registers >> 4) as usize);
        let mut over = 0;
        match i.code {
            LOAD_WORD => registers[to] = context[i.offset as usize / 4],
            MOV_REGISTER => registers[to] = registers[from],
            MOV => registers[to] = i.immediate as u32,
            AND => registers[to] &= i.immediate as u32,
            SHIFT_RIGHT => registers[to] >>= i.immediate,
            JUMP_EQUAL if registers[to] == i.immediate as u32 => over = i.offset as usize,
            JUMP_NOT_EQUAL if registers[to] != i.immediate as u32 => over = i.offset as usize,
            JUMP_EQUAL | JUMP_NOT_EQUAL => {}
            EXIT => return registers[0],
            code => panic!("instruction {code:#x}"),
        }
        at += 1 + over;
    }
}
