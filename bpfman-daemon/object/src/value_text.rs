//! Parser of values by their type: `100`, `0x1f`, `true`, `eth0`, `[1, 2]`, `{"rate": 5}`.

use bpfman_model::from_hexadecimal;
use serde_json::Value;

use crate::bit_field::{read_bits, sign_extended, write_bits};
use crate::json_names;
use crate::layout::ValueLayout;
use crate::shown::{cut, shown, some_of};

/// Writes a text over a value. Parts that it does not name keep their bytes. After an error, the bytes are invalid.
pub fn write(layout: &ValueLayout, bytes: &mut [u8], text: &str) -> Result<(), String> {
    match layout {
        ValueLayout::Array { .. } if !text.trim_start().starts_with('[') => write_chars(layout, bytes, text),
        ValueLayout::Array { .. } | ValueLayout::Struct { .. } => {
            let value = json_names::read(text)
                .map_err(|error| format!("{} is no {}: {error}", shown(text), expected(layout)))?;
            write_json(layout, bytes, &value, "")
        }
        _ => write_scalar(layout, bytes, text),
    }
}

pub fn write_json(layout: &ValueLayout, bytes: &mut [u8], value: &Value, at: &str) -> Result<(), String> {
    let here = |why: String| if at.is_empty() { why } else { format!("{at}: {why}") };
    match (layout, value) {
        (ValueLayout::Array { element, count }, Value::Array(values)) => {
            if values.len() > *count {
                return Err(here(format!("{} elements, and it has {count}", values.len())));
            }
            // Elements of size zero fit any number of times.
            let size = element.size().filter(|size| *size > 0).unwrap_or(bytes.len().max(1));
            for (index, (value, bytes)) in values.iter().zip(bytes.chunks_exact_mut(size)).enumerate() {
                write_json(element, bytes, value, &format!("{at}[{index}]"))?;
            }
            Ok(())
        }
        (ValueLayout::Struct { fields, .. }, Value::Object(values)) => {
            for (name, value) in values {
                let Some(field) = fields.iter().find(|field| field.name == *name) else {
                    let names = some_of(fields.iter().map(|field| field.name.as_str()));
                    return Err(here(format!("no field {}; there are: {names}", shown(name))));
                };
                let size = field.layout.size().unwrap_or(0);
                let place = bytes
                    .get_mut(field.offset..field.offset.saturating_add(size))
                    .ok_or_else(|| here(format!("field {} lies outside", shown(name))))?;
                let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                write_json(&field.layout, place, value, &at)?;
            }
            Ok(())
        }
        (ValueLayout::Array { .. }, Value::String(text)) => write_chars(layout, bytes, text).map_err(here),
        (ValueLayout::Array { .. } | ValueLayout::Struct { .. }, _) => Err(here(no_value(value, layout))),
        (_, Value::String(text)) => write_scalar(layout, bytes, text).map_err(here),
        (_, Value::Number(_) | Value::Bool(_)) => {
            write_scalar(layout, bytes, &value.to_string()).map_err(here)
        }
        _ => Err(here(no_value(value, layout))),
    }
}

fn no_value(value: &Value, layout: &ValueLayout) -> String {
    format!("{} is no {}", cut(&value.to_string()), expected(layout))
}

/// Writes a text padded with zeros; an array of `char` needs at least one zero.
fn write_chars(layout: &ValueLayout, bytes: &mut [u8], text: &str) -> Result<(), String> {
    let ends = match layout {
        ValueLayout::Array { element, .. } => match **element {
            ValueLayout::Char => Some(1),
            ValueLayout::Integer { bytes: 1, .. } => Some(0),
            _ => None,
        },
        _ => None,
    };
    let ends = ends.ok_or_else(|| format!("{} is no {}", shown(text), expected(layout)))?;
    let room = bytes.len().saturating_sub(ends);
    if text.len() > room {
        return Err(format!("{} has {} bytes, and there is room for {room}", shown(text), text.len()));
    }
    bytes.fill(0);
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    Ok(())
}

