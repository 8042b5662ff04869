//! Keys of LPM tries: `10.0.0.0/8`; 32-bit length in host byte order, address in network byte order.

use std::net::IpAddr;

use crate::layout::ValueLayout;
use crate::shown::shown;

const LENGTH: usize = 4;

/// Returns whether a key is a struct of a 32-bit number and one field of 4 or 16 bytes.
#[must_use]
pub fn is_prefix(layout: &ValueLayout) -> bool {
    let ValueLayout::Struct { bytes, fields } = layout else { return false };
    let [length, address] = &fields[..] else { return false };
    let is_length = matches!(length.layout, ValueLayout::Integer { bytes: LENGTH, .. }) && length.offset == 0;
    let size = address.layout.size().unwrap_or(0);
    is_length
        && address.offset == LENGTH
        && *bytes == LENGTH + size
        && match &address.layout {
            ValueLayout::Array { element, .. } => {
                matches!(**element, ValueLayout::Integer { bytes: 1 | 4, signed: false })
                    && matches!(size, 4 | 16)
            }
            ValueLayout::Integer { bytes: 4, .. } => true,
            // struct in6_addr is a union in a struct, which has no known layout.
            ValueLayout::Struct { .. } | ValueLayout::Opaque { .. } => size == 16,
            _ => false,
        }
}

/// Parses a prefix, or an address as one of full length; `None` for other texts. Fails for another family.
#[must_use]
pub fn prefix_of_text(text: &str, key_bytes: usize) -> Option<Result<Vec<u8>, String>> {
    let text = text.trim();
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.trim().parse().ok()?;
    let octets = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    Some(prefix(text, &octets, length, key_bytes))
}

fn prefix(text: &str, octets: &[u8], length: Option<&str>, key_bytes: usize) -> Result<Vec<u8>, String> {
    let room = key_bytes.saturating_sub(LENGTH);
    if octets.len() != room {
        return Err(format!(
            "{} has an address of {} bytes, and keys of this map have {room}",
            shown(text),
            octets.len()
        ));
    }
    let all = 8 * octets.len() as u32;
    let is_number = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let length = match length.map(str::trim) {
        None => all,
        Some(length) => {
            let number = Some(length).filter(is_number).and_then(|length| length.parse().ok());
            number.filter(|number| *number <= all).ok_or_else(|| {
                format!("{} is no length of a prefix of {}: it is 0 to {all}", shown(length), shown(text))
            })?
        }
    };
    Ok([&length.to_ne_bytes(), octets].concat())
}

/// Returns a key as text; `None` if it is not a valid prefix.
#[must_use]
pub fn prefix_text(key: &[u8]) -> Option<String> {
    let (length, address) = key.split_first_chunk::<LENGTH>()?;
    let length = u32::from_ne_bytes(*length);
    let text = match (<[u8; 4]>::try_from(address), <[u8; 16]>::try_from(address)) {
        (Ok(octets), _) => IpAddr::from(octets),
        (_, Ok(octets)) => IpAddr::from(octets),
        _ => return None,
    };
    (length as usize <= 8 * address.len()).then(|| format!("{text}/{length}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::FieldLayout;

    fn key(address: ValueLayout) -> ValueLayout {
        let number = ValueLayout::Integer { bytes: 4, signed: false };
        let bytes = 4 + address.size().unwrap();
        let field = |name: &str, offset, layout| FieldLayout { name: name.to_owned(), offset, layout };
        ValueLayout::Struct {
            bytes,
            fields: vec![field("prefixlen", 0, number), field("address", 4, address)],
        }
    }

    #[test]
    fn prefixes_of_both_kinds_are_written_and_shown() {
        for (text, bytes, shown) in [
            ("10.0.0.0/8", 8, "10.0.0.0/8"),
            (" 10.1.2.3 ", 8, "10.1.2.3/32"),
            ("0.0.0.0/0", 8, "0.0.0.0/0"),
            ("2001:db8::/32", 20, "2001:db8::/32"),
            ("::1", 20, "::1/128"),
        ] {
            let key = prefix_of_text(text, bytes).unwrap().unwrap();
            assert_eq!((key.len(), prefix_text(&key).as_deref()), (bytes, Some(shown)));
        }
        let key = prefix_of_text("10.0.0.0/8", 8).unwrap().unwrap();
        assert_eq!(key, [8_u32.to_ne_bytes(), [10, 0, 0, 0]].concat());
        let too_long = [33_u32.to_ne_bytes(), [10, 0, 0, 0]].concat();
        assert_eq!((prefix_text(&too_long), prefix_text(&[0; 7]), prefix_text(&[0; 12])), (None, None, None));
    }

    #[test]
    fn invalid_prefix_of_a_key_is_refused_and_other_texts_are_not() {
        for (text, bytes, says) in [
            ("10.0.0.0/33", 8, "\"33\" is no length of a prefix of \"10.0.0.0/33\": it is 0 to 32"),
            ("10.0.0.0/-1", 8, "is no length"),
            ("10.0.0.0/", 8, "is no length"),
            ("::/0", 8, "has an address of 16 bytes, and keys of this map have 4"),
            ("10.0.0.0/8", 20, "has an address of 4 bytes, and keys of this map have 16"),
            ("10.0.0.0/99999999999", 8, "is no length"),
        ] {
            let why = prefix_of_text(text, bytes).unwrap().unwrap_err();
            assert!(why.contains(says), "{text}: {why}");
        }
        for other in ["length=8,address=[10,0,0,0]", "{}", "hex:0800", "10.0.0/8", "7", ""] {
            assert_eq!(prefix_of_text(other, 8), None, "{other}");
        }
    }

    #[test]
    fn a_length_and_an_address_are_a_prefix_and_nothing_else_is() {
        let array = |bytes, count| {
            let element = ValueLayout::Integer { bytes, signed: false };
            ValueLayout::Array { element: Box::new(element), count }
        };
        let number = |bytes| ValueLayout::Integer { bytes, signed: false };
        for address in [array(1, 4), array(1, 16), array(4, 4), number(4), ValueLayout::Opaque { bytes: 16 }]
        {
            assert!(is_prefix(&key(address.clone())), "{address:?}");
        }
        for other in [array(1, 8), number(8), array(1, 6), ValueLayout::Opaque { bytes: 4 }] {
            assert!(!is_prefix(&key(other.clone())), "{other:?}");
        }
        assert!(!is_prefix(&number(8)));
    }
}
