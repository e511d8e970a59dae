//! `seccomp(2)`: filters installed.

use super::check;

/// One instruction, as `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u16,
    pub(crate) if_true: u8,
    pub(crate) if_false: u8,
    pub(crate) value: u32,
}

/// All threads get the filter, or none.
pub(crate) const ALL_THREADS: u64 = 1;

#[repr(C)]
struct Fprog {
    length: u16,
    instructions: *const Instruction,
}

pub(crate) fn install(program: &[Instruction], flags: u64) -> rustix::io::Result<()> {
    let Ok(length) = u16::try_from(program.len()) else { return Err(rustix::io::Errno::INVAL) };
    let fprog = Fprog { length, instructions: program.as_ptr() };
    // SAFETY: `struct sock_fprog`, whose array lives across the call and has the given length.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const fprog)
    };
    // The number of a thread that has another filter and so cannot get this one.
    if result > 0 { Err(rustix::io::Errno::SRCH) } else { check(result) }
}
