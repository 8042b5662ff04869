//! Licences: nothing is stamped GPL that is not, and GPL-only helpers are not lost.

use crate::error::SpliceError;
use crate::member::Member;

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
pub(crate) fn decide(members: &[Member<'_>]) -> Result<Licence, SpliceError> {
    let licence = |index: usize| members[index].program().license.as_str();
    let compatible = (0..members.len()).find(|index| is_gpl_compatible(licence(*index)));
    let other = (0..members.len()).find(|index| !is_gpl_compatible(licence(*index)));
    if let (Some(compatible), Some(other)) = (compatible, other) {
        return Err(SpliceError::MixedLicences {
            compatible: members[compatible].name(compatible),
            compatible_licence: licence(compatible).into(),
            other: members[other].name(other),
            other_licence: licence(other).into(),
        });
    }
    let first = licence(0);
    let text = match (members.iter().all(|member| member.program().license == first), compatible) {
        (true, _) => first,
        (false, Some(_)) => "GPL",
        (false, None) => SEVERAL,
    };
    Ok(Licence { text: text.to_owned(), gpl_compatible: compatible.is_some() })
}
