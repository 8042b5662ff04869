//! Pointers into stack frames in the analysis of depths: possible targets, and the distance down.

use crate::analysis::values::{RegisterValue, Values};
use crate::text::opcode;

/// Largest frame that the kernel allows, in bytes.
pub(crate) const FULL: u32 = 512;

/// Distance that a pointer reaches down from its base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Lowest constant offset, clamped to a little more than a frame.
    pub(crate) lowest: i32,
    /// True if the offset is `lowest` on every path.
    pub(crate) exact: bool,
    /// True if the offset is never below `lowest`.
    pub(crate) certain: bool,
}

impl Reach {
    pub(crate) const START: Self = Self { lowest: 0, exact: true, certain: true };

    pub(crate) fn moved(self, by: i32) -> Self {
        Self { lowest: clamp(self.lowest.saturating_add(by)), ..self }
    }

    pub(crate) fn anywhere(self) -> Self {
        Self { exact: false, certain: false, ..self }
    }

    pub(crate) fn or(self, other: Self) -> Self {
        let same = self.lowest == other.lowest;
        Self {
            lowest: self.lowest.min(other.lowest),
            exact: self.exact && other.exact && same,
            certain: self.certain && other.certain,
        }
    }
}

/// Clamps an offset, so that the analysis of descending pointers ends: one byte beyond a frame is as good as any lower
/// offset.
fn clamp(offset: i32) -> i32 {
    offset.clamp(-(FULL.cast_signed() + 1), FULL.cast_signed())
}

/// Possible targets of a register: the function's own frame, or the targets of its arguments 1 to 5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pointer(pub(crate) [Option<Reach>; 6]);

/// Index of the own frame in a [`Pointer`]; arguments are at 1 to 5.
pub(crate) const OWN: usize = 0;

impl Pointer {
    pub(crate) fn map(self, change: impl Fn(Reach) -> Reach) -> Self {
        Self(self.0.map(|reach| reach.map(&change)))
    }

    pub(crate) fn is_pointer(self) -> bool {
        self.0.iter().any(Option::is_some)
    }
}

impl RegisterValue for Pointer {
    fn or(self, other: Self) -> Self {
        let mut both = self;
        for (mine, theirs) in both.0.iter_mut().zip(other.0) {
            *mine = match (*mine, theirs) {
                (Some(a), Some(b)) => Some(a.or(b)),
                (a, b) => a.or(b),
            };
        }
        both
    }
}

/// Returns the pointers at a function's start: the frame pointer, and arguments unless it is the entry function.
pub(crate) fn at_entry(has_arguments: bool) -> Values<Pointer> {
    let mut registers = [Pointer::default(); 11];
    registers[usize::from(opcode::FRAME)].0[OWN] = Some(Reach::START);
    if has_arguments {
        for (argument, register) in registers.iter_mut().enumerate().skip(1).take(5) {
            register.0[argument] = Some(Reach::START);
        }
    }
    Values::given(registers)
}
