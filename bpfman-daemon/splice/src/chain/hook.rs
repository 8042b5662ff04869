use crate::chain::proceed::ProceedMask;

/// Verdict: XDP 0 and up, TC -1 and up.
pub type Code = i32;

const XDP_ABORTED: Code = 0;
pub(crate) const XDP_DROP: Code = 1;
const XDP_PASS: Code = 2;
const XDP_REDIRECT: Code = 4;
const TC_UNSPEC: Code = -1;
const TC_OK: Code = 0;
pub(crate) const TC_SHOT: Code = 2;
const TC_REDIRECT: Code = 7;

/// Codes of TC programs, and those that a tcx link returns instead.
///
/// tcx (Linux 6.6) knows NEXT -1, PASS 0, DROP 2 and REDIRECT 7, and takes all others for NEXT: a stolen packet would
/// go on to the next filter. RECLASSIFY has meant OK since Linux 4.12; PIPE, and codes not listed, mean UNSPEC.
pub(crate) const TCX_TABLE: [(Code, Code); 9] = [
    (TC_UNSPEC, TC_UNSPEC),
    (TC_OK, TC_OK),
    (1, TC_OK), // RECLASSIFY
    (TC_SHOT, TC_SHOT),
    (3, TC_UNSPEC), // PIPE
    (4, TC_SHOT),   // STOLEN
    (5, TC_SHOT),   // QUEUED
    (TC_REDIRECT, TC_REDIRECT),
    (8, TC_SHOT), // TRAP
];

/// Hook of the spliced program, which determines the result of a chain at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpliceHook {
    /// XDP. All proceeded: PASS. Otherwise the stopping verdict.
    Xdp,
    /// A tcx link. All proceeded: NEXT. Otherwise the stopping verdict, in tcx's four codes.
    TcTcx,
    /// A tcx link before other links of the machine: accepting verdicts become NEXT, so that those links run.
    TcTcxOpen,
    /// A clsact filter in direct-action mode. All proceeded: UNSPEC. Otherwise the stopping verdict.
    TcClsact,
}

impl SpliceHook {
    /// Returns the verdict when every member proceeded.
    #[must_use]
    pub const fn end_verdict(self) -> Code {
        match self {
            Self::Xdp => XDP_PASS,
            Self::TcTcx | Self::TcTcxOpen | Self::TcClsact => TC_UNSPEC,
        }
    }

    /// Returns the verdict of a failed tail call inside the chain: drop, since members that might drop did not run.
    #[must_use]
    pub const fn fail_verdict(self) -> Code {
        match self {
            Self::Xdp => XDP_ABORTED,
            Self::TcTcx | Self::TcTcxOpen | Self::TcClsact => TC_SHOT,
        }
    }

    /// `xdp_md.ingress_ifindex`, `__sk_buff.ifindex`.
    pub(crate) const fn ifindex_offset(self) -> i16 {
        match self {
            Self::Xdp => 12,
            Self::TcTcx | Self::TcTcxOpen | Self::TcClsact => 40,
        }
    }

    /// Returns the result for the hook when a member ended the chain with `code`.
    #[must_use]
    pub fn translate(self, code: Code) -> Code {
        match self {
            Self::Xdp | Self::TcClsact => code,
            Self::TcTcx => TCX_TABLE.iter().find(|(from, _)| *from == code).map_or(TC_UNSPEC, |(_, to)| *to),
            Self::TcTcxOpen => match Self::TcTcx.translate(code) {
                TC_OK => TC_UNSPEC,
                translated => translated,
            },
        }
    }

    /// Returns the code that sends the packet to the target set by a redirect helper.
    #[must_use]
    pub const fn redirect(self) -> Code {
        match self {
            Self::Xdp => XDP_REDIRECT,
            Self::TcTcx | Self::TcTcxOpen | Self::TcClsact => TC_REDIRECT,
        }
    }

    /// Returns the code of bit 0 of a proceed-on set.
    #[must_use]
    pub const fn first_code(self) -> Code {
        match self {
            Self::Xdp => 0,
            Self::TcTcx | Self::TcTcxOpen | Self::TcClsact => -1,
        }
    }

    /// Returns whether the hook gets each verdict of `set` unchanged. Code 31, which only libxdp's dispatcher returns,
    /// counts as PASS.
    pub(crate) fn verdict_survives(self, set: ProceedMask) -> bool {
        match self {
            Self::Xdp => set.0 & !(1 << XDP_PASS | ProceedMask::DISPATCHER_RETURN.0) == 0,
            Self::TcClsact => set.codes(self).all(|code| code == TC_UNSPEC),
            Self::TcTcx | Self::TcTcxOpen => false,
        }
    }
}

/// Returns whether a single member is attached itself: XDP with only PASS and the dispatcher's code in the set.
#[must_use]
pub fn can_attach_direct(hook: SpliceHook, proceed_on: ProceedMask) -> bool {
    hook == SpliceHook::Xdp && hook.verdict_survives(proceed_on)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcx_gets_only_codes_it_knows() {
        let expected = [(-1, -1), (0, 0), (1, 0), (2, 2), (3, -1), (4, 2), (5, 2), (6, -1), (7, 7), (8, 2)];
        for (code, answer) in expected {
            assert_eq!(SpliceHook::TcTcx.translate(code), answer, "code {code}");
        }
        for (code, answer) in expected {
            let open = if answer == 0 { -1 } else { answer };
            assert_eq!(SpliceHook::TcTcxOpen.translate(code), open, "code {code}");
        }
        for unknown in [9, 30, 31, 255, i32::MIN, i32::MAX] {
            assert_eq!(SpliceHook::TcTcx.translate(unknown), -1);
        }
    }

    #[test]
    fn only_xdp_with_a_set_of_pass_is_direct() {
        let pass = ProceedMask(1 << 2);
        let default = ProceedMask(1 << 2 | 1 << 31);
        assert!(can_attach_direct(SpliceHook::Xdp, pass));
        assert!(can_attach_direct(SpliceHook::Xdp, default));
        assert!(can_attach_direct(SpliceHook::Xdp, ProceedMask(0)));
        assert!(!can_attach_direct(SpliceHook::Xdp, ProceedMask(1 << 1 | 1 << 2)));
        assert!(!can_attach_direct(SpliceHook::TcTcx, ProceedMask(1)));
        assert!(!can_attach_direct(SpliceHook::TcClsact, ProceedMask(0)));
    }
}
