//! A system call.

/// A system call of this processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SystemCall {
    /// Its number.
    pub number: i64,
    /// Its constant, such as `SYS_read`.
    constant: &'static str,
}

impl SystemCall {
    /// A call by its number and its constant.
    #[must_use]
    pub const fn new(number: i64, constant: &'static str) -> Self {
        Self { number, constant }
    }

    /// As its manual page is called.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.constant.strip_prefix("SYS_").unwrap_or(self.constant)
    }
}

/// Calls by their constants in libc, which has those of the processor that this is built for.
macro_rules! calls {
    ($($constant:ident),* $(,)?) => {
        &[$($crate::seccomp::call::SystemCall::new(libc::$constant, stringify!($constant))),*]
    };
}
pub(crate) use calls;
