//! Mode of rules: enforced, or only reported. Changes are ordered so that no rules are enforced by mistake.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::Deserialize;

/// Mode of a program; it starts in `Shadow`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Rules only report
    Shadow,
    /// Rules act
    Enforce,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Shadow => "shadow",
            Self::Enforce => "enforce",
        })
    }
}

impl FromStr for Mode {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "shadow" => Ok(Self::Shadow),
            "enforce" => Ok(Self::Enforce),
            other => bail!("{other:?} is no mode: shadow or enforce"),
        }
    }
}

impl Mode {
    /// Returns the mode of a map value.
    pub fn of_word(word: u64) -> Self {
        if word == Self::Enforce as u64 { Self::Enforce } else { Self::Shadow }
    }
}

/// Replaces rules and sets the mode, if given: `enforce` after the new rules, `shadow` before; restored on failure.
pub fn replace_in<T>(
    wanted: Option<Mode>,
    now: Mode,
    mut set: impl FnMut(Mode) -> Result<()>,
    replace: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let to_shadow = wanted == Some(Mode::Shadow) && now == Mode::Enforce;
    if to_shadow {
        set(Mode::Shadow)?;
    }
    match (replace(), wanted) {
        (Ok(replaced), Some(Mode::Enforce)) => set(Mode::Enforce).map(|()| replaced),
        (Err(error), _) if to_shadow => {
            set(now)?;
            Err(error)
        }
        (replaced, _) => replaced,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn steps(wanted: Option<Mode>, now: Mode, works: bool) -> Vec<String> {
        let done = RefCell::new(Vec::new());
        let set = |mode: Mode| {
            done.borrow_mut().push(mode.to_string());
            Ok(())
        };
        let replace = || {
            done.borrow_mut().push("rules".to_owned());
            if works { Ok(()) } else { bail!("no") }
        };
        assert_eq!(replace_in(wanted, now, set, replace).is_ok(), works);
        done.into_inner()
    }

    #[test]
    fn rules_are_never_enforced_before_they_are_there() {
        use Mode::{Enforce, Shadow};
        assert_eq!(steps(Some(Enforce), Shadow, true), ["rules", "enforce"]);
        assert_eq!(steps(Some(Enforce), Shadow, false), ["rules"]);
        assert_eq!(steps(Some(Shadow), Enforce, true), ["shadow", "rules"]);
        assert_eq!(steps(Some(Shadow), Enforce, false), ["shadow", "rules", "enforce"]);
        assert_eq!(steps(Some(Shadow), Shadow, true), ["rules"]);
        assert_eq!(steps(None, Enforce, true), ["rules"]);
    }
}
