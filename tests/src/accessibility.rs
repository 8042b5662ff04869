//! axe-core, the accessibility checker, which `tests/tools/axe` fetches.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::browser::Browser;

#[derive(Debug)]
pub struct Axe(String);

impl Axe {
    /// Returns the checker. If it cannot be fetched, prints the skip line and returns `None`.
    #[must_use]
    pub fn find(test: &str) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/axe");
        let output = Command::new(script).output().expect("bash is installed");
        if output.status.code() == Some(77) {
            eprintln!("SKIPPED(axe-core cannot be fetched): {test}");
            return None;
        }
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let path = String::from_utf8(output.stdout).unwrap();
        Some(Self(std::fs::read_to_string(path.trim()).unwrap()))
    }

    /// Panics if a serious or critical rule is violated in the page as it is now.
    pub fn check(&self, browser: &Browser, view: &str) {
        if browser.script("return typeof axe") == "undefined" {
            browser.script(&self.0);
        }
        let found = browser.script(
            // Wait for the end of transitions: axe checks the colours of the moment.
            "return Promise.allSettled(document.getAnimations().map(({ finished }) => finished)) \
                 .then(() => axe.run(document, { resultTypes: ['violations'] })).then(({ violations, passes }) => ({ \
                 passed: passes.length, \
                 found: violations.filter(({ impact }) => ['serious', 'critical'].includes(impact)).flatMap(({ id, nodes }) => \
                     nodes.map(({ html, failureSummary }) => `${id}: ${html}: ${failureSummary}`)) }))",
        );
        assert!(found["passed"].as_u64() > Some(10), "{view}: rules are checked: {found}");
        let serious: Vec<_> = found["found"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert!(serious.is_empty(), "{view}:\n{}", serious.join("\n"));
    }
}
