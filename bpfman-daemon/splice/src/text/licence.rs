/// Licences of the kernel's `license_is_gpl_compatible`.
const GPL_COMPATIBLE: [&str; 6] =
    ["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"];

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

/// The common licence, "GPL" for several compatible ones, else a neutral text. The planner never mixes both kinds.
pub(crate) fn decide(licences: &[&str]) -> Licence {
    let gpl_compatible = !licences.is_empty() && licences.iter().all(|licence| is_gpl_compatible(licence));
    let text = match licences {
        [first, others @ ..] if others.iter().all(|other| other == first) => first,
        _ if gpl_compatible => "GPL",
        _ => SEVERAL,
    };
    Licence { text: text.to_owned(), gpl_compatible }
}
