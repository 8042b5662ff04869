use std::collections::BTreeSet;

/// The author of the file may claim any number of addresses.
const MAX_ADDRESSES: usize = 1000;

#[derive(Debug, Default)]
pub struct Definitions {
    current: Addresses,
    older: Addresses,
    /// Symbols that are not declared as functions: used only if no function has the name.
    others: Addresses,
    /// Set if a resolver (IFUNC) picks one of several functions when a process starts.
    has_resolver: bool,
    has_older_resolver: bool,
    pub is_imported: bool,
}

#[derive(Debug, Default)]
struct Addresses {
    strong: BTreeSet<u64>,
    weak: Option<u64>,
}

impl Addresses {
    fn is_empty(&self) -> bool {
        self.strong.is_empty() && self.weak.is_none()
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Binding {
    pub is_weak: bool,
    pub is_older: bool,
    pub is_function: bool,
}

impl Definitions {
    pub fn add(&mut self, address: u64, binding: Binding) {
        let group = match (binding.is_function, binding.is_older) {
            (false, _) => &mut self.others,
            (true, true) => &mut self.older,
            (true, false) => &mut self.current,
        };
        if binding.is_weak {
            group.weak.get_or_insert(address);
        } else if group.strong.len() < MAX_ADDRESSES {
            group.strong.insert(address);
        }
    }

    pub fn add_resolver(&mut self, is_older: bool) {
        self.has_resolver |= !is_older;
        self.has_older_resolver |= is_older;
    }

    pub fn is_chosen_at_run_time(&self) -> bool {
        match (self.has_resolver, self.has_older_resolver) {
            (true, _) => self.current.is_empty(),
            (false, true) => self.current.is_empty() && self.older.is_empty(),
            (false, false) => false,
        }
    }

    /// Returns the function's address. The error is the number of ambiguous addresses.
    pub fn chosen(&self) -> Result<Option<u64>, usize> {
        for group in [&self.current, &self.older, &self.others] {
            match (group.strong.len(), group.weak) {
                (0, None) => {}
                (0, weak) => return Ok(weak),
                (1, _) => return Ok(group.strong.first().copied()),
                (several, _) => return Err(several),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(all: &[(u64, bool, bool)]) -> Result<Option<u64>, usize> {
        let mut definitions = Definitions::default();
        for (address, is_weak, is_older) in all.iter().copied() {
            definitions.add(address, Binding { is_weak, is_older, is_function: true });
        }
        definitions.chosen()
    }

    #[test]
    fn the_current_version_and_the_strong_definition_are_meant() {
        assert_eq!(chosen(&[]), Ok(None));
        assert_eq!(chosen(&[(1, false, true), (2, true, false), (3, false, false)]), Ok(Some(3)));
        assert_eq!(chosen(&[(1, false, true), (2, true, false)]), Ok(Some(2)));
        assert_eq!(chosen(&[(1, false, true)]), Ok(Some(1)), "there is no other");
        assert_eq!(chosen(&[(1, true, false), (2, true, false)]), Ok(Some(1)), "linkers take the first");
        assert_eq!(chosen(&[(1, false, false), (1, false, false)]), Ok(Some(1)), "the same");
    }

    #[test]
    fn a_function_is_meant_before_a_variable_of_its_name() {
        let mut definitions = Definitions::default();
        definitions.add(1, Binding { is_weak: false, is_older: false, is_function: false });
        assert_eq!(definitions.chosen(), Ok(Some(1)));
        definitions.add(2, Binding { is_weak: true, is_older: true, is_function: true });
        assert_eq!(definitions.chosen(), Ok(Some(2)));
    }

    #[test]
    fn resolver_is_meant_before_an_older_function() {
        let function = |is_older| Binding { is_weak: false, is_older, is_function: true };
        for (resolver_is_older, functions, is_resolved) in [
            (false, &[][..], true),
            (false, &[true], true),
            (false, &[true, false], false),
            (true, &[], true),
            (true, &[true], false),
            (true, &[false], false),
        ] {
            let mut definitions = Definitions::default();
            definitions.add_resolver(resolver_is_older);
            functions.iter().for_each(|is_older| definitions.add(1, function(*is_older)));
            let found = definitions.is_chosen_at_run_time();
            assert_eq!(found, is_resolved, "{resolver_is_older} {functions:?}");
        }
    }

    #[test]
    fn several_that_count_the_same_are_none() {
        assert_eq!(chosen(&[(1, false, false), (2, false, false), (3, true, false)]), Err(2));
        let many: Vec<_> = (0..100_000).map(|address| (address, false, true)).collect();
        assert_eq!(chosen(&many), Err(MAX_ADDRESSES));
    }
}
