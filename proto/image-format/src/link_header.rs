use http::header::{HeaderMap, LINK};

/// Returns the address of the next page of a list, from the `Link` headers of an answer (RFC 8288).
#[must_use]
pub fn next_page(headers: &HeaderMap) -> Option<String> {
    headers.get_all(LINK).iter().find_map(|value| next_of(value.to_str().ok()?))
}

/// Returns the next page's address in a header: `<ADDRESS>; NAME=VALUE; NAME="VALUE", <ADDRESS>…`
fn next_of(header: &str) -> Option<String> {
    let mut rest = header;
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let (address, parameters) = rest.strip_prefix('<')?.split_once('>')?;
        let end = end_of_link(parameters);
        if parts(&parameters[..end]).find_map(relation).is_some_and(is_next) {
            return Some(address.to_owned());
        }
        rest = &parameters[end..];
    }
}

fn end_of_link(parameters: &str) -> usize {
    separators(parameters, ',').next().unwrap_or(parameters.len())
}

/// Returns the positions of separators outside of quoted values.
fn separators(text: &str, separator: char) -> impl Iterator<Item = usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.char_indices().filter_map(move |(at, character)| {
        let was_escaped = std::mem::replace(&mut is_escaped, false);
        match character {
            _ if was_escaped => {}
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ if character == separator && !is_quoted => return Some(at),
            _ => {}
        }
        None
    })
}

fn parts(parameters: &str) -> impl Iterator<Item = &str> {
    let mut start = 0;
    let ends = separators(parameters, ';').chain([parameters.len()]).collect::<Vec<_>>();
    ends.into_iter().map(move |end| {
        let part = &parameters[start..end];
        start = end + 1;
        part.trim()
    })
}

/// Returns the value of the parameter `rel`.
fn relation(parameter: &str) -> Option<&str> {
    let (name, value) = parameter.split_once('=')?;
    name.trim().eq_ignore_ascii_case("rel").then(|| value.trim().trim_matches('"'))
}

fn is_next(relations: &str) -> bool {
    relations.split_ascii_whitespace().any(|relation| relation.eq_ignore_ascii_case("next"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(headers: &[&str]) -> Option<String> {
        let pairs = headers.iter().map(|header| (LINK, header.parse().unwrap()));
        let mut all = HeaderMap::new();
        for (name, value) in pairs {
            all.append(name, value);
        }
        next_page(&all)
    }

    #[test]
    fn next_page_is_found_in_each_spelling() {
        for header in [
            "</v2/a?n=2>; rel=\"next\"",
            "</v2/a?n=2>;rel=next",
            "</v2/a?n=2>; title=\"a, b; rel=prev\"; REL=\"last Next\"",
            "</v2/a>; rel=\"prev\", </v2/a?n=2>; rel=\"next\"",
            "</v2/a>; rel=prev , </v2/a?n=2> ; rel = next",
        ] {
            assert_eq!(next(&[header]).as_deref(), Some("/v2/a?n=2"), "{header}");
        }
        assert_eq!(next(&["</v2/a>; rel=first", "</v2/b>; rel=next"]).as_deref(), Some("/v2/b"));
    }

    #[test]
    fn other_relations_and_damaged_headers_have_no_next_page() {
        for header in [
            "",
            "</v2/a>",
            "</v2/a; rel=next",
            "/v2/a; rel=next",
            "</v2/a>; rel=prev",
            "</v2/a>; rel=\"nextish\"",
            "</v2/a>; title=\"rel=next\"",
            "</v2/a>; title=\"x; rel=next",
            "</v2/a>; rel=prev; rel=next",
        ] {
            assert_eq!(next(&[header]), None, "{header}");
        }
        assert_eq!(next(&[]), None);
    }
}
