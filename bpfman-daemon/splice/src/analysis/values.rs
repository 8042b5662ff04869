use std::collections::BTreeMap;

use crate::text::flow::FlowFacts;

pub(crate) trait RegisterValue: Copy + Default + PartialEq {
    /// Returns the facts that hold for either value. Repeated calls widen a value only finitely often.
    #[must_use]
    fn or(self, other: Self) -> Self;
}

#[derive(Clone)]
pub(crate) struct Values<V> {
    pub(crate) registers: [V; 11],
    pub(crate) slots: BTreeMap<i32, V>,
    pub(crate) anywhere: V,
}

impl<V: RegisterValue> Values<V> {
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

fn take<V: RegisterValue>(mine: &mut V, theirs: V) -> bool {
    let before = *mine;
    *mine = before.or(theirs);
    *mine != before
}
