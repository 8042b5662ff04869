//! Command lines, split into commands and words like a shell does.

/// Returns the commands of a line, which are separated by `&&`, `||`, `|`, `;` and `&`, each as a list of unquoted
/// words. Redirections and comments are removed; `$(...)` and variables are not expanded.
#[must_use]
pub fn commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' => commands.last_mut().unwrap().extend(word.take()),
            '#' if word.is_none() => break,
            '\'' => {
                word.get_or_insert_default().extend(letters.by_ref().take_while(|&letter| letter != '\''))
            }
            '"' => word.get_or_insert_default().extend(letters.by_ref().take_while(|&letter| letter != '"')),
            '\\' => word.get_or_insert_default().extend(letters.next()),
            '&' | '|' | ';' => {
                commands.last_mut().unwrap().extend(word.take());
                commands.push(Vec::new());
            }
            '>' | '<' => {
                // A preceding number selects the output.
                if word.as_ref().is_some_and(|word| word.parse::<u8>().is_err()) {
                    commands.last_mut().unwrap().extend(word.take());
                }
                word = None;
                while letters.next_if(|&letter| " ><&".contains(letter)).is_some() {}
                while letters.next_if(|&letter| !" ;|&".contains(letter)).is_some() {}
            }
            '$' if letters.peek() == Some(&'(') => {
                let word = word.get_or_insert_default();
                word.push(letter);
                let mut depth = 0;
                for letter in letters.by_ref() {
                    word.push(letter);
                    depth += i32::from(letter == '(') - i32::from(letter == ')');
                    if depth == 0 {
                        break;
                    }
                }
            }
            _ => word.get_or_insert_default().push(letter),
        }
    }
    commands.last_mut().unwrap().extend(word);
    commands.retain(|words| !words.is_empty());
    commands
}

#[cfg(test)]
mod tests {
    use super::commands;

    #[test]
    fn a_line_is_taken_apart_as_a_shell_does() {
        for (line, apart) in [
            ("bpfman list links   # all", vec![vec!["bpfman", "list", "links"]]),
            ("a 'b  c' \"d e\"f \\n", vec![vec!["a", "b  c", "d ef", "n"]]),
            ("a && b | c; d &", vec![vec!["a"], vec!["b"], vec!["c"], vec!["d"]]),
            ("a > out 2>&1 b", vec![vec!["a", "b"]]),
            ("x=$(a $(b c) d) e", vec![vec!["x=$(a $(b c) d)", "e"]]),
            ("a b#c", vec![vec!["a", "b#c"]]),
            ("# nothing", vec![]),
        ] {
            assert_eq!(commands(line), apart, "{line}");
        }
    }
}
