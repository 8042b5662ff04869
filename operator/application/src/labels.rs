//! Label selectors, evaluated like in Kubernetes: the published schema accepts any operator and number of values.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use thiserror::Error;

/// Fault of an expression. A selector with a fault is invalid; it does not merely select nothing.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SelectorFault {
    /// The label's name is empty.
    #[error("it is empty: the name of a label is needed")]
    NoKey,
    /// Unknown operator.
    #[error("\"{0}\" is no operator: In, NotIn, Exists and DoesNotExist are allowed")]
    Operator(String),
    /// `In` or `NotIn` without values.
    #[error("{0} needs at least one value")]
    NoValues(String),
    /// `Exists` or `DoesNotExist` with values.
    #[error("{0} takes no values")]
    Values(String),
}

impl SelectorFault {
    /// Returns the field of the expression that has the fault.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::NoKey => "key",
            Self::Operator(_) => "operator",
            Self::NoValues(_) | Self::Values(_) => "values",
        }
    }
}

/// Selector that cannot be evaluated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{operator}` of `{key}`: {fault}")]
pub struct SelectorError {
    /// Label of the expression.
    pub key: String,
    /// Operator of the expression.
    pub operator: String,
    /// First fault of the expression.
    pub fault: SelectorFault,
}

/// Returns all faults of an expression.
#[must_use]
pub fn faults(expression: &LabelSelectorRequirement) -> Vec<SelectorFault> {
    let operator = &expression.operator;
    let mut found = Vec::new();
    if expression.key.is_empty() {
        found.push(SelectorFault::NoKey);
    }
    match (operator.as_str(), expression.values.as_ref().map_or(0, Vec::len)) {
        ("In" | "NotIn", 0) => found.push(SelectorFault::NoValues(operator.clone())),
        ("Exists" | "DoesNotExist", 1..) => found.push(SelectorFault::Values(operator.clone())),
        ("In" | "NotIn" | "Exists" | "DoesNotExist", _) => {}
        _ => found.push(SelectorFault::Operator(operator.clone())),
    }
    found
}

/// Selector that can be evaluated. The default selects everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelMatcher(LabelSelector);

impl LabelMatcher {
    /// Accepts a selector if all of its expressions are valid; returns the first fault otherwise.
    pub fn new(selector: LabelSelector) -> Result<Self, SelectorError> {
        check(&selector)?;
        Ok(Self(selector))
    }

    /// Returns whether labels are selected; `label` returns the value of one.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        holds(&self.0, label)
    }
}

/// Returns whether labels are selected; `label` returns the value of one. Fails if an expression is invalid.
pub fn matches<'a>(
    selector: &LabelSelector,
    label: impl Fn(&str) -> Option<&'a str>,
) -> Result<bool, SelectorError> {
    check(selector)?;
    Ok(holds(selector, label))
}

fn check(selector: &LabelSelector) -> Result<(), SelectorError> {
    for expression in selector.match_expressions.iter().flatten() {
        if let Some(fault) = faults(expression).into_iter().next() {
            let (key, operator) = (expression.key.clone(), expression.operator.clone());
            return Err(SelectorError { key, operator, fault });
        }
    }
    Ok(())
}

