//! Text form of map keys and values: `10`, `eth0`, `{"pid": 7}`, `pid=7,comm=cat`.

use bpfman_model::from_hexadecimal;
use serde_json::Value;

use crate::field_text;
use crate::json_names;
use crate::layout::ValueLayout;
use crate::shown::shown;
use crate::value_text;

const BYTES: &str = "hex:";

impl ValueLayout {
    /// Parses a key with all fields, or `hex:` and its bytes. Errors have the position.
    pub fn key_of_text(&self, text: &str) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; self.size().unwrap_or(0)];
        self.write_text(&mut bytes, text, true)?;
        Ok(bytes)
    }

    /// Writes a text over a value; fields that it does not name stay. After an error, the bytes are invalid.
    pub fn write_value_text(&self, bytes: &mut [u8], text: &str) -> Result<(), String> {
        self.write_text(bytes, text, false)
    }

    fn write_text(&self, bytes: &mut [u8], text: &str, whole: bool) -> Result<(), String> {
        if let Some(digits) = text.trim().strip_prefix(BYTES) {
            bytes.copy_from_slice(&plain_bytes(digits, bytes.len())?);
            return Ok(());
        }
        let is_compound = match self {
            Self::Struct { .. } => true,
            Self::Array { .. } => text.trim_start().starts_with('['),
            _ => false,
        };
        if !is_compound {
            return value_text::write(self, bytes, text);
        }
        let value = compound(self, text)?;
        if whole {
            ensure_whole(self, &value, "")?;
        }
        value_text::write_json(self, bytes, &value, "")
    }
}

/// Parses a value of known size: two hexadecimal digits per byte, after an optional `0x` or `hex:`.
pub fn plain_bytes(text: &str, size: usize) -> Result<Vec<u8>, String> {
    let text = text.trim();
    let digits = [BYTES, "0x", "0X"].iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
    let digits: String = digits.chars().filter(|c| !c.is_whitespace()).collect();
    let bytes = from_hexadecimal(&digits);
    let bytes = bytes.ok_or_else(|| {
        format!("{} is no bytes: give {size} byte(s) as {} hexadecimal digits", shown(text), 2 * size)
    })?;
    if bytes.len() != size {
        return Err(format!("{} has {} byte(s), not {size}", shown(text), bytes.len()));
    }
    Ok(bytes)
}

fn compound(layout: &ValueLayout, text: &str) -> Result<Value, String> {
    let bad_json = match json_names::read(text) {
        Ok(value) if value.is_object() || value.is_array() => return Ok(value),
        Ok(_) => None,
        Err(error) => Some(error),
    };
    let is_json = text.trim_start().starts_with(['{', '[']) && text.contains("\":");
    if let Some(error) = bad_json.filter(|_| is_json) {
        return Err(format!("{} is no {}: {error}", shown(text), value_text::expected(layout)));
    }
    field_text::read(text).map_err(|why| {
        format!("{} is no {}, nor {}: {why}", shown(text), value_text::expected(layout), example(layout))
    })
}

fn example(layout: &ValueLayout) -> String {
    let ValueLayout::Struct { fields, .. } = layout else { return "[1, 2]".to_owned() };
    let names: Vec<String> = fields.iter().take(3).map(|field| format!("{}=…", field.name)).collect();
    names.join(",")
}

