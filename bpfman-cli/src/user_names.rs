//! Names of users from this machine's file only: users of a directory service are shown by number.

use std::collections::HashMap;
use std::sync::OnceLock;

const FILE: &str = "/etc/passwd";

#[derive(Debug, Default)]
pub struct UserNames(HashMap<u32, String>);

impl UserNames {
    /// Returns the users of this machine; none if its file cannot be read.
    pub fn of_this_machine() -> &'static Self {
        static NAMES: OnceLock<UserNames> = OnceLock::new();
        NAMES.get_or_init(|| Self::parse(&std::fs::read_to_string(FILE).unwrap_or_default()))
    }

    fn parse(file: &str) -> Self {
        // If several lines have one number, the first counts, as in the C library.
        let lines = file.lines().rev().filter_map(|line| {
            let mut fields = line.split(':');
            let (name, uid) = (fields.next()?, fields.nth(1)?.parse().ok()?);
            (!name.is_empty()).then(|| (uid, name.to_owned()))
        });
        let mut names: HashMap<u32, String> = lines.collect();
        names.insert(0, "root".to_owned());
        Self(names)
    }

    /// Returns a user's name, or `user NUMBER`.
    #[must_use]
    pub fn text(&self, uid: u32) -> String {
        self.0.get(&uid).cloned().unwrap_or_else(|| format!("user {uid}"))
    }

    /// Returns a user's name with its number, or the number.
    #[must_use]
    pub fn with_number(&self, uid: u32) -> String {
        self.0.get(&uid).map_or_else(|| uid.to_string(), |name| format!("{name} ({uid})"))
    }

    #[must_use]
    pub fn id(&self, name: &str) -> Option<u32> {
        self.0.iter().find(|(_, known)| *known == name).map(|(uid, _)| *uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_the_names_of_the_file() {
        let names =
            UserNames::parse("toor:x:0:0::/:/bin/sh\nann:x:1000:1000:Ann:/:\nalias:x:1000:1::/:\nbroken\n");
        assert_eq!(
            (names.with_number(1000), names.with_number(7)),
            ("ann (1000)".to_owned(), "7".to_owned())
        );
        assert_eq!((names.text(0), names.text(1000)), ("root".to_owned(), "ann".to_owned()));
        assert_eq!(
            (names.id("ann"), names.id("bob"), names.text(7)),
            (Some(1000), None, "user 7".to_owned())
        );
    }
}
