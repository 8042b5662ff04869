//! Selectors of metadata in the grammar of Kubernetes' label selectors.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::value_error::ValueError;

/// Requirements that all have to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    /// The key does not exist, or has another value.
    NotIn(String, Vec<String>),
}

impl LabelSelector {
    #[must_use]
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let has =
            |key: &String, values: &[String]| labels.get(key).is_some_and(|value| values.contains(value));
        self.0.iter().all(|requirement| match requirement {
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Absent(key) => !labels.contains_key(key),
            Requirement::In(key, values) => has(key, values),
            Requirement::NotIn(key, values) => !has(key, values),
        })
    }
}

impl FromStr for LabelSelector {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        split(text)?.into_iter().map(requirement).collect::<Result<_, _>>().map(Self)
    }
}

/// Splits at commas outside of parentheses.
fn split(text: &str) -> Result<Vec<&str>, ValueError> {
    let (mut parts, mut start, mut inside) = (Vec::new(), 0, false);
    for (at, character) in text.char_indices() {
        match character {
            '(' if !inside => inside = true,
            ')' if inside => inside = false,
            '(' | ')' => return Err(ValueError::Parentheses(text.to_owned())),
            ',' if !inside => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(ValueError::Parentheses(text.to_owned()));
    }
    parts.push(&text[start..]);
    Ok(parts)
}

fn requirement(text: &str) -> Result<Requirement, ValueError> {
    let text = text.trim();
    if let Some(name) = text.strip_prefix('!') {
        return Ok(Requirement::Absent(key(name, text)?));
    }
    if let Some((name, value)) = text.split_once("!=") {
        return Ok(Requirement::NotIn(key(name, text)?, vec![plain(value, text)?]));
    }
    if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return Ok(Requirement::In(key(name, text)?, vec![plain(value, text)?]));
    }
    if let Some((head, list)) = text.split_once('(') {
        let list = list.strip_suffix(')').ok_or_else(|| bad(text))?;
        let values = list.split(',').map(|value| plain(value, text)).collect::<Result<_, _>>()?;
        let (name, operator) = head.trim_end().rsplit_once(char::is_whitespace).ok_or_else(|| bad(text))?;
        return match operator {
            "in" => Ok(Requirement::In(key(name, text)?, values)),
            "notin" => Ok(Requirement::NotIn(key(name, text)?, values)),
            _ => Err(bad(text)),
        };
    }
    Ok(Requirement::Exists(key(text, text)?))
}

fn key(name: &str, whole: &str) -> Result<String, ValueError> {
    let name = name.trim();
    let is_plain = |c: char| !c.is_whitespace() && !matches!(c, '!' | '=' | '(' | ')' | ',');
    if name.is_empty() || !name.chars().all(is_plain) {
        return Err(bad(whole));
    }
    Ok(name.to_owned())
}

fn plain(value: &str, whole: &str) -> Result<String, ValueError> {
    let value = value.trim();
    if value.contains(['=', '!', '(', ')']) || value.contains(char::is_whitespace) {
        return Err(bad(whole));
    }
    Ok(value.to_owned())
}

fn bad(text: &str) -> ValueError {
    ValueError::NotRequirement(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str) -> bool {
        let labels = [("app", "shop"), ("tier", "front"), ("empty", "")];
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        selector.parse::<LabelSelector>().unwrap().selects(&labels)
    }

    #[test]
    fn every_form_of_a_requirement() {
        for selector in [
            "app",
            "!other",
            "app=shop",
            "app==shop",
            "app!=bank",
            "other!=bank",
            "app in (bank, shop)",
            "other notin (bank)",
            "app notin (bank,post)",
            "empty=",
            "app=shop,tier in (front,back),!other",
            " app = shop , tier ",
        ] {
            assert!(selects(selector), "{selector}");
        }
        for selector in [
            "other",
            "!app",
            "app=bank",
            "app!=shop",
            "app in (bank)",
            "app notin (shop)",
            "app,other",
            "empty=x",
        ] {
            assert!(!selects(selector), "{selector}");
        }
    }

    #[test]
    fn invalid_selector_is_refused() {
        for selector in [
            "",
            "app,",
            "=x",
            "!",
            "app=a=b",
            "app in shop",
            "app in (a",
            "app in a)",
            "app of (a)",
            "in (a)",
            "a b",
            "app in ((a))",
            "!app=x",
        ] {
            let error = selector.parse::<LabelSelector>().unwrap_err().to_string();
            assert!(
                error.contains("is not a requirement") || error.contains("parentheses"),
                "{selector}: {error}"
            );
        }
    }
}
