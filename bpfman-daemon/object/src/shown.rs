//! Texts that others wrote, in messages: enough of each to know it again.

/// Most characters of one text.
const MOST: usize = 60;
/// Most names of a list.
const MOST_NAMES: usize = 8;

/// A text in quotation marks, its beginning if it is long.
pub fn shown(text: &str) -> String {
    format!("\"{}\"", cut(text))
}

/// Names, the first if there are many.
pub fn some_of<'n>(mut names: impl Iterator<Item = &'n str>) -> String {
    let mut some: Vec<String> = names.by_ref().take(MOST_NAMES).map(cut).collect();
    if names.next().is_some() {
        some.push("…".to_owned());
    }
    some.join(", ")
}

/// A text, its beginning if it is long.
pub fn cut(text: &str) -> String {
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_and_lists_are_cut() {
        assert_eq!(shown("eth0"), "\"eth0\"");
        assert_eq!(shown(&"é".repeat(1_000)).chars().count(), MOST + 3);
        assert_eq!(some_of(["a", "b"].into_iter()), "a, b");
        assert_eq!(some_of(std::iter::repeat_n("a", 9)), "a, a, a, a, a, a, a, a, …");
    }
}
