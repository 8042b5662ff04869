//! Licences of joined programs: a GPL licence only for GPL-compatible members, which keep their GPL-only helpers.

/// Licences that the kernel treats as GPL-compatible (`license_is_gpl_compatible`).
const GPL_COMPATIBLE: [&str; 6] =
    ["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"];

/// Licence text of a program joined from several licences without the GPL.
const SEVERAL: &str = "several, none GPL-compatible";

/// Licence of a joined program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Licence {
    /// Licence text for the kernel.
    pub text: String,
    /// True if the program may call GPL-only helpers.
    pub gpl_compatible: bool,
}

/// Returns whether the kernel allows GPL-only helpers under this licence.
#[must_use]
pub fn is_gpl_compatible(licence: &str) -> bool {
    GPL_COMPATIBLE.contains(&licence)
}

/// Returns one licence for all: the common one, "GPL" for several compatible ones, a neutral text for several others.
///
/// The planner never puts members of both kinds into one program. A program that only tail-calls others has no code but
/// ours.
pub(crate) fn decide(licences: &[&str]) -> Licence {
    let gpl_compatible = !licences.is_empty() && licences.iter().all(|licence| is_gpl_compatible(licence));
    let text = match licences {
        [first, others @ ..] if others.iter().all(|other| other == first) => first,
        _ if gpl_compatible => "GPL",
        _ => SEVERAL,
    };
    Licence { text: text.to_owned(), gpl_compatible }
}
