//! What fuzzers ask of values, as nobody else does: any layout, any text.

use crate::layout::ValueLayout;
use crate::value_text;

/// The largest value that is written, in bytes.
const LARGEST: usize = 1 << 16;

/// Writes a text for a layout that a reader told; none if the layout would not be taken.
#[must_use]
pub fn write_value(layout: &ValueLayout, text: &str) -> Option<Result<Vec<u8>, String>> {
    layout.check(&mut 0).ok()?;
    let mut bytes = vec![0; layout.size().filter(|size| *size <= LARGEST)?];
    Some(value_text::write(layout, &mut bytes, text).map(|()| bytes))
}
