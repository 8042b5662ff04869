//! Entry points for fuzzers: any layout, any text.

use crate::layout::ValueLayout;
use crate::value_text;

const MAX_VALUE: usize = 1 << 16;

/// Writes a text for a layout received from an object reader; `None` if the layout is invalid.
#[must_use]
pub fn write_value(layout: &ValueLayout, text: &str) -> Option<Result<Vec<u8>, String>> {
    layout.check(&mut 0).ok()?;
    let mut bytes = vec![0; layout.size().filter(|size| *size <= MAX_VALUE)?];
    Some(value_text::write(layout, &mut bytes, text).map(|()| bytes))
}