/// Fails if a field is missing: the key would silently be another one.
fn ensure_whole(layout: &ValueLayout, value: &Value, at: &str) -> Result<(), String> {
    match (layout, value) {
        (ValueLayout::Struct { fields, .. }, Value::Object(values)) => {
            for field in fields {
                let at = if at.is_empty() { field.name.clone() } else { format!("{at}.{}", field.name) };
                let value = values.get(&field.name).ok_or_else(|| {
                    format!("field {} is missing: a key names all of its fields", shown(&at))
                })?;
                ensure_whole(&field.layout, value, &at)?;
            }
            Ok(())
        }
        (ValueLayout::Array { element, count }, Value::Array(values)) => {
            if values.len() != *count {
                let name = if at.is_empty() { "the key" } else { at };
                return Err(format!("{name} has {} elements, and needs {count}", values.len()));
            }
            let mut each = values.iter().enumerate();
            each.try_for_each(|(index, value)| ensure_whole(element, value, &format!("{at}[{index}]")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::FieldLayout;

    const U32: ValueLayout = ValueLayout::Integer { bytes: 4, signed: false };

    fn flow() -> ValueLayout {
        let field = |name: &str, offset, layout| FieldLayout { name: name.to_owned(), offset, layout };
        let bytes = ValueLayout::Integer { bytes: 1, signed: false };
        let address = ValueLayout::Array { element: Box::new(bytes), count: 4 };
        let name = ValueLayout::Array { element: Box::new(ValueLayout::Char), count: 8 };
        ValueLayout::Struct {
            bytes: 16,
            fields: vec![field("length", 0, U32), field("address", 4, address), field("name", 8, name)],
        }
    }

    fn expected() -> Vec<u8> {
        let mut bytes = 24_u32.to_ne_bytes().to_vec();
        bytes.extend([10, 0, 0, 7]);
        bytes.extend(b"eth0\0\0\0\0");
        bytes
    }

    #[test]
    fn a_key_is_written_as_json_as_fields_and_as_it_is_shown() {
        for text in [
            r#"{"length": 24, "address": [10, 0, 0, 7], "name": "eth0"}"#,
            "length=24,address=[10,0,0,7],name=eth0",
            "{length=24, address=[10, 0, 0, 7], name=eth0}",
            " name = \"eth0\" , length = 0x18, address=[10,0,0,7] ",
            "hex:180000000a0000076574683000000000",
        ] {
            assert_eq!(flow().key_of_text(text).as_deref(), Ok(&expected()[..]), "{text}");
        }
        assert_eq!(U32.key_of_text("10000000").unwrap(), 10_000_000_u32.to_ne_bytes());
        assert_eq!(U32.key_of_text("hex:10000000").unwrap(), [0x10, 0, 0, 0]);
    }

    #[test]
    fn a_key_names_all_of_its_fields_and_a_value_may_leave_some_out() {
        let why = |text: &str| flow().key_of_text(text).unwrap_err();
        assert!(why("length=24,name=eth0").contains("field \"address\" is missing"));
        assert!(why("length=24,address=[1],name=a").contains("address has 1 elements, and needs 4"));
        let mut bytes = expected();
        flow().write_value_text(&mut bytes, "length=8").unwrap();
        assert_eq!((&bytes[..4], &bytes[4..]), (&8_u32.to_ne_bytes()[..], &expected()[4..]));
    }

    #[test]
    fn invalid_entry_is_named_by_field() {
        let why = |text: &str| flow().key_of_text(text).unwrap_err();
        for (text, said) in [
            ("length=4294967296,address=[1,2,3,4],name=a", "length: 4294967296 does not fit 4 byte(s)"),
            ("length=x,address=[1,2,3,4],name=a", "length: \"x\" is no number of 0 or more"),
            ("length=1,address=[1,2,3,999],name=a", "address[3]: 999 does not fit 1 byte(s)"),
            ("length=1,address=[1,2,3,4],name=abcdefgh", "name: \"abcdefgh\" has 8 bytes"),
            ("length=1,address=[1,2,3,4],name=a,x=1", "no field \"x\"; there are: length, address, name"),
            ("24", "is no JSON object"),
            ("length=1,length=2", "\"length\" is there twice"),
            (r#"{"length": 1, "length": 2}"#, "\"length\" is there twice"),
            ("hex:00", "\"00\" has 1 byte(s), not 16"),
            ("hex:0g", "is no bytes: give 16 byte(s) as 32 hexadecimal digits"),
        ] {
            assert!(why(text).contains(said), "{text}: {}", why(text));
        }
        assert!(plain_bytes("0a 00 00 01", 4).is_ok() && plain_bytes("0x0a000001", 4).is_ok());
    }
}
