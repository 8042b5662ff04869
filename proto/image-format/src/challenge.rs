//! Challenges in the header `WWW-Authenticate`, by the grammar of RFC 9110, section 11.

/// Challenge: a scheme and its parameters. All names are case-insensitive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Parses the challenges of all headers, in their order; one header may hold several. Skips other text.
    pub fn read<'a>(headers: impl IntoIterator<Item = &'a str>) -> Vec<Self> {
        headers.into_iter().flat_map(|header| ChallengeReader { rest: header }.all()).collect()
    }

    /// Returns the first challenge of a scheme.
    #[must_use]
    pub fn of_scheme<'a>(challenges: &'a [Self], scheme: &str) -> Option<&'a Self> {
        challenges.iter().find(|challenge| challenge.scheme.eq_ignore_ascii_case(scheme))
    }

    /// Returns the value of a parameter, unless it is missing or empty. The first of several with one name counts.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

struct ChallengeReader<'a> {
    rest: &'a str,
}

impl<'a> ChallengeReader<'a> {
    fn all(mut self) -> Vec<Challenge> {
        let mut challenges: Vec<Challenge> = Vec::new();
        loop {
            self.skip(|c| c.is_ascii_whitespace() || c == ',');
            let word = self.take(is_token);
            if word.is_empty() {
                let mut characters = self.rest.chars();
                if characters.next().is_none() {
                    return challenges;
                }
                self.rest = characters.as_str();
                continue;
            }
            self.skip_blanks();
            if self.rest.starts_with('=') {
                self.rest = &self.rest[1..];
                let value = self.value();
                if let Some(challenge) = challenges.last_mut() {
                    challenge.parameters.push((word.to_owned(), value));
                }
                continue;
            }
            challenges.push(Challenge { scheme: word.to_owned(), parameters: Vec::new() });
            self.skip_token68();
        }
    }

    /// Parses a parameter's value, with or without quotes: some registries omit them.
    fn value(&mut self) -> String {
        self.skip_blanks();
        let Some(quoted) = self.rest.strip_prefix('"') else {
            return self.take(|c| !c.is_ascii_whitespace() && c != ',').to_owned();
        };
        let (mut value, mut characters) = (String::new(), quoted.chars());
        while let Some(character) = characters.next() {
            match character {
                '"' => break,
                '\\' => value.extend(characters.next()),
                other => value.push(other),
            }
        }
        self.rest = characters.as_str();
        value
    }

    /// Skips credentials (`Negotiate YII=`), which look like a parameter without a value.
    fn skip_token68(&mut self) {
        let before = self.rest;
        self.take(|c| is_token(c) || c == '/');
        self.take(|c| c == '=');
        self.skip_blanks();
        if !(self.rest.is_empty() || self.rest.starts_with(',')) {
            self.rest = before;
        }
    }

    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn skip(&mut self, belongs: impl Fn(char) -> bool) {
        self.rest = self.rest.trim_start_matches(belongs);
    }

    fn skip_blanks(&mut self) {
        self.skip(|c| c == ' ' || c == '\t');
    }
}

/// Returns whether a token may contain the character (RFC 9110, section 5.6.2).
fn is_token(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REALM: &str = "https://auth.example/token";

    fn bearer(headers: &[&str]) -> [Option<String>; 3] {
        let challenges = Challenge::read(headers.iter().copied());
        let found = Challenge::of_scheme(&challenges, "bearer").unwrap_or_else(|| panic!("{headers:?}"));
        ["realm", "service", "scope"].map(|name| found.parameter(name).map(str::to_owned))
    }

    #[test]
    fn bearer_challenge_is_read_in_every_spelling() {
        for header in [
            r#"Bearer realm="https://auth.example/token",service="a b",scope="repository:x:pull,push""#,
            r#"bearer realm="https://auth.example/token", service="a b", scope="repository:x:pull,push""#,
            r#"BEARER Realm = "https://auth.example/token" , Service = "a b" , SCOPE="repository:x:pull,push""#,
            r#"Bearer service="a b",realm=https://auth.example/token,scope="repository:x:pull,push",error=x"#,
            r#"Basic realm="Bearer realm=x", Bearer realm="https://auth.example/token",service="a b",scope="repository:x:pull,push""#,
            r#"Bearer realm="https://auth.example/token",service="a b",scope="repository:x:pull,push", Basic realm="r""#,
            r#"Negotiate, Negotiate YII/+a==, Basic, Bearer realm="https:\/\/auth.example/token",service="a\ b",scope="repository:x:pull,push""#,
            r#" , ,Bearer  realm="https://auth.example/token" service="a b" scope="repository:x:pull,push",,"#,
        ] {
            let expected = [REALM, "a b", "repository:x:pull,push"].map(|text| Some(text.to_owned()));
            assert_eq!(bearer(&[header]), expected, "{header}");
        }
        let headers = ["Basic realm=\"r\"", "Bearer realm=\"https://auth.example/token\""];
        assert_eq!(bearer(&headers), [Some(REALM.to_owned()), None, None]);
    }

    #[test]
    fn parameter_is_not_found_inside_another_one() {
        let header = r#"Bearer error="realm=\"https://evil.example\"",xrealm="https://evil.example""#;
        assert_eq!(bearer(&[header]), [None, None, None]);
        assert_eq!(bearer(&["Bearer"]), [None, None, None]);
        assert_eq!(bearer(&[r#"Bearer realm="",realm="x""#]), [None, None, None]);
        assert_eq!(
            bearer(&[r#"Bearer realm="https://auth.example/token"#]),
            [Some(REALM.to_owned()), None, None]
        );
        let challenges = Challenge::read(["realm=\"x\", Basic realm=\"r\", Digest a=b"]);
        assert!(Challenge::of_scheme(&challenges, "bearer").is_none());
        assert!(Challenge::of_scheme(&challenges, "BASIC").is_some());
        for text in ["", ",", "é Bearer", "\"", "=", "Bearer =", "a=b=c"] {
            let _nothing_is_found = Challenge::read([text]);
        }
    }
}
