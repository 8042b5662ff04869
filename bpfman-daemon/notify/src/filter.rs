//! Assembly of a seccomp filter, and its installation with a listener.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

use crate::Listener;

/// `WAIT_KILLABLE_RECV` (Linux 5.19): once received, only a fatal signal ends the caller's wait.
const WAIT_KILLABLE: libc::c_ulong = 1 << 5;

const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xc000_00b7;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The kernel makes the call.
    Allow,
    /// The call waits for the listener's answer.
    Notify,
    /// The call returns an error; 0 for a success without effect.
    Fail(u16),
    /// The process ends.
    Kill,
}

impl Verdict {
    const fn value(self) -> u32 {
        match self {
            Self::Allow => 0x7fff_0000,
            Self::Notify => 0x7fc0_0000,
            Self::Fail(number) => 0x0005_0000 | number as u32,
            Self::Kill => 0x8000_0000,
        }
    }
}

/// Condition on the low 32 bits of an argument.
#[derive(Clone, Copy, Debug)]
pub enum Condition {
    /// Equal to a value.
    Is(u32),
    /// Another value than this one.
    IsNot(u32),
    /// From the first value up to, but not including, the second.
    Within(u32, u32),
}

/// A filter in the making. The first rule that fits a call decides.
#[derive(Debug)]
pub struct Assembler(Vec<libc::sock_filter>);

impl Default for Assembler {
    fn default() -> Self {
        Self::new()
    }
}

impl Assembler {
    /// Begins a filter that fails calls of other architectures and calling conventions with `ENOSYS`.
    #[must_use]
    pub fn new() -> Self {
        let mut this = Self(Vec::new());
        this.push(LOAD, ARCHITECTURE, 0, 0);
        this.push(IF_EQUAL, NATIVE, 1, 0);
        this.finish(Verdict::Fail(libc::ENOSYS as u16));
        this.push(LOAD, NUMBER, 0, 0);
        #[cfg(target_arch = "x86_64")]
        {
            const OTHER_CONVENTION: u32 = 0x4000_0000;
            this.push(IF_AT_LEAST, OTHER_CONVENTION, 0, 1);
            this.finish(Verdict::Fail(libc::ENOSYS as u16));
        }
        this
    }

    /// Adds a rule for a call whose arguments fulfil all conditions, by the index of the argument.
    pub fn rule(&mut self, call: i64, conditions: &[(u32, Condition)], verdict: Verdict) {
        // Jumps to the end of the rule: index, and whether a fulfilled condition takes the jump.
        let mut fails = vec![(self.push(IF_EQUAL, call as u32, 0, 0), false)];
        for (argument, condition) in conditions {
            self.push(LOAD, ARGUMENTS + argument * 8, 0, 0);
            match condition {
                Condition::Is(value) => fails.push((self.push(IF_EQUAL, *value, 0, 0), false)),
                Condition::IsNot(value) => fails.push((self.push(IF_EQUAL, *value, 0, 0), true)),
                Condition::Within(from, to) => {
                    fails.push((self.push(IF_AT_LEAST, *from, 0, 0), false));
                    fails.push((self.push(IF_AT_LEAST, *to, 0, 0), true));
                }
            }
        }
        self.finish(verdict);
        let end = self.0.len();
        for (at, if_fulfilled) in fails {
            let behind = (end - at - 1) as u8;
            let jump = &mut self.0[at];
            *(if if_fulfilled { &mut jump.jt } else { &mut jump.jf }) = behind;
        }
        // Load the call number again: the conditions overwrote the register.
        self.push(LOAD, NUMBER, 0, 0);
    }

    fn finish(&mut self, verdict: Verdict) {
        self.push(RETURN, verdict.value(), 0, 0);
    }

    fn push(&mut self, code: u16, k: u32, jt: u8, jf: u8) -> usize {
        self.0.push(libc::sock_filter { code, jt, jf, k });
        self.0.len() - 1
    }

    /// Returns the instructions, with the verdict about calls without a rule.
    #[must_use]
    pub fn end(mut self, otherwise: Verdict) -> Vec<libc::sock_filter> {
        self.finish(otherwise);
        self.0
    }
}

