//! Interned text that repeats over many objects: names of nodes, kernels, reasons, digests.

use std::collections::HashSet;
use std::sync::Arc;

/// Reference-counted text.
pub type SharedText = Arc<str>;

/// Cache that gives equal text the same allocation.
#[derive(Debug, Default)]
pub struct Interner {
    held: HashSet<SharedText>,
    sweep_at: usize,
}

impl Interner {
    /// Returns the shared copy of a text.
    pub fn intern(&mut self, text: &str) -> SharedText {
        if let Some(held) = self.held.get(text) {
            return held.clone();
        }
        if self.held.len() >= self.sweep_at {
            self.held.retain(|text| Arc::strong_count(text) > 1);
            // Twice the used size, so that sweeping costs a constant per new text.
            self.sweep_at = (self.held.len() * 2).max(1024);
        }
        let text: SharedText = text.into();
        self.held.insert(text.clone());
        text
    }

    /// Returns the shared copy of an optional text; empty counts as absent.
    pub fn optional(&mut self, text: Option<&str>) -> Option<SharedText> {
        text.filter(|text| !text.is_empty()).map(|text| self.intern(text))
    }

    /// Returns the number of distinct texts.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_text_is_held_once() {
        let mut interner = Interner::default();
        let (first, second) = (interner.intern("6.1.0-44"), interner.intern("6.1.0-44"));
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(interner.len(), 1);
    }

    #[test]
    fn unused_text_is_freed() {
        let mut interner = Interner::default();
        let kept = interner.intern("kept");
        for number in 0..10_000 {
            interner.intern(&format!("passing {number}"));
        }
        assert!(interner.len() < 3_000, "{} texts", interner.len());
        assert!(Arc::ptr_eq(&kept, &interner.intern("kept")));
    }

    #[test]
    fn empty_text_is_absent() {
        assert_eq!(Interner::default().optional(Some("")), None);
    }
}
