//! Parser of fields such as `a=1,b=[1,2],c={d=x}`, with or without outer braces, as in listings.

use serde_json::{Map, Value};

use crate::shown::shown;

const MAX_DEPTH: usize = 16;

/// Parses fields, or a list; an error has its position.
pub fn read(text: &str) -> Result<Value, String> {
    let mut rest = Rest(text.trim());
    let value = if rest.0.starts_with(['{', '[']) { rest.value(0)? } else { rest.fields(None, 0)? };
    if rest.0.is_empty() { Ok(value) } else { Err(format!("{} is behind its end", shown(rest.0))) }
}

struct Rest<'t>(&'t str);

impl<'t> Rest<'t> {
    fn skip_blank(&mut self) {
        self.0 = self.0.trim_start();
    }

    fn takes(&mut self, wanted: char) -> bool {
        self.skip_blank();
        let behind = self.0.strip_prefix(wanted);
        self.0 = behind.unwrap_or(self.0);
        behind.is_some()
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > MAX_DEPTH {
            return Err(format!("it is deeper than {MAX_DEPTH} braces"));
        }
        self.skip_blank();
        if self.takes('{') {
            return self.fields(Some('}'), depth);
        }
        if self.takes('[') {
            let mut values = Vec::new();
            if self.takes(']') {
                return Ok(Value::Array(values));
            }
            loop {
                values.push(self.value(depth + 1)?);
                if self.takes(']') {
                    return Ok(Value::Array(values));
                }
                self.expect(',')?;
            }
        }
        if self.0.starts_with('"') {
            return self.quoted();
        }
        let end = self.0.find([',', '}', ']']).unwrap_or(self.0.len());
        let (text, behind) = self.0.split_at(end);
        self.0 = behind;
        Ok(Value::String(text.trim().to_owned()))
    }

    fn fields(&mut self, close: Option<char>, depth: usize) -> Result<Value, String> {
        let mut fields = Map::new();
        if close.is_some_and(|close| self.takes(close)) {
            return Ok(Value::Object(fields));
        }
        loop {
            let end = self.0.find('=').filter(|end| !self.0[..*end].contains([',', '{', '}', '[', ']']));
            let end = end.ok_or_else(|| format!("{} is no FIELD=VALUE", shown(self.0)))?;
            let name = self.0[..end].trim().to_owned();
            self.0 = &self.0[end + 1..];
            let value = self.value(depth + 1)?;
            if fields.contains_key(&name) {
                return Err(format!("{} is there twice", shown(&name)));
            }
            fields.insert(name, value);
            self.skip_blank();
            match close {
                Some(close) if self.takes(close) => return Ok(Value::Object(fields)),
                None if self.0.is_empty() => return Ok(Value::Object(fields)),
                _ => self.expect(',')?,
            }
        }
    }

    fn expect(&mut self, wanted: char) -> Result<(), String> {
        if self.takes(wanted) {
            Ok(())
        } else {
            Err(format!("there is no {wanted} before {}", shown(self.0)))
        }
    }

    /// Strings may contain commas and braces.
    fn quoted(&mut self) -> Result<Value, String> {
        let mut values = serde_json::Deserializer::from_str(self.0).into_iter::<String>();
        let text = values.next().and_then(Result::ok);
        let text = text.ok_or_else(|| format!("{} is no text in quotation marks", shown(self.0)))?;
        self.0 = &self.0[values.byte_offset()..];
        Ok(Value::String(text))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_lists_and_texts_are_read() {
        for (text, value) in [
            ("a=1", json!({"a": "1"})),
            (
                "a=1, b = x y ,c=[1,[2]],d={e=}",
                json!({"a": "1", "b": "x y", "c": ["1", ["2"]], "d": {"e": ""}}),
            ),
            ("{a=\"1,}\\\"\"}", json!({"a": "1,}\""})),
            ("[{a=1}, {a=2}]", json!([{"a": "1"}, {"a": "2"}])),
            ("[]", json!([])),
        ] {
            assert_eq!(read(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn invalid_field_is_refused_with_reason() {
        for (text, why) in [
            ("", "is no FIELD=VALUE"),
            ("a", "\"a\" is no FIELD=VALUE"),
            ("a=1,b", "\"b\" is no FIELD=VALUE"),
            ("{a=1", "there is no , before \"\""),
            ("{a=1}}", "\"}\" is behind its end"),
            ("a=[1 2", "there is no , before"),
            ("a=\"x", "is no text in quotation marks"),
            ("a=1,a=2", "\"a\" is there twice"),
        ] {
            assert!(read(text).unwrap_err().contains(why), "{text}: {:?}", read(text));
        }
        assert!(read(&"[".repeat(1000)).unwrap_err().contains("deeper than 16"));
    }
}
