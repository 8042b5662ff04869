//! Typed values of maps and records, as text and as JSON.

use std::fmt;

use bpfman_model::hexadecimal;
use bpfmand_object::{ValueLayout, read_bits, sign_extended};
use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};

/// Value of a known or unknown type.
#[derive(Clone, Debug, PartialEq)]
pub enum TypedValue {
    Natural(u128),
    Signed(i128),
    /// Floating point number.
    Fraction(f64),
    Truth(bool),
    /// Name of an enum's value, or characters up to the first zero.
    Text(String),
    List(Vec<TypedValue>),
    /// Fields of a struct, in the order of memory.
    Fields(Vec<(String, TypedValue)>),
    /// Bytes of an unknown type.
    Bytes(Vec<u8>),
}

impl TypedValue {
    /// Decodes a value. If the bytes are too few for the type, they are shown as bytes of an unknown type.
    #[must_use]
    pub fn read(layout: &ValueLayout, bytes: &[u8]) -> Self {
        Self::of(layout, bytes).unwrap_or_else(|| Self::Bytes(bytes.to_vec()))
    }

    /// Decodes a value of a possibly unknown type.
    #[must_use]
    pub fn read_as(layout: Option<&ValueLayout>, bytes: &[u8]) -> Self {
        layout.map_or_else(|| Self::Bytes(bytes.to_vec()), |layout| Self::read(layout, bytes))
    }