fn holds<'a>(selector: &LabelSelector, label: impl Fn(&str) -> Option<&'a str>) -> bool {
    let mut pairs = selector.match_labels.iter().flatten();
    let mut expressions = selector.match_expressions.iter().flatten();
    pairs.all(|(key, value)| label(key) == Some(value))
        && expressions.all(|expression| {
            let value = label(&expression.key);
            let listed = |value: &str| expression.values.iter().flatten().any(|one| one == value);
            match expression.operator.as_str() {
                "In" => value.is_some_and(listed),
                // A missing label is not in the list, so `NotIn` selects it.
                "NotIn" => !value.is_some_and(listed),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;

    fn selector(written: Value) -> LabelSelector {
        serde_json::from_value(written).unwrap()
    }

    fn expression(operator: &str, values: &[&str]) -> LabelSelector {
        selector(json!({ "matchExpressions": [{ "key": "zone", "operator": operator, "values": values }] }))
    }

    fn selects(selector: &LabelSelector, labels: &[(&str, &str)]) -> Result<bool, SelectorError> {
        let get = |key: &str| labels.iter().find(|(name, _)| *name == key).map(|(_, value)| *value);
        let found = matches(selector, get);
        assert_eq!(LabelMatcher::new(selector.clone()).map(|selector| selector.matches(get)), found);
        found
    }

    #[test]
    fn every_operator_means_what_kubernetes_says() {
        for (operator, values, expected) in [
            ("In", &["a", "b"][..], [true, false, false]),
            ("NotIn", &["a", "b"], [false, true, true]),
            ("Exists", &[], [true, true, false]),
            ("DoesNotExist", &[], [false, false, true]),
        ] {
            let selector = expression(operator, values);
            let found = [&[("zone", "a")][..], &[("zone", "c")], &[]]
                .map(|labels| selects(&selector, labels).unwrap());
            assert_eq!(found, expected, "{operator}");
        }
    }

    #[test]
    fn selector_that_kubernetes_refuses_is_an_error() {
        for (operator, values, why) in [
            ("Gt", &["1"][..], "\"Gt\" is no operator: In, NotIn, Exists and DoesNotExist are allowed"),
            ("In", &[], "In needs at least one value"),
            ("NotIn", &[], "NotIn needs at least one value"),
            ("Exists", &["a"], "Exists takes no values"),
            ("DoesNotExist", &["a"], "DoesNotExist takes no values"),
        ] {
            let error = selects(&expression(operator, values), &[("zone", "a")]).unwrap_err();
            assert_eq!(error.to_string(), format!("`{operator}` of `zone`: {why}"));
        }
        let absent = selector(json!({ "matchExpressions": [{ "key": "zone", "operator": "NotIn" }] }));
        assert_eq!(selects(&absent, &[]).unwrap_err().fault, SelectorFault::NoValues("NotIn".to_owned()));
        let nameless = selector(json!({ "matchExpressions": [{ "key": "", "operator": "Exists" }] }));
        assert_eq!(selects(&nameless, &[]).unwrap_err().fault, SelectorFault::NoKey);
    }

    #[test]
    fn labels_and_expressions_all_have_to_hold() {
        let selector = selector(json!({
            "matchLabels": { "zone": "a" },
            "matchExpressions": [
                { "key": "tier", "operator": "In", "values": ["edge", "core"] },
                { "key": "old", "operator": "DoesNotExist" },
                { "key": "disk", "operator": "NotIn", "values": ["slow"] },
                { "key": "rack", "operator": "Exists" }
            ]
        }));
        let fitting = [("zone", "a"), ("tier", "edge"), ("rack", "7")];
        assert_eq!(selects(&selector, &fitting), Ok(true));
        for spoiled in [("old", "y"), ("disk", "slow")] {
            let labels: Vec<_> = fitting.iter().copied().chain([spoiled]).collect();
            assert_eq!(selects(&selector, &labels), Ok(false), "{spoiled:?}");
        }
        for missing in 0..fitting.len() {
            let mut labels = fitting.to_vec();
            let gone = labels.remove(missing);
            assert_eq!(selects(&selector, &labels), Ok(false), "without {gone:?}");
        }
        let other_zone = [("zone", "b"), ("tier", "edge"), ("rack", "7")];
        assert_eq!(selects(&selector, &other_zone), Ok(false));
    }

    #[test]
    fn an_empty_selector_selects_everything() {
        assert_eq!(selects(&LabelSelector::default(), &[]), Ok(true));
        assert_eq!(selects(&LabelSelector::default(), &[("zone", "a")]), Ok(true));
        assert!(LabelMatcher::default().matches(|_| None));
    }
}
