//! Lists of names in messages: the first ones, and the number of the others.

/// Returns the first `most` names, and the number of the others.
#[must_use]
pub fn list<T: AsRef<str>>(names: &[T], most: usize) -> String {
    list_of(names, most, names.len(), ", ")
}

/// Returns the first `most` items, joined by a separator, and the number of the others of `all`.
#[must_use]
pub fn list_of<T: AsRef<str>>(items: &[T], most: usize, all: usize, separator: &str) -> String {
    let shown: Vec<&str> = items.iter().take(most).map(AsRef::as_ref).collect();
    let more = match (all.saturating_sub(shown.len()), separator) {
        (0, _) => String::new(),
        (more, ", ") => format!(" and {more} more"),
        (more, separator) => format!("{separator}and {more} more"),
    };
    format!("{}{more}", shown.join(separator))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_names_are_all_listed() {
        assert_eq!(list(&["a", "b"], 10), "a, b");
    }

    #[test]
    fn ten_names_are_listed_and_the_rest_counted() {
        let names = vec!["n"; 5_000];
        assert!(list(&names, 10).ends_with("n, n and 4990 more"));
    }

    #[test]
    fn sentences_are_counted_like_names() {
        assert_eq!(list_of(&["a", "b", "c"], 2, 3, "; "), "a; b; and 1 more");
    }
}
