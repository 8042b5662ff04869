//! Lines that `policy allow` adds to a policy, and their place in its text. Comments and layout of the rest stay.

use std::collections::BTreeSet;
use std::path::PathBuf;

use toml::{Table, Value};

use crate::args::policy::GrantOptions;

pub enum ImageSigner {
    /// Any of these keys, by absolute path.
    Keys(Vec<PathBuf>),
    /// A subject, as an issuer certifies it.
    Identity { issuer: String, subject: String },
    /// No signature is needed.
    None,
}

#[derive(Debug, PartialEq, Eq)]
pub struct PolicyAddition {
    pub lines: String,
    /// Number of the line, from 1, before which the lines are inserted; none for the end of the text.
    pub before: Option<usize>,
    pub text: String,
}

impl PolicyAddition {
    /// Adds an entry after those that match only a part of its images, and before all others: the first
    /// matching entry decides, so stricter entries stay in effect. None if the layout has no position for it,
    /// or an earlier entry matches all of its images.
    pub fn of_images(text: &str, pattern: &str, signer: &ImageSigner) -> Option<Self> {
        let before: Table = text.parse().ok()?;
        // A top-level key of TOML has to precede all tables.
        let is_root_needed =
            matches!(signer, ImageSigner::Identity { .. }) && !before.contains_key("trusted_root");
        let root = if is_root_needed { "trusted_root = \"public-good\"\n\n" } else { "" };
        let signed = match signer {
            ImageSigner::Keys(keys) => {
                let keys: Vec<String> = keys.iter().map(|key| quoted(&key.display().to_string())).collect();
                format!("keys = [{}]", keys.join(", "))
            }
            ImageSigner::Identity { issuer, subject } => {
                format!("identities = [{{ issuer = {}, subject = {} }}]", quoted(issuer), quoted(subject))
            }
            ImageSigner::None => "unsigned = true".to_owned(),
        };
        let lines = format!("[[images]]\npattern = {}\n{signed}\n", quoted(pattern));
        let old = entries(&before, "images");
        let pattern_of = |entry: &Value| entry.get("pattern").and_then(Value::as_str).map(str::to_owned);
        let patterns: Vec<String> = old.iter().filter_map(pattern_of).collect();
        let behind = patterns.iter().rposition(|one| covers(pattern, one)).map_or(0, |last| last + 1);
        if patterns.iter().take(behind).any(|one| covers(one, pattern)) {
            return None;
        }
        let text = format!("{root}{text}");
        let mut added = Self::at(&text, lines, place(&text, behind));
        added.lines.insert_str(0, root);
        let after: Table = added.text.parse().ok()?;
        let mut others = entries(&after, "images").to_vec();
        let is_new = behind < others.len() && pattern_of(&others.remove(behind)).as_deref() == Some(pattern);
        (is_new && others == old && differs_only_in(&before, &after, &["images", "trusted_root"]))
            .then_some(added)
    }

    /// Adds a grant for a user after all others; none if the layout has no position for it.
    pub fn of_grant(text: &str, user: &str, verbs: &[String], limits: &GrantOptions) -> Option<Self> {
        let before: Table = text.parse().ok()?;
        let users = if user.parse::<u32>().is_ok() { user.to_owned() } else { quoted(user) };
        let mut lines = format!(
            "[[grants]]\nname = {}\nusers = [{users}]\nallow = {}\n",
            quoted(&free_name(&before, user)),
            list(verbs)
        );
        for (key, values) in limits.lists() {
            lines.push_str(&format!("{key} = {}\n", list(values)));
        }
        for (key, value) in limits.words() {
            lines.push_str(&format!("{key} = {}\n", quoted(value)));
        }
        let added = Self::at(text, lines, None);
        let after: Table = added.text.parse().ok()?;
        let old = entries(&before, "grants");
        let has_new_last = entries(&after, "grants").get(..old.len()) == Some(old);
        (has_new_last && differs_only_in(&before, &after, &["grants"])).then_some(added)
    }

    fn at(text: &str, lines: String, place: Option<usize>) -> Self {
        let Some(place) = place else {
            let gap = match text {
                "" => "",
                text if text.ends_with('\n') => "\n",
                _ => "\n\n",
            };
            return Self { text: format!("{text}{gap}{lines}"), lines, before: None };
        };
        let offset = text.split_inclusive('\n').take(place).map(str::len).sum();
        let (head, tail) = text.split_at(offset);
        Self { text: format!("{head}{lines}\n{tail}"), lines, before: Some(place + 1) }
    }
}

/// Returns the index of the line before which to insert, so that `behind` entries precede it; comments of the
/// next table follow it. `None` for the end of the text.
fn place(text: &str, behind: usize) -> Option<usize> {
    let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
    let mut images = (0..lines.len()).filter(|at| lines[*at].starts_with("[[images]]"));
    let mut place = match behind.checked_sub(1) {
        None => images.next()?,
        Some(last) => {
            let last = images.nth(last)?;
            (last + 1..lines.len()).find(|at| lines[*at].starts_with('['))?
        }
    };
    while place > 0 && lines[place - 1].starts_with('#') {
        place -= 1;
    }
    Some(place)
}

/// Returns whether a pattern matches all images of another. `*` stands for any characters.
fn covers(pattern: &str, other: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = other.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

fn entries<'a>(policy: &'a Table, key: &str) -> &'a [Value] {
    policy.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn differs_only_in(before: &Table, after: &Table, keys: &[&str]) -> bool {
    let others = |policy: &Table| {
        let others = policy.iter().filter(|(key, _)| !keys.contains(&key.as_str()));
        others.map(|(key, value)| (key.clone(), value.clone())).collect::<Table>()
    };
    others(before) == others(after)
}