    fn of(layout: &ValueLayout, bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..layout.size()?)?;
        Some(match layout {
            ValueLayout::Integer { signed: true, .. } => Self::Signed(signed(bytes)),
            ValueLayout::Integer { .. } => Self::Natural(natural(bytes)),
            ValueLayout::Bool => Self::Truth(bytes.first().is_some_and(|byte| *byte != 0)),
            ValueLayout::Char => Self::Text(characters(bytes)),
            ValueLayout::Float { bytes: 4 } => {
                Self::Fraction(f32::from_ne_bytes(bytes.try_into().ok()?).into())
            }
            ValueLayout::Float { .. } => Self::Fraction(f64::from_ne_bytes(bytes.try_into().ok()?)),
            ValueLayout::Enumeration { names, .. } => {
                let number = signed(bytes);
                let named =
                    names.iter().find(|(_, value)| low(u128::from(*value), bytes.len()) == natural(bytes));
                named.map_or(Self::Signed(number), |(name, _)| Self::Text(name.clone()))
            }
            ValueLayout::Array { element, .. } if **element == ValueLayout::Char => {
                Self::Text(characters(bytes))
            }
            ValueLayout::Array { element, count } => {
                let size = element.size()?;
                let each =
                    |index: usize| Some(Self::read(element, bytes.get(index * size..(index + 1) * size)?));
                Self::List((0..*count).map(each).collect::<Option<_>>()?)
            }
            ValueLayout::Struct { fields, .. } => {
                let field = |field: &bpfmand_object::FieldLayout| {
                    Some((field.name.clone(), Self::of(&field.layout, bytes.get(field.offset..)?)?))
                };
                Self::Fields(fields.iter().map(field).collect::<Option<_>>()?)
            }
            ValueLayout::Bits { first, count, base, .. } => {
                let value = read_bits(bytes, *first, *count);
                let is_signed = base.is_signed();
                let value = if is_signed { sign_extended(value, *count).cast_unsigned() } else { value };
                // Bit fields have the layout of little-endian machines.
                Self::of(base, value.to_le_bytes().get(..base.size()?)?)?
            }
            ValueLayout::Opaque { .. } => Self::Bytes(bytes.to_vec()),
        })
    }

    /// Returns the sum of two values of one type; none if a part cannot be added.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Option<Self> {
        self.with(other, &|a, b| a.checked_add(b))
    }

    /// Returns the difference of two values of one type; none if a part cannot be subtracted.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Option<Self> {
        self.with(other, &|a, b| a.checked_sub(b))
    }

    fn with(&self, other: &Self, calculate: &dyn Fn(i128, i128) -> Option<i128>) -> Option<Self> {
        let number = |number: i128| u128::try_from(number).map_or(Self::Signed(number), Self::Natural);
        Some(match (self, other) {
            (Self::Natural(a), Self::Natural(b)) => {
                number(calculate(i128::try_from(*a).ok()?, i128::try_from(*b).ok()?)?)
            }
            (Self::Signed(a), Self::Signed(b)) => Self::Signed(calculate(*a, *b)?),
            (Self::Signed(a), Self::Natural(b)) => Self::Signed(calculate(*a, i128::try_from(*b).ok()?)?),
            (Self::Natural(a), Self::Signed(b)) => Self::Signed(calculate(i128::try_from(*a).ok()?, *b)?),
            (Self::List(a), Self::List(b)) if a.len() == b.len() => {
                Self::List(a.iter().zip(b).map(|(a, b)| a.with(b, calculate)).collect::<Option<_>>()?)
            }
            (Self::Fields(a), Self::Fields(b)) if a.len() == b.len() => {
                let both = a.iter().zip(b);
                let each = |((name, a), (_, b)): (&(String, Self), &(String, Self))| {
                    Some((name.clone(), a.with(b, calculate)?))
                };
                Self::Fields(both.map(each).collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }

    /// Formats the difference of a single number: `+3`, `-1`.
    #[must_use]
    pub fn as_step(&self) -> Option<String> {
        match self {
            Self::Natural(number) => Some(format!("+{number}")),
            Self::Signed(number) => Some(format!("{number:+}")),
            _ => None,
        }
    }
}

/// Decodes a number of up to sixteen bytes, in this machine's byte order.
fn natural(bytes: &[u8]) -> u128 {
    let mut all = [0; 16];
    let length = bytes.len().min(16);
    if cfg!(target_endian = "little") {
        all[..length].copy_from_slice(&bytes[..length]);
    } else {
        all[16 - length..].copy_from_slice(&bytes[..length]);
    }
    u128::from_ne_bytes(all)
}

fn signed(bytes: &[u8]) -> i128 {
    let unused = 128 - 8 * bytes.len().min(16) as u32;
    natural(bytes).checked_shl(unused).map_or(0, |number| number.cast_signed() >> unused)
}

fn low(number: u128, bytes: usize) -> u128 {
    if bytes >= 16 { number } else { number & ((1 << (8 * bytes)) - 1) }
}

fn characters(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Maximum number of shown bytes of an unknown type.
const SHOWN_BYTES: usize = 64;

impl fmt::Display for TypedValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Natural(number) => write!(f, "{number}"),
            Self::Signed(number) => write!(f, "{number}"),
            Self::Fraction(number) => write!(f, "{number}"),
            Self::Truth(truth) => write!(f, "{truth}"),
            Self::Text(text) => f.write_str(text),
            Self::List(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Fields(fields) => {
                f.write_str("{")?;
                for (index, (name, value)) in fields.iter().enumerate() {
                    write!(f, "{}{name}={value}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
            Self::Bytes(bytes) => {
                let shown = &bytes[..bytes.len().min(SHOWN_BYTES)];
                let readable: String = shown
                    .iter()
                    .map(
                        |byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' },
                    )
                    .collect();
                let more = if shown.len() < bytes.len() { "..." } else { "" };
                write!(f, "{}{more} |{readable}|", hexadecimal(shown))
            }
        }
    }
}

/// Numbers that JSON readers may round are strings; bytes are hexadecimal digits.
impl Serialize for TypedValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Natural(number) => match u64::try_from(*number) {
                Ok(number) => serializer.serialize_u64(number),
                Err(_) => serializer.collect_str(number),
            },
            Self::Signed(number) => match i64::try_from(*number) {
                Ok(number) => serializer.serialize_i64(number),
                Err(_) => serializer.collect_str(number),
            },
            Self::Fraction(number) => serializer.serialize_f64(*number),
            Self::Truth(truth) => serializer.serialize_bool(*truth),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(values) => {
                let mut list = serializer.serialize_seq(Some(values.len()))?;
                values.iter().try_for_each(|value| list.serialize_element(value))?;
                list.end()
            }
            Self::Fields(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                fields.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
            Self::Bytes(bytes) => serializer.serialize_str(&hexadecimal(bytes)),
        }
    }
}

#[cfg(test)]
mod tests {
    use bpfmand_object::FieldLayout;

    use super::*;

    fn integer(bytes: usize, signed: bool) -> ValueLayout {
        ValueLayout::Integer { bytes, signed }
    }

    fn event() -> ValueLayout {
        let field = |name: &str, offset, layout| FieldLayout { name: name.to_owned(), offset, layout };
        let text = ValueLayout::Array { element: Box::new(ValueLayout::Char), count: 8 };
        let names = vec![("OPEN".to_owned(), 1), ("CLOSE".to_owned(), u64::MAX)];
        ValueLayout::Struct {
            bytes: 24,
            fields: vec![
                field("pid", 0, integer(4, false)),
                field("result", 4, integer(2, true)),
                field("comm", 8, text),
                field("what", 16, ValueLayout::Enumeration { bytes: 4, names }),
            ],
        }
    }

    #[test]
    fn a_struct_is_shown_by_its_fields() {
        let mut bytes = vec![0; 24];
        bytes[..4].copy_from_slice(&7_u32.to_ne_bytes());
        bytes[4..6].copy_from_slice(&(-2_i16).to_ne_bytes());
        bytes[8..12].copy_from_slice(b"cat\0");
        bytes[16..20].copy_from_slice(&(-1_i32).to_ne_bytes());
        let value = TypedValue::read(&event(), &bytes);
        assert_eq!(value.to_string(), "{pid=7, result=-2, comm=cat, what=CLOSE}");
        let json = serde_json::to_string(&value).unwrap();
        assert_eq!(json, r#"{"pid":7,"result":-2,"comm":"cat","what":"CLOSE"}"#);
        assert_eq!(TypedValue::read(&event(), &bytes[..8]), TypedValue::Bytes(bytes[..8].to_vec()));
    }

    #[test]
    fn fields_of_bits_are_numbers_and_names() {
        let bits = |first, count, base| ValueLayout::Bits { bytes: 2, first, count, base: Box::new(base) };
        let field = |name: &str, layout| FieldLayout { name: name.to_owned(), offset: 0, layout };
        let names = vec![("ACK".to_owned(), 5)];
        let layout = ValueLayout::Struct {
            bytes: 2,
            fields: vec![
                field("length", bits(0, 4, integer(4, false))),
                field("flags", bits(4, 3, ValueLayout::Enumeration { bytes: 4, names })),
                field("last", bits(7, 1, ValueLayout::Bool)),
                field("step", bits(10, 5, integer(4, true))),
            ],
        };
        let value = TypedValue::read(&layout, &[0b1101_0110, 0b1111_0111]);
        assert_eq!(value.to_string(), "{length=6, flags=ACK, last=true, step=-3}");
    }

    #[test]
    fn bytes_of_no_type_are_digits_with_what_can_be_read() {
        let value = TypedValue::read_as(None, b"ab\x00");
        assert_eq!(value.to_string(), "616200 |ab.|");
        assert_eq!(serde_json::to_string(&value).unwrap(), r#""616200""#);
        assert!(TypedValue::read_as(None, &[0; 100]).to_string().contains("00... |"));
    }

    #[test]
    fn numbers_are_added_and_compared_and_texts_are_not() {
        let of = |number: u64| TypedValue::read(&integer(8, false), &number.to_ne_bytes());
        assert_eq!(of(2).plus(&of(3)), Some(of(5)));
        assert_eq!(of(5).minus(&of(2)).unwrap().as_step().unwrap(), "+3");
        assert_eq!(of(2).minus(&of(5)).unwrap().as_step().unwrap(), "-3");
        let text = TypedValue::Text("a".to_owned());
        assert_eq!(text.plus(&text), None);
        let large = TypedValue::read(&integer(16, false), &[0xff; 16]);
        assert_eq!(serde_json::to_string(&large).unwrap(), format!("\"{}\"", u128::MAX));
        assert_eq!(TypedValue::read(&integer(16, true), &[0xff; 16]), TypedValue::Signed(-1));
    }
}
