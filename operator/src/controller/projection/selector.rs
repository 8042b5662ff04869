//! Choosing nodes by labels, as Kubernetes does it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use thiserror::Error;

/// A selector whose operators are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// One thing that has to hold of the labels.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    DoesNotExist(String),
}

/// The schema of the published API lets any text through as an operator.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("nodeSelector: `{operator}` of `{key}` is no operator; use In, NotIn, Exists or DoesNotExist")]
pub struct SelectorError {
    /// Label that was to be compared.
    pub key: String,
    /// What it said.
    pub operator: String,
}

impl Selector {
    /// Reads a selector.
    ///
    /// # Errors
    /// An operator that Kubernetes does not have.
    pub fn new(selector: &LabelSelector) -> Result<Self, SelectorError> {
        let mut requirements: Vec<Requirement> = selector
            .match_labels
            .iter()
            .flatten()
            .map(|(key, value)| Requirement::In(key.clone(), vec![value.clone()]))
            .collect();
        for expression in selector.match_expressions.iter().flatten() {
            let (key, values) = (expression.key.clone(), expression.values.clone().unwrap_or_default());
            requirements.push(match expression.operator.as_str() {
                "In" => Requirement::In(key, values),
                "NotIn" => Requirement::NotIn(key, values),
                "Exists" => Requirement::Exists(key),
                "DoesNotExist" => Requirement::DoesNotExist(key),
                operator => return Err(SelectorError { key, operator: operator.to_owned() }),
            });
        }
        Ok(Self { requirements })
    }

    /// Whether labels are chosen; `get` gives a label's value.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => get(key).is_some_and(|is| values.iter().any(|value| value == is)),
            Requirement::NotIn(key, values) => {
                !get(key).is_some_and(|is| values.iter().any(|value| value == is))
            }
            Requirement::Exists(key) => get(key).is_some(),
            Requirement::DoesNotExist(key) => get(key).is_none(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::{Value, json};

    use super::*;

    fn matches(selector: Value, labels: &[(&str, &str)]) -> bool {
        let selector: LabelSelector = serde_json::from_value(selector).unwrap();
        let get = |key: &str| labels.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        Selector::new(&selector).unwrap().matches(get)
    }

    #[test]
    fn an_empty_selector_selects_every_node() {
        assert!(matches(json!({}), &[]));
    }

    #[test]
    fn labels_and_expressions_all_have_to_hold() {
        let selector = json!({
            "matchLabels": { "zone": "a" },
            "matchExpressions": [
                { "key": "tier", "operator": "In", "values": ["edge", "core"] },
                { "key": "old", "operator": "DoesNotExist" },
                { "key": "disk", "operator": "NotIn", "values": ["slow"] },
                { "key": "rack", "operator": "Exists" }
            ]
        });
        let fitting = [("zone", "a"), ("tier", "edge"), ("rack", "7")];
        assert!(matches(selector.clone(), &fitting));
        for spoiled in [("old", "y"), ("disk", "slow")] {
            let labels: Vec<_> = fitting.iter().copied().chain([spoiled]).collect();
            assert!(!matches(selector.clone(), &labels), "{spoiled:?}");
        }
        for missing in 0..fitting.len() {
            let mut labels = fitting.to_vec();
            let gone = labels.remove(missing);
            assert!(!matches(selector.clone(), &labels), "without {gone:?}");
        }
    }

    #[test]
    fn an_unknown_operator_is_named_with_its_key() {
        let selector: LabelSelector =
            serde_json::from_value(json!({ "matchExpressions": [{ "key": "zone", "operator": "Gt" }] }))
                .unwrap();
        let error = Selector::new(&selector).unwrap_err().to_string();
        assert!(error.contains("`Gt` of `zone`"), "{error}");
    }
}
