use serde_json::Value;

/// Maximum number of bytes of a body that are searched for an explanation.
pub const REFUSAL_LIMIT: usize = 16 << 10;
const MAX_ERRORS: usize = 3;
const MAX_CHARACTERS: usize = 300;

/// Returns the explanation in a refusal's body: one line, in quotes, without control characters.
#[must_use]
pub fn registry_words(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let errors = body.get("errors").and_then(Value::as_array).into_iter().flatten();
    let mut words: Vec<String> = errors.filter_map(of_error).take(MAX_ERRORS).collect();
    if words.is_empty() {
        words.extend(of_error(&body));
    }
    let line = one_line(&words.join("; "));
    (!line.is_empty()).then(|| format!("\"{line}\""))
}

fn of_error(error: &Value) -> Option<String> {
    let text = |name: &str| error.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    let code = text("code");
    let names = ["message", "error_description", "details", "detail", "error"];
    match (code, names.into_iter().find_map(text)) {
        (Some(code), Some(text)) => Some(format!("{code}: {text}")),
        (code, text) => code.or(text).map(str::to_owned),
    }
}

fn one_line(text: &str) -> String {
    let shown = |c: char| if c.is_control() || is_invisible(c) || c == '"' { ' ' } else { c };
    let text: String = text.chars().map(shown).take(4 * MAX_CHARACTERS).collect();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // The daemon's own advice begins with this word.
    let text = text.replace("hint:", "hint");
    match text.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

const fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_registries_and_token_services_are_found() {
        for (body, words) in [
            (
                r#"{"errors":[{"code":"DENIED","message":"in quarantine","detail":{}}]}"#,
                "DENIED: in quarantine",
            ),
            (r#"{"errors":[{"code":"A","message":"x"},{"message":"y"}]}"#, "A: x; y"),
            (r#"{"errors":[{"code":"TOOMANYREQUESTS"}]}"#, "TOOMANYREQUESTS"),
            (r#"{"errors":[{"status":403,"message":"Forbidden by Xray"}]}"#, "Forbidden by Xray"),
            (r#"{"errors":[],"message":"gone"}"#, "gone"),
            (r#"{"details":"incorrect username or password"}"#, "incorrect username or password"),
            (r#"{"error":"invalid_grant","error_description":"expired"}"#, "expired"),
        ] {
            assert_eq!(registry_words(body.as_bytes()), Some(format!("\"{words}\"")), "{body}");
        }
        for body in [
            "",
            "{}",
            "[]",
            "<html>busy</html>",
            r#"{"errors":{}}"#,
            r#"{"message":" "}"#,
            r#"{"message":3}"#,
        ] {
            assert_eq!(registry_words(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn words_of_a_registry_cannot_pass_for_ours() {
        let body = r#"{"message":"a\nhint: run \u001b[31mthis\u202e \"now\""}"#;
        assert_eq!(registry_words(body.as_bytes()).unwrap(), "\"a hint run [31mthis now\"");
        let long = format!(r#"{{"message":"{}"}}"#, "é".repeat(5000));
        assert_eq!(registry_words(long.as_bytes()).unwrap().chars().count(), MAX_CHARACTERS + 3);
        let many = vec![r#"{"code":"A"}"#; 50].join(",");
        assert_eq!(registry_words(format!(r#"{{"errors":[{many}]}}"#).as_bytes()).unwrap(), "\"A; A; A\"");
    }
}
