use std::collections::BTreeSet;
use std::fmt;

/// Functions that Linux 7.0 renamed: the old name, the new name (findings/kernel-7-file-functions.sh).
const RENAMED: [(&str, &str); 8] = [
    ("do_unlinkat", "filename_unlinkat"),
    ("do_mkdirat", "filename_mkdirat"),
    ("do_rmdir", "filename_rmdir"),
    ("do_renameat2", "filename_renameat2"),
    ("do_linkat", "filename_linkat"),
    ("do_symlinkat", "filename_symlinkat"),
    ("do_mknodat", "filename_mknodat"),
    ("do_filp_open", "do_file_open"),
];
const RENAMED_SINCE: &str = "7.0";

const MAX_NAMES: usize = 3;

/// Existing functions that a user may have meant by a missing kernel function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionHints {
    /// Functions that the compiler made of the missing one: `NAME.isra.0`, `NAME.constprop.0`.
    made: Vec<String>,
    renamed: Option<String>,
    near: Vec<String>,
}

/// Search that compares one function of a kernel at a time, because a kernel has a hundred thousand.
#[derive(Debug)]
pub struct FunctionSearch<'w> {
    wanted: &'w str,
    max_slips: usize,
    made: BTreeSet<String>,
    renamed: Option<String>,
    near: BTreeSet<(usize, String)>,
}

impl<'w> FunctionSearch<'w> {
    /// Begins a search.
    #[must_use]
    pub const fn new(wanted: &'w str) -> Self {
        let max_slips = if wanted.len() < 10 { 1 } else { wanted.len() / 5 };
        Self { wanted, max_slips, made: BTreeSet::new(), renamed: None, near: BTreeSet::new() }
    }

    /// Compares a function.
    pub fn see(&mut self, name: &str) {
        let suffix = name.strip_prefix(self.wanted).and_then(|rest| rest.strip_prefix('.'));
        // `NAME.cold` is the rarely executed part of a function, not its start.
        if suffix.is_some_and(|suffix| !suffix.ends_with("cold")) {
            insert(&mut self.made, name.to_owned());
        }
        if let Some((_, when)) = renaming(self.wanted).filter(|(other, _)| *other == name) {
            self.renamed = Some(format!("{when} Linux {RENAMED_SINCE} it is called {name}"));
        }
        if !name.contains('.')
            && let Some(slips) = slips(self.wanted, name, self.max_slips)
        {
            insert(&mut self.near, (slips, name.to_owned()));
        }
    }

    /// Ends the search.
    #[must_use]
    pub fn hints(self) -> FunctionHints {
        FunctionHints {
            made: self.made.into_iter().collect(),
            renamed: self.renamed,
            near: self.near.into_iter().map(|(_, name)| name).collect(),
        }
    }
}

fn insert<T: Ord>(best: &mut BTreeSet<T>, found: T) {
    best.insert(found);
    if best.len() > MAX_NAMES {
        best.pop_last();
    }
}

impl FunctionHints {
    /// Searches the functions of a kernel.
    #[must_use]
    pub fn of<'a>(wanted: &str, functions: impl IntoIterator<Item = &'a str>) -> Self {
        let mut search = FunctionSearch::new(wanted);
        functions.into_iter().for_each(|name| search.see(name));
        search.hints()
    }

    /// Returns whether the hints explain why the function is missing; similar names alone may be coincidence.
    #[must_use]
    pub const fn explain(&self) -> bool {
        !self.made.is_empty() || self.renamed.is_some()
    }
}

/// Writes `: its compiler made NAME.isra.0 of it; near names are A, B`, or nothing if there are no hints.
impl fmt::Display for FunctionHints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = self.made.join(", ");
        let near = self.near.join(", ");
        let parts = [
            self.renamed.clone(),
            (!made.is_empty()).then(|| format!("its compiler made {made} of it")),
            (!near.is_empty()).then(|| format!("names like it are {near}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { Ok(()) } else { write!(f, ": {}", parts.join("; ")) }
    }
}

fn renaming(name: &str) -> Option<(&'static str, &'static str)> {
    RENAMED.iter().find_map(|(old, new)| match name {
        _ if name == *old => Some((*new, "since")),
        _ if name == *new => Some((*old, "before")),
        _ => None,
    })
}

/// Returns the number of missing, added and wrong letters; `None` above `most`.
fn slips(one: &str, other: &str, most: usize) -> Option<usize> {
    if one.len().abs_diff(other.len()) > most || one == other {
        return None;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, left) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (index, right) in other.bytes().enumerate() {
            let cost = diagonal + usize::from(left != right);
            diagonal = row[index + 1];
            row[index + 1] = cost.min(diagonal + 1).min(row[index] + 1);
        }
        if row.iter().all(|slips| *slips > most) {
            return None;
        }
    }
    row.last().copied().filter(|slips| *slips <= most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_7: [&str; 8] = [
        "filename_unlinkat",
        "do_file_open",
        "vfs_unlink",
        "vfs_unlink.cold",
        "vfs_link",
        "finish.isra.0",
        "finish.constprop.0",
        "finish.part.0.cold",
    ];

    fn text(wanted: &str) -> String {
        FunctionHints::of(wanted, OF_7).to_string()
    }

    #[test]
    fn renamed_functions_are_named_in_both_directions() {
        assert_eq!(text("do_unlinkat"), ": since Linux 7.0 it is called filename_unlinkat");
        assert_eq!(text("do_mkdirat"), "", "this kernel has neither");
        let before = FunctionHints::of("do_file_open", ["do_filp_open"]).to_string();
        assert!(before.starts_with(": before Linux 7.0 it is called do_filp_open"), "{before}");
    }

    #[test]
    fn functions_that_the_compiler_made_are_named() {
        assert_eq!(text("finish"), ": its compiler made finish.constprop.0, finish.isra.0 of it");
    }

    #[test]
    fn slips_of_the_keys_are_named_and_other_words_are_not() {
        assert_eq!(text("vfs_unlnik"), ": names like it are vfs_unlink");
        assert_eq!(text("vfs_unlik"), ": names like it are vfs_unlink");
        assert_eq!(FunctionHints::of("of_no_kernel", OF_7), FunctionHints::default());
    }
}