fn write_scalar(layout: &ValueLayout, bytes: &mut [u8], text: &str) -> Result<(), String> {
    let no_value = || format!("{} is no {}", shown(text), expected(layout));
    let text = text.trim();
    match layout {
        ValueLayout::Bool => {
            bytes[0] = match text {
                "true" | "1" => 1,
                "false" | "0" => 0,
                _ => return Err(no_value()),
            };
            Ok(())
        }
        ValueLayout::Char if text.len() == 1 && !text.starts_with(|c: char| c.is_ascii_digit()) => {
            bytes.copy_from_slice(text.as_bytes());
            Ok(())
        }
        ValueLayout::Char => write_number(bytes, number(text).ok_or_else(no_value)?, false, true),
        ValueLayout::Integer { signed, .. } => {
            write_number(bytes, number(text).ok_or_else(no_value)?, *signed, false)
        }
        ValueLayout::Enumeration { names, .. } => {
            let named = names.iter().find(|(name, _)| name == text);
            match named {
                Some((_, value)) => {
                    bytes.copy_from_slice(&low(u128::from(*value), bytes.len()));
                    Ok(())
                }
                None => write_number(bytes, number(text).ok_or_else(no_value)?, false, true),
            }
        }
        ValueLayout::Float { bytes: 4 } => {
            let number: f32 = text.parse().map_err(|_| no_value())?;
            if number.is_infinite() && !names_infinity(text) {
                return Err(format!("{} does not fit 4 byte(s)", shown(text)));
            }
            bytes.copy_from_slice(&number.to_ne_bytes());
            Ok(())
        }
        ValueLayout::Float { .. } => {
            let number: f64 = text.parse().map_err(|_| no_value())?;
            if number.is_infinite() && !names_infinity(text) {
                return Err(format!("{} does not fit 8 byte(s)", shown(text)));
            }
            bytes.copy_from_slice(&number.to_ne_bytes());
            Ok(())
        }
        ValueLayout::Bits { first, count, base, .. } => {
            let mut whole = vec![0; base.size().unwrap_or(0)];
            write_scalar(base, &mut whole, text)?;
            let (least, most) = range(*count, base.is_signed());
            let read = read_bits(&whole, 0, 8 * whole.len() as u32);
            let number = if base.is_signed() {
                sign_extended(read, 8 * whole.len() as u32)
            } else {
                read.cast_signed()
            };
            if number < least || number > most {
                return Err(format!("{} does not fit {count} bit(s): {least} to {most}", shown(text)));
            }
            write_bits(bytes, *first, *count, number.cast_unsigned());
            Ok(())
        }
        ValueLayout::Opaque { bytes: size } => {
            let given = from_hexadecimal(text).filter(|given| given.len() == *size);
            bytes.copy_from_slice(&given.ok_or_else(no_value)?);
            Ok(())
        }
        ValueLayout::Array { .. } | ValueLayout::Struct { .. } => Err(no_value()),
    }
}

/// Returns whether an infinite value was requested by name: a number with digits is only too large.
fn names_infinity(text: &str) -> bool {
    !text.contains(|c: char| c.is_ascii_digit())
}

/// Parses a number: decimal, `0x`, `0o` or `0b`, with an optional sign.
fn number(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let radix = |prefix: [&str; 2]| prefix.iter().find_map(|prefix| digits.strip_prefix(prefix));
    let (digits, radix) = if let Some(digits) = radix(["0x", "0X"]) {
        (digits, 16)
    } else if let Some(digits) = radix(["0b", "0B"]) {
        (digits, 2)
    } else if let Some(digits) = radix(["0o", "0O"]) {
        (digits, 8)
    } else {
        (digits, 10)
    };
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    Some(if negative { -value } else { value })
}

const fn range(bits: u32, signed: bool) -> (i128, i128) {
    let half = 1_i128 << (bits - 1);
    if signed { (-half, half - 1) } else { (0, 2 * half - 1) }
}

/// With `either`, the range covers both signed and unsigned numbers.
fn write_number(bytes: &mut [u8], number: i128, signed: bool, either: bool) -> Result<(), String> {
    let bits = 8 * bytes.len() as u32;
    let (least, most) = match (bits, signed) {
        // The calculation itself has 128 bits: any parsed number fits.
        (128, true) => (i128::MIN, i128::MAX),
        (128, false) => (0, i128::MAX),
        _ => {
            let half = 1_i128 << (bits - 1);
            let least = if signed || either { -half } else { 0 };
            (least, if signed { half - 1 } else { 2 * half - 1 })
        }
    };
    if number < least || number > most {
        return Err(format!("{number} does not fit {} byte(s): {least} to {most}", bytes.len()));
    }
    bytes.copy_from_slice(&low(number.cast_unsigned(), bytes.len()));
    Ok(())
}

fn low(number: u128, bytes: usize) -> Vec<u8> {
    let all = number.to_ne_bytes();
    if cfg!(target_endian = "little") { all[..bytes].to_vec() } else { all[all.len() - bytes..].to_vec() }
}