/// Returns a name that no grant has: `user-ann`, `user-ann-2`.
fn free_name(policy: &Table, user: &str) -> String {
    let grants = entries(policy, "grants").iter();
    let taken: BTreeSet<&str> = grants.filter_map(|grant| grant.get("name")?.as_str()).collect();
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    // A name has 63 characters at most.
    let user: String = user.chars().map(|c| if is_allowed(c) { c } else { '-' }).take(50).collect();
    let names = std::iter::once(format!("user-{user}")).chain((2..).map(|n: u64| format!("user-{user}-{n}")));
    names.into_iter().find(|name| !taken.contains(name.as_str())).unwrap_or_default()
}

fn list(values: &[String]) -> String {
    let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
    format!("[{}]", values.join(", "))
}

/// Returns a basic string of TOML, whose escapes are those of JSON.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn unsigned(text: &str) -> Option<PolicyAddition> {
        PolicyAddition::of_images(text, "quay.io/x/*", &ImageSigner::None)
    }

    #[test]
    fn entry_is_added_before_others_and_their_comments() {
        let text = "# Mine.\nmode = \"warn\"\n\n# All of us.\n[[images]]\npattern = \"*\"\nunsigned = true\n";
        let added = unsigned(text).unwrap();
        assert_eq!(added.before, Some(4));
        assert_eq!(
            added.text,
            "# Mine.\nmode = \"warn\"\n\n[[images]]\npattern = \"quay.io/x/*\"\nunsigned = true\n\n\
             # All of us.\n[[images]]\npattern = \"*\"\nunsigned = true\n"
        );
    }

    #[test]
    fn entry_is_added_after_stricter_entries() {
        let text = "[[images]]\npattern = \"quay.io/x/secure/*\"\nkeys = [\"/k\"]\n\n# Others.\n[[images]]\npattern = \"*\"\n\
                    unsigned = true\n";
        let added = unsigned(text).unwrap();
        assert_eq!(added.before, Some(5));
        let whole = PolicyAddition::of_images(text, "*", &ImageSigner::None);
        assert_eq!(whole, None, "an entry in front covers the same images");
        let of_all = PolicyAddition::of_images(
            "[[images]]\npattern = \"quay.io/*\"\nkeys = [\"/k\"]\n",
            "*",
            &ImageSigner::None,
        );
        assert_eq!(of_all.unwrap().before, None);
    }

    #[test]
    fn pattern_covers_what_its_stars_stand_for() {
        for (pattern, other, is_covered) in [
            ("*", "quay.io/*", true),
            ("quay.io/*", "quay.io/a/b", true),
            ("quay.io/*", "quay.io/*", true),
            ("quay.io/a", "quay.io/*", false),
            ("quay.io/*/b", "quay.io/a/b", true),
            ("quay.io/*/b", "quay.io/a/c", false),
            ("quay.io/a", "quay.io/a", true),
        ] {
            assert_eq!(covers(pattern, other), is_covered, "{pattern} {other}");
        }
    }

    #[test]
    fn entry_is_the_last_table_where_there_is_no_other() {
        for (text, gap) in [("", ""), ("mode = \"warn\"", "\n\n"), ("[files]\nusers = [0]\n", "\n")] {
            let added = unsigned(text).unwrap();
            assert_eq!((added.before, added.text), (None, format!("{text}{gap}{}", added.lines)));
        }
    }

    #[test]
    fn identity_brings_the_trusted_root_if_there_is_none() {
        let signer = ImageSigner::Identity { issuer: "https://i".to_owned(), subject: "a\"b".to_owned() };
        let add = |text| PolicyAddition::of_images(text, "ghcr.io/x/*", &signer).unwrap();
        let added = add("[files]\nusers = [0]\n");
        assert!(added.text.starts_with("trusted_root = \"public-good\"\n\n[files]\n"), "{}", added.text);
        assert!(
            added.lines.starts_with("trusted_root") && added.text.contains("[[images]]"),
            "{}",
            added.text
        );
        let has_one = add("trusted_root = \"/etc/root.json\"\n[files]\nusers = [0]\n");
        assert_eq!(has_one.text.matches("trusted_root").count(), 1);
    }

    #[test]
    fn grant_has_a_free_name_and_the_keys_that_were_given() {
        let limits = GrantOptions {
            images: Vec::new(),
            files: Vec::new(),
            types: vec!["xdp".to_owned(), "tc".to_owned()],
            hooks: vec!["xdp:eth*".to_owned()],
            targets: Vec::new(),
            netns: Vec::new(),
            applications: Vec::new(),
            over: Some("all".to_owned()),
            scope: None,
        };
        let verbs = ["attach".to_owned()];
        let first = PolicyAddition::of_grant("", "1000", &verbs, &limits).unwrap();
        assert_eq!(
            first.text,
            "[[grants]]\nname = \"user-1000\"\nusers = [1000]\nallow = [\"attach\"]\ntypes = [\"xdp\", \"tc\"]\n\
             hooks = [\"xdp:eth*\"]\nover = \"all\"\n"
        );
        let second = PolicyAddition::of_grant(&first.text, "1000", &verbs, &limits).unwrap();
        assert!(second.lines.contains("name = \"user-1000-2\""), "{}", second.lines);
    }

    #[test]
    fn text_whose_layout_hides_the_place_is_refused() {
        let in_one_array = "images = [{ pattern = \"*\", unsigned = true }]\n";
        let in_a_string = "note = \"\"\"\n[[images]]\n\"\"\"\n[[images]]\npattern = \"*\"\nunsigned = true\n";
        for text in [in_one_array, in_a_string, "mode = \n"] {
            assert_eq!(unsigned(text), None, "{text}");
        }
    }
}
