//! Contents of the registers and the spill slots of one function, as far as an analysis knows them.

use std::collections::BTreeMap;

use crate::text::flow::FlowFacts;

pub(crate) trait RegisterValue: Copy + Default + PartialEq {
    /// Returns the facts that hold for either value: this only widens, and only finitely often.
    #[must_use]
    fn or(self, other: Self) -> Self;
}

/// Contents of the registers and the spill slots.
#[derive(Clone)]
pub(crate) struct Values<V> {
    pub(crate) registers: [V; 11],
    /// By exact offset from the frame pointer.
    pub(crate) slots: BTreeMap<i32, V>,
    /// Spilled to a position that is not known exactly.
    pub(crate) anywhere: V,
}

impl<V: RegisterValue> Values<V> {
    /// Returns the values at a function's start: nothing is spilled.
    pub(crate) fn given(registers: [V; 11]) -> Self {
        Self { registers, slots: BTreeMap::new(), anywhere: V::default() }
    }

    pub(crate) fn forget_scratch(&mut self) {
        self.registers[..6].fill(V::default());
    }
}

impl<V: RegisterValue> FlowFacts for Values<V> {
    fn join(&mut self, other: &Self) -> bool {
        let mut widened = self.registers.join(&other.registers);
        for (slot, theirs) in &other.slots {
            widened |= take(self.slots.entry(*slot).or_default(), *theirs);
        }
        widened | take(&mut self.anywhere, other.anywhere)
    }
}

impl<V: RegisterValue> FlowFacts for [V; 11] {
    fn join(&mut self, other: &Self) -> bool {
        self.iter_mut().zip(other).fold(false, |widened, (mine, theirs)| widened | take(mine, *theirs))
    }
}

/// Joins facts. Returns whether that widened them.
fn take<V: RegisterValue>(mine: &mut V, theirs: V) -> bool {
    let before = *mine;
    *mine = before.or(theirs);
    *mine != before
}