pub fn expected(layout: &ValueLayout) -> String {
    match layout {
        ValueLayout::Integer { signed: true, .. } => "number".to_owned(),
        ValueLayout::Integer { .. } => "number of 0 or more".to_owned(),
        ValueLayout::Bits { count, base, .. } => format!("{} of {count} bit(s)", expected(base)),
        ValueLayout::Bool => "true or false".to_owned(),
        ValueLayout::Char => "character or number".to_owned(),
        ValueLayout::Float { .. } => "number with a fraction".to_owned(),
        ValueLayout::Enumeration { names, .. } => {
            format!("number or one of {}", some_of(names.iter().map(|(name, _)| name.as_str())))
        }
        ValueLayout::Array { element, count } => match **element {
            ValueLayout::Char | ValueLayout::Integer { bytes: 1, .. } => {
                format!("text of up to {count} bytes, nor a JSON array of as many numbers")
            }
            _ => format!("JSON array of up to {count} elements, like [1, 2]"),
        },
        ValueLayout::Struct { fields, .. } => {
            let first = cut(fields.first().map_or("field", |field| field.name.as_str()));
            format!("JSON object, like {{\"{first}\": …}}")
        }
        ValueLayout::Opaque { bytes } => {
            format!("value of this type: give its {bytes} byte(s) as {} hexadecimal digits", 2 * bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::FieldLayout;

    const U32: ValueLayout = ValueLayout::Integer { bytes: 4, signed: false };
    const I16: ValueLayout = ValueLayout::Integer { bytes: 2, signed: true };

    fn written(layout: &ValueLayout, text: &str) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0xee; layout.size().unwrap()];
        write(layout, &mut bytes, text).map(|()| bytes)
    }

    fn array(element: ValueLayout, count: usize) -> ValueLayout {
        ValueLayout::Array { element: Box::new(element), count }
    }

    fn settings() -> ValueLayout {
        let field = |name: &str, offset, layout| FieldLayout { name: name.to_owned(), offset, layout };
        let names = vec![("RED".to_owned(), 0), ("LOST".to_owned(), u64::MAX)];
        ValueLayout::Struct {
            bytes: 24,
            fields: vec![
                field("rate", 0, U32),
                field("color", 4, ValueLayout::Enumeration { bytes: 4, names }),
                field("ports", 8, array(I16, 3)),
                field("on", 14, ValueLayout::Bool),
                field("pointer", 16, ValueLayout::Opaque { bytes: 8 }),
            ],
        }
    }

    #[test]
    fn numbers_are_read_as_c_writes_them() {
        for (text, number) in [("100", 100), ("0x1F", 31), ("0b101", 5), ("0o17", 15), ("+7", 7), ("010", 10)]
        {
            assert_eq!(written(&U32, text).unwrap(), u32::to_ne_bytes(number), "{text}");
        }
        assert_eq!(written(&I16, "-32768").unwrap(), i16::MIN.to_ne_bytes());
        assert_eq!(written(&U32, "4294967295").unwrap(), u32::MAX.to_ne_bytes());
        let wide = ValueLayout::Integer { bytes: 8, signed: false };
        assert_eq!(written(&wide, "18446744073709551615").unwrap(), u64::MAX.to_ne_bytes());
        for bad in ["", "x", "-", "--1", "+-1", "1.5", "0x", "0xg", "1 2", "ten", "4294967296", "-1"] {
            let why = written(&U32, bad).unwrap_err();
            assert!(why.contains("is no number") || why.contains("does not fit"), "{bad}: {why}");
        }
        assert!(written(&I16, "32768").unwrap_err().contains("-32768 to 32767"));
    }

    #[test]
    fn each_type_has_its_words() {
        assert_eq!(written(&ValueLayout::Bool, "true").unwrap(), [1]);
        assert!(written(&ValueLayout::Bool, "2").unwrap_err().contains("true or false"));
        assert_eq!(written(&ValueLayout::Char, "x").unwrap(), b"x");
        assert_eq!(written(&ValueLayout::Char, "7").unwrap(), [7]);
        assert_eq!(written(&ValueLayout::Float { bytes: 4 }, "1.5").unwrap(), 1.5_f32.to_ne_bytes());
        assert_eq!(written(&ValueLayout::Float { bytes: 8 }, "-2").unwrap(), (-2.0_f64).to_ne_bytes());
        for (bytes, many) in [(4, "1e39"), (8, "-1e309")] {
            let why = written(&ValueLayout::Float { bytes }, many).unwrap_err();
            assert!(why.contains(&format!("does not fit {bytes} byte(s)")), "{why}");
        }
        assert_eq!(
            written(&ValueLayout::Float { bytes: 4 }, "-inf").unwrap(),
            f32::NEG_INFINITY.to_ne_bytes()
        );
        assert_eq!(written(&ValueLayout::Opaque { bytes: 2 }, "01fF").unwrap(), [1, 255]);
        let opaque = written(&ValueLayout::Opaque { bytes: 8 }, "1").unwrap_err();
        assert!(opaque.contains("16 hexadecimal digits"), "{opaque}");
    }

    #[test]
    fn texts_end_with_a_zero_where_they_are_characters() {
        assert_eq!(written(&array(ValueLayout::Char, 6), "eth0").unwrap(), b"eth0\0\0");
        assert_eq!(written(&array(ValueLayout::Char, 4), "").unwrap(), [0; 4]);
        assert!(written(&array(ValueLayout::Char, 4), "eth0").unwrap_err().contains("room for 3"));
        let bytes = ValueLayout::Integer { bytes: 1, signed: false };
        assert_eq!(written(&array(bytes.clone(), 4), "eth0").unwrap(), b"eth0");
        assert_eq!(written(&array(bytes, 4), "[1, 255]").unwrap(), [1, 255, 0xee, 0xee]);
        assert!(written(&array(U32, 4), "eth0").unwrap_err().contains("JSON array of up to 4"));
    }

    #[test]
    fn arrays_and_structs_keep_what_is_not_named() {
        let bytes = written(&settings(), r#"{"ports": [80, "0x1bb"], "color": "LOST", "on": true}"#).unwrap();
        assert_eq!(bytes[..4], [0xee; 4]);
        assert_eq!(bytes[4..8], [0xff; 4]);
        assert_eq!(bytes[8..12], [80_i16.to_ne_bytes(), 443_i16.to_ne_bytes()].concat());
        assert_eq!((bytes[12], bytes[14]), (0xee, 1));
    }

    #[test]
    fn bit_fields_keep_what_is_beside_them() {
        let bits = |first: u32, count: u32, base: ValueLayout| {
            let bytes = (first + count).div_ceil(8) as usize;
            ValueLayout::Bits { bytes, first, count, base: Box::new(base) }
        };
        let field = |name: &str, offset, layout| FieldLayout { name: name.to_owned(), offset, layout };
        let names = vec![("SYN".to_owned(), 2), ("ACK".to_owned(), 5)];
        let header = ValueLayout::Struct {
            bytes: 4,
            fields: vec![
                field("length", 0, bits(0, 4, U32)),
                field("flags", 0, bits(4, 3, ValueLayout::Enumeration { bytes: 4, names })),
                field("last", 0, bits(7, 1, ValueLayout::Bool)),
                field("step", 1, bits(2, 5, ValueLayout::Integer { bytes: 4, signed: true })),
            ],
        };
        assert_eq!(header.check(&mut 0), Ok(()));
        let bytes = written(&header, r#"{"length": 5, "flags": "SYN", "last": true, "step": -3}"#).unwrap();
        assert_eq!(bytes, [0b1010_0101, 0b1111_0110, 0xee, 0xee]);
        for (text, says) in [
            (r#"{"length": 16}"#, "length: \"16\" does not fit 4 bit(s): 0 to 15"),
            (r#"{"length": -1}"#, "length: -1 does not fit 4 byte(s)"),
            (r#"{"step": 16}"#, "step: \"16\" does not fit 5 bit(s): -16 to 15"),
            (r#"{"flags": "RST"}"#, "flags: \"RST\" is no number or one of SYN, ACK"),
            (r#"{"last": 2}"#, "last: \"2\" is no true or false"),
        ] {
            let why = written(&header, text).unwrap_err();
            assert!(why.contains(says), "{text}: {why}");
        }
    }

    #[test]
    fn messages_stay_short_whatever_is_written() {
        let long = "x".repeat(20_000);
        let text = format!("{{\"{long}\": 1}}");
        for (layout, text) in [(U32, &long), (settings(), &long), (settings(), &text), (array(U32, 1), &long)]
        {
            let why = written(&layout, text).unwrap_err();
            assert!(why.len() < 300, "{why}");
        }
    }

    #[test]
    fn invalid_value_is_reported_with_its_path() {
        for (text, says) in [
            (r#"{"ports": [80, 70000]}"#, "ports[1]: 70000 does not fit 2 byte(s)"),
            (r#"{"ports": [1, 2, 3, 4]}"#, "ports: 4 elements, and it has 3"),
            (r#"{"speed": 1}"#, "no field \"speed\"; there are: rate, color, ports, on, pointer"),
            (r#"{"color": "BLUE"}"#, "color: \"BLUE\" is no number or one of RED, LOST"),
            (r#"{"rate": null}"#, "rate: null is no number"),
            (r#"{"rate": {}}"#, "rate: {} is no number"),
            (r#"{"pointer": 4}"#, "pointer: \"4\" is no value of this type"),
            (r#"{"rate": 1"#, "is no JSON object, like {\"rate\": …}: EOF"),
            (r#"{"rate": 1, "rate": 2}"#, "\"rate\" is there twice"),
            ("[1]", "[1] is no JSON object"),
            ("5", "5 is no JSON object"),
        ] {
            let why = written(&settings(), text).unwrap_err();
            assert!(why.contains(says), "{text}: {why}");
        }
    }
}
