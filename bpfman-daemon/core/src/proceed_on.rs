//! Proceed-on sets: after which verdicts of a member the next member of its chain runs.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which family of verdicts a set speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum VerdictFamily {
    /// `enum xdp_action`; the bit of a verdict is its code.
    Xdp,
    /// `TC_ACT_*`; the bit of a verdict is its code plus one, so that *unspec* (-1) has bit 0.
    Tc,
}

/// Names and codes as users and the wire write them.
const XDP: [(&str, i32); 6] =
    [("aborted", 0), ("drop", 1), ("pass", 2), ("tx", 3), ("redirect", 4), ("dispatcher_return", 31)];
const TC: [(&str, i32); 11] = [
    ("unspec", -1),
    ("ok", 0),
    ("reclassify", 1),
    ("shot", 2),
    ("pipe", 3),
    ("stolen", 4),
    ("queued", 5),
    ("repeat", 6),
    ("redirect", 7),
    ("trap", 8),
    ("dispatcher_return", 30),
];

impl VerdictFamily {
    const fn verdicts(self) -> &'static [(&'static str, i32)] {
        match self {
            Self::Xdp => &XDP,
            Self::Tc => &TC,
        }
    }

    const fn bit(self, code: i32) -> u32 {
        match self {
            Self::Xdp => 1 << code,
            Self::Tc => 1 << (code + 1),
        }
    }

    /// Name of a verdict, or none if the kernel has no such verdict.
    #[must_use]
    pub fn name_of(self, code: i32) -> Option<&'static str> {
        self.verdicts().iter().find(|(_, c)| *c == code).map(|(name, _)| *name)
    }
}

/// A verdict that is not in its family's table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("proceed-on value {value} is not a verdict of {family}: expected one of {expected}")]
pub struct UnknownVerdict {
    /// What was given.
    pub value: String,
    /// "xdp" or "tc".
    pub family: &'static str,
    /// The values that exist, with their codes.
    pub expected: String,
}

/// A set of verdicts, as a bit mask in the encoding of its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProceedOn {
    family: VerdictFamily,
    mask: u32,
}

impl ProceedOn {
    /// The documented default: *pass* for XDP, *pipe* for TC, and *dispatcher_return* for both.
    #[must_use]
    pub const fn default_for(family: VerdictFamily) -> Self {
        let mask = match family {
            VerdictFamily::Xdp => (1 << 2) | (1 << 31),
            VerdictFamily::Tc => (1 << 4) | (1 << 31),
        };
        Self { family, mask }
    }

    /// Builds a set from verdict codes; an empty list means the default.
    ///
    /// # Errors
    /// A code that its family does not have.
    pub fn from_codes(family: VerdictFamily, codes: &[i32]) -> Result<Self, UnknownVerdict> {
        if codes.is_empty() {
            return Ok(Self::default_for(family));
        }
        let mut mask = 0;
        for &code in codes {
            if family.name_of(code).is_none() {
                return Err(UnknownVerdict {
                    value: code.to_string(),
                    family: match family {
                        VerdictFamily::Xdp => "xdp",
                        VerdictFamily::Tc => "tc",
                    },
                    expected: family
                        .verdicts()
                        .iter()
                        .map(|(name, code)| format!("{code} ({name})"))
                        .collect::<Vec<_>>()
                        .join(", "),
                });
            }
            mask |= family.bit(code);
        }
        Ok(Self { family, mask })
    }

    /// The bit mask: XDP bit = code, TC bit = code + 1.
    #[must_use]
    pub const fn mask(self) -> u32 {
        self.mask
    }

    /// Which verdicts it speaks of.
    #[must_use]
    pub const fn family(self) -> VerdictFamily {
        self.family
    }

    /// True if the chain goes on after this verdict.
    #[must_use]
    pub fn contains(self, code: i32) -> bool {
        self.family.name_of(code).is_some() && self.mask & self.family.bit(code) != 0
    }

    /// The codes in the set, ascending.
    pub fn codes(self) -> impl Iterator<Item = i32> {
        self.family.verdicts().iter().map(|(_, code)| *code).filter(move |code| self.contains(*code))
    }

    /// The names in the set, in the order of their codes.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.codes().filter_map(move |code| self.family.name_of(code))
    }
}

impl fmt::Display for ProceedOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_the_documented_bits() {
        assert_eq!(ProceedOn::default_for(VerdictFamily::Xdp).mask(), (1 << 2) | (1 << 31));
        assert_eq!(ProceedOn::default_for(VerdictFamily::Tc).mask(), (1 << (3 + 1)) | (1 << (30 + 1)));
        for family in [VerdictFamily::Xdp, VerdictFamily::Tc] {
            assert_eq!(ProceedOn::from_codes(family, &[]), Ok(ProceedOn::default_for(family)));
        }
    }

    #[test]
    fn unspec_is_bit_zero_of_tc() {
        assert_eq!(ProceedOn::from_codes(VerdictFamily::Tc, &[-1]).unwrap().mask(), 1);
    }

    #[test]
    fn every_verdict_survives_the_way_there_and_back() {
        for (family, table) in [(VerdictFamily::Xdp, &XDP[..]), (VerdictFamily::Tc, &TC[..])] {
            for (name, code) in table {
                let set = ProceedOn::from_codes(family, &[*code]).unwrap();
                assert_eq!(set.codes().collect::<Vec<_>>(), [*code]);
                assert_eq!(set.to_string(), *name);
            }
        }
    }

    #[test]
    fn an_unknown_code_is_refused_by_name() {
        let error = ProceedOn::from_codes(VerdictFamily::Xdp, &[2, 9]).unwrap_err();
        assert!(error.to_string().contains("value 9"), "{error}");
        assert!(error.to_string().contains("2 (pass)"), "{error}");
    }

    #[test]
    fn a_code_outside_the_table_is_in_no_set() {
        let all = ProceedOn { family: VerdictFamily::Xdp, mask: u32::MAX };
        assert!(!all.contains(7));
        assert!(!all.contains(-1));
    }
}
