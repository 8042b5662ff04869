use std::ops::Range;

/// Type of a range of a joined program; members are counted in the whole chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainPart {
    /// Glue that leads into a member: saved context, zeroed frame, the call of a member behind a call.
    Entry { member: usize },
    /// The member's entry function, inlined.
    Body { member: usize },
    /// Glue behind a member: the check of its verdict; behind the last one, the ends of the program.
    Check { member: usize },
    /// Glue at the start of a member's function behind a call: its zeroed frame.
    Start {
        member: usize,
        /// Number of the function in the member's text; 0 is its entry function.
        function: usize,
    },
    /// A function of a member, behind a call.
    Function {
        member: usize,
        /// Number of the function in the member's text; 0 is its entry function.
        function: usize,
    },
    /// The function that tail-calls a member in a program of its own.
    Stub { member: usize },
}

impl ChainPart {
    /// Returns the index of the member that the part belongs to.
    #[must_use]
    pub const fn member(&self) -> usize {
        match self {
            Self::Entry { member }
            | Self::Body { member }
            | Self::Check { member }
            | Self::Start { member, .. }
            | Self::Function { member, .. }
            | Self::Stub { member } => *member,
        }
    }

    pub(crate) const fn function(&self) -> Option<usize> {
        match self {
            Self::Body { .. } => Some(0),
            Self::Function { function, .. } => Some(*function),
            Self::Entry { .. } | Self::Check { .. } | Self::Start { .. } | Self::Stub { .. } => None,
        }
    }

    const fn is_function(&self) -> bool {
        matches!(self, Self::Start { .. } | Self::Function { .. } | Self::Stub { .. })
    }
}

/// A range of the joined program's instructions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainSection {
    pub insns: Range<usize>,
    pub part: ChainPart,
}

/// Returns the functions other than the entry: first instruction and part of each.
pub(crate) fn functions(sections: &[ChainSection]) -> impl Iterator<Item = (usize, &ChainPart)> {
    let mut before: Option<&ChainPart> = None;
    sections.iter().filter_map(move |section| {
        let continues =
            matches!((before, &section.part), (Some(ChainPart::Start { .. }), ChainPart::Function { .. }));
        before = Some(&section.part);
        (section.part.is_function() && !continues).then_some((section.insns.start, &section.part))
    })
}
