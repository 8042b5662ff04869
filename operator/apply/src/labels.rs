//! Selectors of labels, as Kubernetes evaluates them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Whether labels match. An empty selector matches everything; an operator that nobody knows matches nothing, and has
/// been named by `check` before.
pub fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let pairs = selector.match_labels.iter().flatten();
    let mut expressions = selector.match_expressions.iter().flatten();
    pairs.into_iter().all(|(key, value)| labels.get(key) == Some(value))
        && expressions.all(|expression| {
            let value = labels.get(&expression.key);
            let listed = |value: &String| expression.values.iter().flatten().any(|one| one == value);
            match expression.operator.as_str() {
                "In" => value.is_some_and(listed),
                // A label that is not there is not in the list either.
                "NotIn" => !value.is_some_and(listed),
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn expression(operator: &str, values: &[&str]) -> LabelSelector {
        let requirement = LabelSelectorRequirement {
            key: "zone".to_owned(),
            operator: operator.to_owned(),
            values: (!values.is_empty()).then(|| values.iter().map(|value| (*value).to_owned()).collect()),
        };
        LabelSelector { match_expressions: Some(vec![requirement]), match_labels: None }
    }

    #[test]
    fn every_operator_means_what_kubernetes_says() {
        let (a, c, none) = (labels(&[("zone", "a")]), labels(&[("zone", "c")]), labels(&[]));
        for (operator, values, expected) in [
            ("In", &["a", "b"][..], [true, false, false]),
            ("NotIn", &["a", "b"], [false, true, true]),
            ("Exists", &[], [true, true, false]),
            ("DoesNotExist", &[], [false, false, true]),
            ("Near", &["a"], [false, false, false]),
        ] {
            let selector = expression(operator, values);
            let found = [&a, &c, &none].map(|labels| matches(&selector, labels));
            assert_eq!(found, expected, "{operator}");
        }
    }

    #[test]
    fn all_parts_have_to_match() {
        let mut selector = expression("Exists", &[]);
        selector.match_labels = Some(labels(&[("role", "edge")]));
        assert!(matches(&selector, &labels(&[("zone", "a"), ("role", "edge")])));
        assert!(!matches(&selector, &labels(&[("zone", "a")])));
        assert!(!matches(&selector, &labels(&[("role", "edge")])));
        assert!(matches(&LabelSelector::default(), &labels(&[])));
    }
}