/// Installs a filter on this thread and those that it starts, for ever, and returns its listener. Sets `no_new_privs`.
///
/// # Errors
/// `EBUSY` if there is a listener already, `EINVAL` before Linux 5.19.
pub fn install(filter: &[libc::sock_filter]) -> io::Result<Listener> {
    let descriptor = set(filter, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | WAIT_KILLABLE)?;
    // SAFETY: the call succeeded, so its answer is a new descriptor without another owner.
    Ok(Listener::from(unsafe { OwnedFd::from_raw_fd(descriptor as i32) }))
}

/// Installs a filter without a listener on this thread and those that it starts, for ever. Sets `no_new_privs`.
pub fn confine(filter: &[libc::sock_filter]) -> io::Result<()> {
    set(filter, 0).map(drop)
}

fn set(filter: &[libc::sock_filter], flags: libc::c_ulong) -> io::Result<i64> {
    let length = u16::try_from(filter.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the option takes numbers; the kernel touches no memory of this process.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the structure and the instructions that it points to are live, and the kernel only reads them.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a filter as the kernel does.
    fn verdict(filter: &[libc::sock_filter], architecture: u32, call: u32, arguments: [u64; 6]) -> u32 {
        let mut data = [0_u8; 64];
        data[..4].copy_from_slice(&call.to_ne_bytes());
        data[4..8].copy_from_slice(&architecture.to_ne_bytes());
        for (at, argument) in arguments.iter().enumerate() {
            data[16 + at * 8..24 + at * 8].copy_from_slice(&argument.to_ne_bytes());
        }
        let (mut at, mut value) = (0, 0_u32);
        loop {
            let libc::sock_filter { code, jt, jf, k } = filter[at];
            at += 1;
            let branch = |holds| usize::from(if holds { jt } else { jf });
            match code {
                LOAD => {
                    let from = k as usize;
                    value = u32::from_ne_bytes([data[from], data[from + 1], data[from + 2], data[from + 3]]);
                }
                IF_EQUAL => at += branch(value == k),
                IF_AT_LEAST => at += branch(value >= k),
                RETURN => return k,
                other => panic!("{other}"),
            }
        }
    }

    #[test]
    fn first_rule_that_fits_decides() {
        let mut assembler = Assembler::new();
        assembler.rule(10, &[(0, Condition::Is(1))], Verdict::Allow);
        assembler.rule(10, &[], Verdict::Notify);
        assembler.rule(13, &[(0, Condition::IsNot(0))], Verdict::Notify);
        assembler.rule(11, &[(1, Condition::Within(900, 1000)), (2, Condition::Is(0))], Verdict::Fail(0));
        let filter = assembler.end(Verdict::Allow);
        let run = |call, arguments| verdict(&filter, NATIVE, call, arguments);
        let (allow, notify, nothing) =
            (Verdict::Allow.value(), Verdict::Notify.value(), Verdict::Fail(0).value());
        let first = |value: u64| [value, 0, 0, 0, 0, 0];
        assert_eq!([run(10, first(1)), run(10, first(2)), run(12, first(1))], [allow, notify, allow]);
        assert_eq!([run(13, first(0)), run(13, first(1))], [allow, notify]);
        // The kernel itself looks at the low half of these arguments only.
        assert_eq!(run(10, first(1 << 32 | 2)), notify);
        for (argument, third, expected) in [
            (899, 0, allow),
            (900, 0, nothing),
            (999, 0, nothing),
            (1000, 0, allow),
            (900, 1, allow),
            (u32::MAX.into(), 0, allow),
        ] {
            assert_eq!(run(11, [0, argument, third, 0, 0, 0]), expected, "{argument} {third}");
        }
        let missing = Verdict::Fail(libc::ENOSYS as u16).value();
        assert_eq!(verdict(&filter, 0x4000_0003, 10, first(1)), missing);
        #[cfg(target_arch = "x86_64")]
        assert_eq!(run(0x4000_000a, first(1)), missing);
    }
}
