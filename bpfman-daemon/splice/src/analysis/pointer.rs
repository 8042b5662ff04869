use crate::analysis::values::{RegisterValue, Values};
use crate::text::opcode;

pub(crate) const FULL: u32 = 512;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// Clamped to a little more than a frame.
    pub(crate) lowest: i32,
    /// The offset is `lowest` on every path.
    pub(crate) exact: bool,
    /// The offset is never below `lowest`.
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

/// Clamps an offset, so that the analysis of descending pointers ends: one byte beyond a frame suffices.
fn clamp(offset: i32) -> i32 {
    offset.clamp(-(FULL.cast_signed() + 1), FULL.cast_signed())
}

/// Possible targets: the function's own frame, or the targets of its arguments 1 to 5.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pointer(pub(crate) [Option<Reach>; 6]);

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

/// Returns the registers at the start of a function. Entry functions have no pointer arguments.
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
