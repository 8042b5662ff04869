use std::fmt::Write as _;

use crate::Profile;

impl Profile {
    /// Returns a line for each stack: names from the root, separated by `;`, then the number of samples.
    #[must_use]
    pub fn to_folded(&self) -> String {
        let mut text = String::new();
        for (stack, weight) in self.stacks() {
            for (depth, name) in stack.iter().enumerate() {
                if depth > 0 {
                    text.push(';');
                }
                text.extend(name.chars().map(plain));
            }
            // Writing to a string does not fail.
            let _ = writeln!(text, " {}", weight.samples);
        }
        text
    }
}

/// Replaces characters that would end a frame or a line: processes choose their names.
fn plain(character: char) -> char {
    match character {
        ';' => ':',
        character if character.is_control() => '?',
        character => character,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use crate::{Profile, Weight};

    #[test]
    fn a_name_ends_neither_frame_nor_line() {
        let mut profile = Profile::new(SystemTime::UNIX_EPOCH, Duration::from_secs(1));
        let stack = vec!["sh;\nroot".to_owned(), "main".to_owned()];
        profile.add(stack, Weight { samples: 7, nanoseconds: 70 });
        assert_eq!(profile.to_folded(), "sh:?root;main 7\n");
    }
}
