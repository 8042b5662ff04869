//! System calls by number and name.

/// System call of this processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SystemCall {
    pub number: i64,
    constant: &'static str,
}

impl SystemCall {
    /// Creates a call from its number and its constant.
    #[must_use]
    pub const fn new(number: i64, constant: &'static str) -> Self {
        Self { number, constant }
    }

    /// Returns the name, as in the manual page.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.constant.strip_prefix("SYS_").unwrap_or(self.constant)
    }
}

macro_rules! calls {
    ($($constant:ident),* $(,)?) => {
        &[$($crate::seccomp::call::SystemCall::new(libc::$constant, stringify!($constant))),*]
    };
}
pub(crate) use calls;
