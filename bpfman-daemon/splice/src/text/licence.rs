//! Licences: nothing is stamped GPL that is not, and GPL-only helpers are not lost.

/// The licences that the kernel takes for GPL-compatible (`license_is_gpl_compatible`).
const GPL_COMPATIBLE: [&str; 6] =
    ["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"];

/// What the joined program of several licences without the GPL is stamped with.
const SEVERAL: &str = "several, none GPL-compatible";

/// Under which licence the joined program is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Licence {
    /// The licence text for the kernel.
    pub text: String,
    /// True if the program may call GPL-only helpers.
    pub gpl_compatible: bool,
}

/// True if the kernel allows GPL-only helpers under this licence.
#[must_use]
pub fn is_gpl_compatible(licence: &str) -> bool {
    GPL_COMPATIBLE.contains(&licence)
}

/// One licence for all: the common one, "GPL" for several compatible ones, a neutral word for several others.
///
/// A program is not given members of both kinds. One that only leads to others, by tail calls, holds no code but ours.
pub(crate) fn decide(licences: &[&str]) -> Licence {
    let gpl_compatible = !licences.is_empty() && licences.iter().all(|licence| is_gpl_compatible(licence));
    let text = match licences {
        [first, others @ ..] if others.iter().all(|other| other == first) => first,
        _ if gpl_compatible => "GPL",
        _ => SEVERAL,
    };
    Licence { text: text.to_owned(), gpl_compatible }
}
