//! Result of a review.

/// Problems, which cause a refusal, and warnings, which the client shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReviewVerdict {
    /// Reasons for a refusal; empty if the request is allowed.
    pub problems: Vec<String>,
    /// Probable mistakes that are allowed.
    pub warnings: Vec<String>,
}

const LISTED: usize = 10;

impl ReviewVerdict {
    /// Creates a refusal with one reason.
    #[must_use]
    pub fn refused(problem: impl Into<String>) -> Self {
        Self { problems: vec![problem.into()], warnings: Vec::new() }
    }

    /// Adds a reason for a refusal.
    pub fn refuse(&mut self, path: &str, message: impl std::fmt::Display) {
        self.problems.push(format!("{path}: {message}"));
    }

    pub fn warn(&mut self, path: &str, message: impl std::fmt::Display) {
        self.warnings.push(format!("{path}: {message}"));
    }

    /// Returns all problems as one text; `None` if there are none.
    #[must_use]
    pub fn message(&self) -> Option<String> {
        let listed = self.problems[..self.problems.len().min(LISTED)].join("; ");
        match self.problems.len() {
            0 => None,
            all if all > LISTED => Some(format!("{listed}; and {} more", all - LISTED)),
            _ => Some(listed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_problems_are_reported_and_the_rest_counted() {
        let verdict = ReviewVerdict { problems: vec!["p".to_owned(); 12], warnings: Vec::new() };
        assert!(verdict.message().is_some_and(|text| text.ends_with("p; p; and 2 more")));
        assert_eq!(ReviewVerdict::default().message(), None);
    }
}
