//! Fields of header blocks (HPACK, RFC 7541): finds the value of `:authority`.

/// `:authority` as an index of the static table (RFC 7541, appendix A), and as a literal name.
const AUTHORITY: u32 = 1;
const AUTHORITY_NAME: &[u8] = b":authority";

/// Position of the next byte in a field of a header block (RFC 7541, section 6). Blocks continue over frames.
#[derive(Debug, Default)]
enum Field {
    #[default]
    First,
    /// Index of the name; `Then` states whether a value follows.
    Index(Number, Then),
    /// First byte of the length of the name or the value.
    LengthOf(Text),
    /// Further bytes of that length, and whether the text is Huffman-coded.
    Length(Number, Text, bool),
    /// Name or value: its length, the number of bytes received, and whether it is Huffman-coded.
    Bytes { text: Text, length: u32, at: u32, is_huffman: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Nothing,
    Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Name,
    Value,
}

/// Integer that does not fit its first byte (RFC 7541, section 5.1).
#[derive(Clone, Copy, Debug)]
struct Number {
    value: u32,
    shift: u32,
}

impl Number {
    /// Parses an integer from `bits` of its first byte; `Err` if more bytes follow.
    const fn begin(byte: u8, bits: u32) -> Result<u32, Self> {
        let most = (1_u32 << bits) - 1;
        let value = byte as u32 & most;
        if value < most { Ok(value) } else { Err(Self { value, shift: 0 }) }
    }

    /// Adds one byte; `None` if the integer exceeds the largest accepted value.
    fn go_on(self, byte: u8) -> Option<Result<u32, Self>> {
        if self.shift > 14 {
            return None;
        }
        let value = self.value + (u32::from(byte & 0x7f) << self.shift);
        Some(if byte & 0x80 == 0 { Ok(value) } else { Err(Self { value, shift: self.shift + 7 }) })
    }
}

#[derive(Debug, Default)]
pub struct Fields {
    field: Field,
    /// True if the next value is that of `:authority`.
    rewrites: bool,
}

impl Fields {
    /// Processes one byte, and replaces it if it belongs to the value of `:authority`; `None` if this is no HPACK.
    pub fn step(&mut self, byte: &mut u8) -> Option<()> {
        self.field = match &self.field {
            Field::First => {
                let (bits, then) = match *byte {
                    // Indexed field.
                    0x80.. => (7, Then::Nothing),
                    // Literal field, to be added to the table.
                    0x40.. => (6, Then::Value),
                    // New size of the table.
                    0x20.. => (5, Then::Nothing),
                    _ => (4, Then::Value),
                };
                match Number::begin(*byte, bits) {
                    Ok(index) => self.after_index(index, then),
                    Err(number) => Field::Index(number, then),
                }
            }
            Field::Index(number, then) => {
                let then = *then;
                match number.go_on(*byte)? {
                    Ok(index) => self.after_index(index, then),
                    Err(number) => Field::Index(number, then),
                }
            }
            Field::LengthOf(text) => {
                let is_huffman = *byte & 0x80 != 0;
                match Number::begin(*byte, 7) {
                    Ok(length) => after_length(*text, length, is_huffman),
                    Err(number) => Field::Length(number, *text, is_huffman),
                }
            }
            Field::Length(number, text, is_huffman) => match number.go_on(*byte)? {
                Ok(length) => after_length(*text, length, *is_huffman),
                Err(number) => Field::Length(number, *text, *is_huffman),
            },
            Field::Bytes { text, length, at, is_huffman } => {
                match text {
                    Text::Name => {
                        let is_like_it = !is_huffman && AUTHORITY_NAME.get(*at as usize) == Some(byte);
                        let may_be = *at == 0 && *length as usize == AUTHORITY_NAME.len() || self.rewrites;
                        self.rewrites = may_be && is_like_it;
                    }
                    Text::Value if self.rewrites => {
                        *byte = if *is_huffman { huffman_byte(*length, *at) } else { b'a' };
                    }
                    Text::Value => {}
                }
                let (text, length, at, is_huffman) = (*text, *length, *at + 1, *is_huffman);
                if at == length { after_text(text) } else { Field::Bytes { text, length, at, is_huffman } }
            }
        };
        Some(())
    }

    fn after_index(&mut self, index: u32, then: Then) -> Field {
        self.rewrites = index == AUTHORITY;
        match (then, index) {
            (Then::Nothing, _) => Field::First,
            (Then::Value, 0) => Field::LengthOf(Text::Name),
            (Then::Value, _) => Field::LengthOf(Text::Value),
        }
    }
}

const fn after_length(text: Text, length: u32, is_huffman: bool) -> Field {
    if length == 0 { after_text(text) } else { Field::Bytes { text, length, at: 0, is_huffman } }
}

const fn after_text(text: Text) -> Field {
    match text {
        Text::Name => Field::LengthOf(Text::Value),
        Text::Value => Field::First,
    }
}

/// Returns a byte of as many letters `a` (00011) as fit into `length` bytes, padded with ones.
fn huffman_byte(length: u32, at: u32) -> u8 {
    let letters = length * 8 / 5;
    (0..8).fold(0, |byte, bit| {
        let place = at * 8 + bit;
        let is_one = place / 5 >= letters || place % 5 >= 3;
        byte << 1 | u8::from(is_one)
    })
}
