//! Per-CPU array of exits, with a row per interface, shared by all programs of a cut chain. A row has a slot per member
//! and one for "all proceeded", with a 64-bit cell per verdict. A packet counts at its exit and at each shadow member.

use crate::chain::hook::{Code, SpliceHook};

/// Number of rows, a power of two. A packet's row is its interface's index modulo this.
pub const COUNTER_ROWS: u32 = 64;

/// Layout of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CounterLayout {
    hook: SpliceHook,
    /// Number of members that can run, plus one.
    pub slots: usize,
    /// Number of cells of a slot.
    pub columns: usize,
}

impl CounterLayout {
    /// Returns the layout for a chain of `members` members that can run (as many as [`crate::ChainPlan::members`] has).
    #[must_use]
    pub const fn new(hook: SpliceHook, members: usize) -> Self {
        let columns = match hook {
            SpliceHook::Xdp => 8,
            SpliceHook::TcTcx | SpliceHook::TcTcxOpen | SpliceHook::TcClsact => 16,
        };
        Self { hook, slots: members + 1, columns }
    }

    /// Returns the size of a row on one CPU, in bytes.
    #[must_use]
    pub const fn value_size(self) -> usize {
        self.slots * self.columns * 8
    }

    /// Returns the row of an interface.
    #[must_use]
    pub const fn row(ifindex: u32) -> u32 {
        ifindex & (COUNTER_ROWS - 1)
    }

    /// Returns the slot that counts packets after all members proceeded, by the chain's final verdict.
    #[must_use]
    pub const fn all_proceeded(self) -> usize {
        self.slots - 1
    }

    /// Returns the index of the cell (eight bytes each) for a member's own verdict.
    #[must_use]
    pub const fn cell(self, slot: usize, code: Code) -> usize {
        slot * self.columns + self.column(code)
    }

    /// Returns the index of the cell for failed tail calls to a member or program.
    #[must_use]
    pub const fn failed_cell(self, slot: usize) -> usize {
        slot * self.columns + self.failed_column()
    }

    /// Returns the column of a verdict.
    #[must_use]
    pub const fn column(self, code: Code) -> usize {
        let first = self.hook.first_code();
        let known = self.known_columns();
        match code {
            // Codes are compared first, so the difference is small and not negative.
            code if code >= first && code < first + known as Code => (code - first) as usize,
            _ => self.other_column(),
        }
    }

    pub(crate) const fn known_columns(self) -> usize {
        match self.hook {
            SpliceHook::Xdp => 5,
            SpliceHook::TcTcx | SpliceHook::TcTcxOpen | SpliceHook::TcClsact => 10,
        }
    }

    /// Returns the column of verdicts that the hook does not know.
    #[must_use]
    pub const fn other_column(self) -> usize {
        match self.hook {
            SpliceHook::Xdp => 5,
            SpliceHook::TcTcx | SpliceHook::TcTcxOpen | SpliceHook::TcClsact => 14,
        }
    }

    /// Returns the column of failed tail calls.
    #[must_use]
    pub const fn failed_column(self) -> usize {
        match self.hook {
            SpliceHook::Xdp => 6,
            SpliceHook::TcTcx | SpliceHook::TcTcxOpen | SpliceHook::TcClsact => 15,
        }
    }

    /// Returns the name of a column, as users know the verdict; none for unused columns.
    #[must_use]
    pub fn column_name(self, column: usize) -> Option<&'static str> {
        const XDP: [&str; 5] = ["aborted", "drop", "pass", "tx", "redirect"];
        const TC: [&str; 10] =
            ["unspec", "ok", "reclassify", "shot", "pipe", "stolen", "queued", "repeat", "redirect", "trap"];
        let known: &[&'static str] = match self.hook {
            SpliceHook::Xdp => &XDP,
            SpliceHook::TcTcx | SpliceHook::TcTcxOpen | SpliceHook::TcClsact => &TC,
        };
        match column {
            column if column == self.other_column() => Some("other"),
            column if column == self.failed_column() => Some("failed"),
            column => known.get(column).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_has_a_cell_of_its_own_slot() {
        for (hook, codes) in
            [(SpliceHook::Xdp, 0..=4), (SpliceHook::TcTcx, -1..=8), (SpliceHook::TcClsact, -1..=8)]
        {
            let layout = CounterLayout::new(hook, 3);
            let mut seen = std::collections::BTreeSet::new();
            for slot in 0..layout.slots {
                for code in codes.clone() {
                    assert!(seen.insert(layout.cell(slot, code)));
                }
                assert!(seen.insert(layout.cell(slot, 77)), "unknown codes share one");
                assert_eq!(layout.cell(slot, 77), layout.cell(slot, -2));
                assert!(seen.insert(layout.failed_cell(slot)));
            }
            assert!(seen.iter().all(|cell| cell * 8 < layout.value_size()));
        }
    }

    #[test]
    fn columns_are_named_by_verdict() {
        let xdp = CounterLayout::new(SpliceHook::Xdp, 1);
        assert_eq!(xdp.column_name(xdp.column(1)), Some("drop"));
        assert_eq!(xdp.column_name(xdp.column(5)), Some("other"));
        assert_eq!(xdp.column_name(xdp.failed_column()), Some("failed"));
        assert_eq!(xdp.column_name(7), None);
        let tc = CounterLayout::new(SpliceHook::TcTcx, 1);
        assert_eq!(tc.column_name(tc.column(-1)), Some("unspec"));
        assert_eq!(tc.column_name(tc.column(2)), Some("shot"));
        assert_eq!(tc.column_name(tc.column(8)), Some("trap"));
        assert_eq!(tc.column_name(12), None);
    }

    #[test]
    fn the_largest_row_fits_a_per_cpu_map() {
        let layout = CounterLayout::new(SpliceHook::TcTcx, crate::MAX_MEMBERS);
        assert!(layout.value_size() <= 32 * 1024);
    }
}
