//! Expressions of the shipped dashboards and alert rules.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

const DASHBOARDS: [&str; 4] = ["node", "fleet", "application", "chain"];

#[derive(Clone, Debug)]
pub struct ShippedExpression {
    pub of: String,
    pub panel: String,
    pub expression: String,
}

impl ShippedExpression {
    #[must_use]
    pub fn needs_operator(&self) -> bool {
        ["bpfman_agent_", "bpfman_controller_", "bpfman_application_"]
            .iter()
            .any(|begin| self.expression.contains(begin))
    }
}

#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/monitoring")
}

/// Returns all expressions of all dashboards, for all objects, and with rates over `window`.
#[must_use]
pub fn dashboard_expressions(window: &str) -> Vec<ShippedExpression> {
    DASHBOARDS.iter().flat_map(|name| expressions_of(name, window)).collect()
}

fn expressions_of(name: &str, window: &str) -> Vec<ShippedExpression> {
    let text = fs::read_to_string(folder().join(format!("dashboards/{name}.json"))).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    panels
        .iter()
        .flat_map(|panel| {
            panel["targets"].as_array().unwrap().iter().map(|target| ShippedExpression {
                of: name.to_owned(),
                panel: panel["title"].as_str().unwrap().to_owned(),
                expression: with_values(target["expr"].as_str().unwrap(), window),
            })
        })
        .collect()
}

fn with_values(expression: &str, window: &str) -> String {
    let mut text = expression.replace("$__rate_interval", window);
    for variable in ["$instance", "$application", "$hook"] {
        text = text.replace(variable, ".*");
    }
    assert!(!text.contains('$'), "an unknown variable: {text}");
    text
}

/// Returns the expressions of alert rules (given as JSON) without their comparisons; each alternative separately.
#[must_use]
pub fn alert_expressions(rules: &Value) -> Vec<ShippedExpression> {
    let groups = rules["groups"].as_array().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    rules
        .flat_map(|rule| {
            let of = rule["alert"].as_str().unwrap().to_owned();
            let expression = rule["expr"].as_str().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
            let alternatives: Vec<String> = expression
                .split(" or ")
                .flat_map(|text| text.split(" and ignoring (state) "))
                .map(without_limit)
                .collect();
            alternatives.into_iter().map(move |expression| ShippedExpression {
                of: of.clone(),
                panel: String::new(),
                expression,
            })
        })
        .collect()
}

fn without_limit(expression: &str) -> String {
    for limit in [" > 0", " > 0.9", " == 0", " == 1"] {
        if let Some(text) = expression.strip_suffix(limit) {
            return text.to_owned();
        }
    }
    panic!("an alert that is compared with something else: {expression}")
}
