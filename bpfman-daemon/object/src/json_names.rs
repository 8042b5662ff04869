//! JSON parser that refuses duplicate names in an object: neither of two values may silently win.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::shown::shown;

pub fn read(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str::<NamesOnce>(text)?;
    serde_json::from_str(text)
}

struct NamesOnce;

impl<'de> Deserialize<'de> for NamesOnce {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Names)
    }
}

struct Names;

impl<'de> Visitor<'de> for Names {
    type Value = NamesOnce;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<NamesOnce, E> {
        Ok(NamesOnce)
    }

    fn visit_i64<E>(self, _: i64) -> Result<NamesOnce, E> {
        Ok(NamesOnce)
    }

    fn visit_u64<E>(self, _: u64) -> Result<NamesOnce, E> {
        Ok(NamesOnce)
    }

    fn visit_f64<E>(self, _: f64) -> Result<NamesOnce, E> {
        Ok(NamesOnce)
    }

    fn visit_str<E>(self, _: &str) -> Result<NamesOnce, E> {
        Ok(NamesOnce)
    }

    fn visit_unit<E>(self) -> Result<NamesOnce, E> {
        Ok(NamesOnce)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<NamesOnce, A::Error> {
        while list.next_element::<NamesOnce>()?.is_some() {}
        Ok(NamesOnce)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<NamesOnce, A::Error> {
        let mut names = HashSet::new();
        while let Some((name, NamesOnce)) = object.next_entry::<String, NamesOnce>()? {
            if let Some(twice) = names.replace(name) {
                return Err(A::Error::custom(format_args!("{} is there twice", shown(&twice))));
            }
        }
        Ok(NamesOnce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_there_twice_however_deep() {
        assert_eq!(read(r#"{"a": {"a": [1, -2, 0.5, "a", null, true]}}"#).unwrap()["a"]["a"][0], 1);
        for text in [r#"{"a": 1, "a": 1}"#, r#"[{"b": {"a": 1, "\u0061": 2}}]"#] {
            assert!(read(text).unwrap_err().to_string().starts_with("\"a\" is there twice"), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert!(read(&deep).unwrap_err().to_string().contains("recursion limit"));
    }
}
