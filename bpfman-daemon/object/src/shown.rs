const MAX_CHARACTERS: usize = 60;
const MAX_NAMES: usize = 8;

pub fn shown(text: &str) -> String {
    format!("\"{}\"", cut(text))
}

pub fn some_of<'n>(mut names: impl Iterator<Item = &'n str>) -> String {
    let mut some: Vec<String> = names.by_ref().take(MAX_NAMES).map(cut).collect();
    if names.next().is_some() {
        some.push("…".to_owned());
    }
    some.join(", ")
}

pub fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARACTERS) {
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
        assert_eq!(shown(&"é".repeat(1_000)).chars().count(), MAX_CHARACTERS + 3);
        assert_eq!(some_of(["a", "b"].into_iter()), "a, b");
        assert_eq!(some_of(std::iter::repeat_n("a", 9)), "a, a, a, a, a, a, a, a, …");
    }
}
