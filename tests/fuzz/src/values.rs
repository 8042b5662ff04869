//! Values of global variables as users write them, for types described by a compromised reader.

use bpfmand_object::{FieldLayout, ValueLayout};

/// Maximum length of an error, in bytes: longer texts in it are cut.
const MAX_ERROR: usize = 16 << 10;

/// Parses input: the type, a line break, and the text. Panics if the error is longer than the maximum.
pub fn run(bytes: &[u8]) {
    let Ok(input) = std::str::from_utf8(bytes) else { return };
    let Some((layout, text)) = input.split_once('\n') else { return };
    let Ok(layout) = serde_json::from_str::<ValueLayout>(layout) else { return };
    if let Some(Err(why)) = bpfmand_object::fuzzing::write_value(&layout, text) {
        assert!(why.len() <= MAX_ERROR, "a reason of {} bytes", why.len());
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let number = ValueLayout::Integer { bytes: 4, signed: true };
    let array = |element, count| ValueLayout::Array { element: Box::new(element), count };
    let field = |name: &str, offset, layout| FieldLayout { name: name.to_owned(), offset, layout };
    let fields = vec![
        field("rate", 0, number.clone()),
        field("ports", 4, array(ValueLayout::Integer { bytes: 2, signed: false }, 2)),
        field("name", 8, array(ValueLayout::Char, 8)),
    ];
    let cases = [
        (number.clone(), "-0x1f"),
        (ValueLayout::Bool, "true"),
        (ValueLayout::Float { bytes: 8 }, "1.5"),
        (ValueLayout::Enumeration { bytes: 4, names: vec![("RED".to_owned(), u64::MAX)] }, "RED"),
        (array(ValueLayout::Char, 8), "eth0"),
        (array(ValueLayout::Integer { bytes: 1, signed: false }, 4), "[1, \"0b1\"]"),
        (ValueLayout::Struct { bytes: 16, fields }, r#"{"rate": 5, "ports": [80], "name": "eth0"}"#),
        (ValueLayout::Opaque { bytes: 2 }, "0aff"),
        (ValueLayout::Bits { bytes: 2, first: 5, count: 7, base: Box::new(number) }, "-3"),
    ];
    let input = |(layout, text): (ValueLayout, &str)| {
        let layout = serde_json::to_string(&layout).expect("a layout has a form as JSON");
        format!("{layout}\n{text}").into_bytes()
    };
    cases.into_iter().map(input).collect()
}
