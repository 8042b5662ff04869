//! Proceed-on sets: verdicts of a member after which the next member of its chain runs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::verdicts::{self, Verdicts};

/// Family of verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum VerdictFamily {
    /// `enum xdp_action`; the bit of a verdict is its code.
    Xdp,
    /// `TC_ACT_*`; the bit of a verdict is its code plus one, so that *unspec* (-1) has bit 0.
    Tc,
}

impl VerdictFamily {
    const fn verdicts(self) -> &'static Verdicts {
        match self {
            Self::Xdp => verdicts::XDP,
            Self::Tc => verdicts::TC,
        }
    }

    const fn default_codes(self) -> &'static [i32] {
        match self {
            Self::Xdp => verdicts::XDP_DEFAULT,
            Self::Tc => verdicts::TC_DEFAULT,
        }
    }

    /// Returns "xdp" or "tc".
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tc => "tc",
        }
    }

    /// Returns the code of a verdict; `None` if the kernel has no verdict of this name.
    #[must_use]
    pub fn code_of(self, name: &str) -> Option<i32> {
        verdicts::number(self.verdicts(), name)
    }

    const fn bit(self, code: i32) -> u32 {
        match self {
            Self::Xdp => 1 << code,
            Self::Tc => 1 << (code + 1),
        }
    }

    /// Returns the name of a verdict; `None` if the kernel has no such verdict.
    #[must_use]
    pub fn name_of(self, code: i32) -> Option<&'static str> {
        verdicts::name(self.verdicts(), code)
    }
}

/// Verdict that its family does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("proceed-on value {value} is not a verdict of {family}: expected one of {expected}")]
pub struct UnknownVerdict {
    /// Value as given.
    pub value: String,
    /// Name of the family: "xdp" or "tc".
    pub family: &'static str,
    /// Valid values, with their codes.
    pub expected: String,
}

/// Set of verdicts, as a bit mask in the encoding of its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProceedOn {
    family: VerdictFamily,
    mask: u32,
}

impl ProceedOn {
    /// Returns the documented default: *pass* for XDP, *pipe* for TC, and *dispatcher_return* for both.
    #[must_use]
    pub fn default_for(family: VerdictFamily) -> Self {
        let mask = family.default_codes().iter().fold(0, |mask, code| mask | family.bit(*code));
        Self { family, mask }
    }

    /// Returns the set of all verdicts.
    #[must_use]
    pub fn all(family: VerdictFamily) -> Self {
        let mask = family.verdicts().iter().fold(0, |mask, (_, code)| mask | family.bit(*code));
        Self { family, mask }
    }

    /// Builds a set from verdict codes; an empty list means the default. Errors: a code does not belong to the family.
    pub fn from_codes(family: VerdictFamily, codes: &[i32]) -> Result<Self, UnknownVerdict> {
        if codes.is_empty() {
            return Ok(Self::default_for(family));
        }
        let mut mask = 0;
        for &code in codes {
            if family.name_of(code).is_none() {
                return Err(unknown(family, &code.to_string()));
            }
            mask |= family.bit(code);
        }
        Ok(Self { family, mask })
    }

    /// Builds a set from names of verdicts; an empty list means the default.
    ///
    /// # Errors
    /// A name does not belong to the family.
    pub fn from_names<T: AsRef<str>>(family: VerdictFamily, names: &[T]) -> Result<Self, UnknownVerdict> {
        let code = |name: &T| family.code_of(name.as_ref()).ok_or_else(|| unknown(family, name.as_ref()));
        Self::from_codes(family, &names.iter().map(code).collect::<Result<Vec<_>, _>>()?)
    }

    /// Returns the bit mask: XDP bit = code, TC bit = code + 1.
    #[must_use]
    pub const fn mask(self) -> u32 {
        self.mask
    }

    /// Returns the family of the verdicts.
    #[must_use]
    pub const fn family(self) -> VerdictFamily {
        self.family
    }

    /// Returns whether the chain continues after this verdict.
    #[must_use]
    pub fn contains(self, code: i32) -> bool {
        self.family.name_of(code).is_some() && self.mask & self.family.bit(code) != 0
    }

    /// Returns whether the chain continues after a redirect, which then loses its target.
    #[must_use]
    pub fn has_redirect(self) -> bool {
        self.family.code_of("redirect").is_some_and(|code| self.contains(code))
    }

    /// Returns the codes in the set, ascending.
    pub fn codes(self) -> impl Iterator<Item = i32> {
        self.family.verdicts().iter().map(|(_, code)| *code).filter(move |code| self.contains(*code))
    }

    /// Returns the names in the set, in the order of their codes.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        self.codes().filter_map(move |code| self.family.name_of(code))
    }
}

fn unknown(family: VerdictFamily, value: &str) -> UnknownVerdict {
    UnknownVerdict {
        value: value.to_owned(),
        family: family.name(),
        expected: family
            .verdicts()
            .iter()
            .map(|(name, code)| format!("{code} ({name})"))
            .collect::<Vec<_>>()
            .join(", "),
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
        for family in [VerdictFamily::Xdp, VerdictFamily::Tc] {
            for (name, code) in family.verdicts() {
                let set = ProceedOn::from_codes(family, &[*code]).unwrap();
                assert_eq!(set.codes().collect::<Vec<_>>(), [*code]);
                assert_eq!(set.to_string(), *name);
                assert_eq!(ProceedOn::from_names(family, &[name]), Ok(set));
            }
        }
    }

    #[test]
    fn an_unknown_code_is_refused_by_name() {
        let error = ProceedOn::from_codes(VerdictFamily::Xdp, &[2, 9]).unwrap_err();
        assert!(error.to_string().contains("value 9"), "{error}");
        assert!(error.to_string().contains("2 (pass)"), "{error}");
        let error = ProceedOn::from_names(VerdictFamily::Xdp, &["pass", "pipe"]).unwrap_err();
        assert!(error.to_string().contains("value pipe is not a verdict of xdp"), "{error}");
    }

    #[test]
    fn a_code_outside_the_table_is_in_no_set() {
        let all = ProceedOn { family: VerdictFamily::Xdp, mask: u32::MAX };
        assert!(!all.contains(7));
        assert!(!all.contains(-1));
    }
}
