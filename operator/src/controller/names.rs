//! Names in a sentence: a few of them, and how many more.

/// Most names that a message lists.
const NAMED: usize = 10;

/// The first names, and how many more there are.
#[must_use]
pub fn list(names: &[&str]) -> String {
    let named = names[..names.len().min(NAMED)].join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_names_are_all_listed() {
        assert_eq!(list(&["a", "b"]), "a, b");
    }

    #[test]
    fn of_many_names_ten_are_listed_and_the_others_counted() {
        let names = vec!["n"; 5_000];
        assert!(list(&names).ends_with("n, n and 4990 more"));
    }
}
