//! What came out of a review.

/// Problems refuse; warnings are shown to whoever asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReviewVerdict {
    /// Why it is refused, if it is.
    pub problems: Vec<String>,
    /// What may not be as it was meant.
    pub warnings: Vec<String>,
}

/// Most problems that an answer lists.
const LISTED: usize = 10;

impl ReviewVerdict {
    /// A refusal.
    #[must_use]
    pub fn refused(problem: impl Into<String>) -> Self {
        Self { problems: vec![problem.into()], warnings: Vec::new() }
    }

    /// Adds a reason to refuse.
    pub fn refuse(&mut self, path: &str, message: impl std::fmt::Display) {
        self.problems.push(format!("{path}: {message}"));
    }

    /// Adds a warning.
    pub fn warn(&mut self, path: &str, message: impl std::fmt::Display) {
        self.warnings.push(format!("{path}: {message}"));
    }

    /// All problems as one text; none if there is none.
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
    fn of_many_problems_ten_are_told_and_the_others_counted() {
        let verdict = ReviewVerdict { problems: vec!["p".to_owned(); 12], warnings: Vec::new() };
        assert!(verdict.message().is_some_and(|text| text.ends_with("p; p; and 2 more")));
        assert_eq!(ReviewVerdict::default().message(), None);
    }
}
