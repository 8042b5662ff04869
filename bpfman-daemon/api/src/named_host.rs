//! Clients that call a unix socket by its path.
//!
//! Clients that build on gRPC's C core (Python, C++, Ruby, PHP) and those in Java and Swift put the socket's path into
//! HTTP/2's `:authority`, plain or percent-encoded. No host is called like that, and the server's library ends such
//! requests with `PROTOCOL_ERROR` before anybody is asked. On a unix socket the name means nothing: it is replaced, where
//! it stands, by another that is as long. What else a client sends goes through as it is.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::server::Connected;

/// What a client sends before its first frame (RFC 9113, 3.4).
const PREFACE: u32 = 24;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// `:authority` in the static table (RFC 7541, appendix A), and as some clients spell it out.
const AUTHORITY: u32 = 1;
const AUTHORITY_NAME: &[u8] = b":authority";

/// A connection whose requests name a host.
#[derive(Debug)]
pub struct NamedHost<S> {
    inner: S,
    frames: Frames,
}

impl<S> NamedHost<S> {
    /// Of a new connection.
    pub fn new(inner: S) -> Self {
        Self { inner, frames: Frames::default() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for NamedHost<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        if let Some(new) = buffer.filled_mut().get_mut(before..) {
            self.frames.pass(new);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for NamedHost<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl<S: Connected> Connected for NamedHost<S> {
    type ConnectInfo = S::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.inner.connect_info()
    }
}

/// Where in the stream of frames the next byte is.
#[derive(Debug)]
enum At {
    /// In the preface, or in what is no header block: so many bytes pass.
    Passing(u32),
    /// In the nine bytes before a frame, of which some have come.
    Head([u8; 9], usize),
    /// At the length of a padded header block's padding.
    Padding,
    /// In a header block.
    Block,
}

/// The stream of frames of one client. Of what it does not understand it changes nothing more: the server judges it.
#[derive(Debug)]
struct Frames {
    at: At,
    /// Bytes of the frame's payload that are still to come, without padding once that is known.
    left: u32,
    /// Padding behind the header block.
    padding: u32,
    /// Bytes before the header block.
    priority: u32,
    fields: Fields,
    lost: bool,
}

impl Default for Frames {
    fn default() -> Self {
        let fields = Fields { field: Field::First, rewrites: false };
        Self { at: At::Passing(PREFACE), left: 0, padding: 0, priority: 0, fields, lost: false }
    }
}

impl Frames {
    fn pass(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.lost {
                return;
            }
            if self.step(byte).is_none() {
                self.lost = true;
            }
        }
    }

    /// One byte further; none if this is no HTTP/2.
    fn step(&mut self, byte: &mut u8) -> Option<()> {
        match &mut self.at {
            At::Passing(left) => {
                *left -= 1;
                if *left == 0 {
                    self.after_passing();
                }
            }
            At::Head(head, have) => {
                *head.get_mut(*have)? = *byte;
                *have += 1;
                if *have == head.len() {
                    let [a, b, c, kind, flags, ..] = *head;
                    self.begin(u32::from_be_bytes([0, a, b, c]), kind, flags)?;
                }
            }
            At::Padding => {
                self.padding = u32::from(*byte);
                self.left = self.left.checked_sub(1)?.checked_sub(self.padding)?;
                self.enter_block()?;
            }
            At::Block => {
                self.fields.step(byte)?;
                self.left -= 1;
                if self.left == 0 {
                    self.end_block();
                }
            }
        }
        Some(())
    }

    fn begin(&mut self, length: u32, kind: u8, flags: u8) -> Option<()> {
        let is_block = matches!(kind, HEADERS | CONTINUATION);
        (self.left, self.padding) = (if is_block { length } else { 0 }, 0);
        self.priority = if kind == HEADERS && flags & PRIORITY != 0 { 5 } else { 0 };
        if !is_block {
            self.at = if length == 0 { next_frame() } else { At::Passing(length) };
        } else if kind == HEADERS && flags & PADDED != 0 {
            if length == 0 {
                return None;
            }
            self.at = At::Padding;
        } else {
            self.enter_block()?;
        }
        Some(())
    }

    /// To the header block, over what stands before it.
    fn enter_block(&mut self) -> Option<()> {
        self.left = self.left.checked_sub(self.priority)?;
        if self.priority > 0 {
            self.at = At::Passing(self.priority);
            self.priority = 0;
        } else {
            self.after_passing();
        }
        Some(())
    }

    fn after_passing(&mut self) {
        if self.left > 0 {
            self.at = At::Block;
        } else {
            self.end_block();
        }
    }

    fn end_block(&mut self) {
        self.at =
            if self.padding > 0 { At::Passing(std::mem::take(&mut self.padding)) } else { next_frame() };
    }
}

const fn next_frame() -> At {
    At::Head([0; 9], 0)
}

/// Where in a field of a header block the next byte is (RFC 7541, 6). Blocks go on over frames.
#[derive(Debug)]
enum Field {
    /// At its first byte.
    First,
    /// In the number of its name, after which its value comes, or nothing.
    Index(Number, Then),
    /// At the length of its name or value.
    LengthOf(Text),
    /// In that length.
    Length(Number, Text, bool),
    /// In its name or value: how many bytes there are, and have come, and whether they are Huffman's code.
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

/// A number that did not fit its first byte (RFC 7541, 5.1).
#[derive(Clone, Copy, Debug)]
struct Number {
    value: u32,
    shift: u32,
}

impl Number {
    /// The number whose first byte has `bits` for it; whole, or to be continued.
    const fn begin(byte: u8, bits: u32) -> Result<u32, Self> {
        let most = (1_u32 << bits) - 1;
        let value = byte as u32 & most;
        if value < most { Ok(value) } else { Err(Self { value, shift: 0 }) }
    }

    /// One byte further; none if it is larger than any that may be.
    fn go_on(self, byte: u8) -> Option<Result<u32, Self>> {
        if self.shift > 14 {
            return None;
        }
        let value = self.value + (u32::from(byte & 0x7f) << self.shift);
        Some(if byte & 0x80 == 0 { Ok(value) } else { Err(Self { value, shift: self.shift + 7 }) })
    }
}

#[derive(Debug)]
struct Fields {
    field: Field,
    /// The value that comes is of `:authority`.
    rewrites: bool,
}

impl Fields {
    fn step(&mut self, byte: &mut u8) -> Option<()> {
        self.field = match &self.field {
            Field::First => {
                let (bits, then) = match *byte {
                    // A field of the tables, by its number.
                    0x80.. => (7, Then::Nothing),
                    // To be added to the table.
                    0x40.. => (6, Then::Value),
                    // A new size of the table.
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

/// A byte of so many letters `a` (00011) as fit into `length` bytes; the bits that are over are ones.
fn huffman_byte(length: u32, at: u32) -> u8 {
    let letters = length * 8 / 5;
    (0..8).fold(0, |byte, bit| {
        let place = at * 8 + bit;
        let is_one = place / 5 >= letters || place % 5 >= 3;
        byte << 1 | u8::from(is_one)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &[u8] = b"%2Frun%2Fbpfman-sock%2Fbpfman.sock";

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags, 0, 0, 0, 1]);
        frame.extend(payload);
        frame
    }

    /// `:method POST`, the authority in this form, a field with a name of its own and `:path /`.
    fn block(authority: &[u8]) -> Vec<u8> {
        let mut block = vec![0x3f, 0xe1, 0x1f, 0x83];
        block.extend(authority);
        block.extend(b"\x40\x02te\x08trailers\x84");
        block
    }

    fn literal(value: &[u8]) -> Vec<u8> {
        let mut literal = vec![0x41, value.len() as u8];
        literal.extend(value);
        literal
    }

    fn stream(frames: &[Vec<u8>]) -> Vec<u8> {
        let settings = frame(4, 0, &[0, 3, 0, 0, 0, 1]);
        [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), settings, frames.concat(), frame(0, 1, b"data")]
            .concat()
    }

    /// What passes, whole and in pieces of every size.
    fn passed(bytes: &[u8]) -> Vec<u8> {
        let mut whole = bytes.to_vec();
        Frames::default().pass(&mut whole);
        for size in 1..bytes.len() {
            let mut pieces = bytes.to_vec();
            let mut frames = Frames::default();
            pieces.chunks_mut(size).for_each(|piece| frames.pass(piece));
            assert_eq!(pieces, whole, "{size}");
        }
        whole
    }

    #[test]
    fn a_path_becomes_a_name_that_is_as_long_and_nothing_else_changes() {
        let name = vec![b'a'; PATH.len()];
        for flags in [0x4, 0x4 | PRIORITY, 0x4 | PADDED, 0x4 | PADDED | PRIORITY] {
            let payload = |value: &[u8]| {
                let mut payload = Vec::new();
                payload.extend((flags & PADDED != 0).then_some(3));
                payload.extend([7; 5].iter().take(if flags & PRIORITY != 0 { 5 } else { 0 }));
                payload.extend(block(&literal(value)));
                payload.extend(vec![0; if flags & PADDED != 0 { 3 } else { 0 }]);
                payload
            };
            let sent =
                stream(&[frame(HEADERS, flags, &payload(PATH)), frame(HEADERS, flags, &payload(PATH))]);
            let expected = [frame(HEADERS, flags, &payload(&name)), frame(HEADERS, flags, &payload(&name))];
            assert_eq!(passed(&sent), stream(&expected), "{flags:#x}");
        }
    }

    #[test]
    fn a_name_that_is_spelled_out_is_known() {
        let block_of = |name: &[u8], value: &[u8]| {
            let mut literal = vec![0x40, name.len() as u8];
            literal.extend(name);
            literal.push(value.len() as u8);
            literal.extend(value);
            stream(&[frame(HEADERS, 4, &block(&literal))])
        };
        assert_eq!(passed(&block_of(b":authority", PATH)), block_of(b":authority", &vec![b'a'; PATH.len()]));
        for other in [&b":authoritz"[..], b":authority2", b"authority", b"x"] {
            assert_eq!(passed(&block_of(other, PATH)), block_of(other, PATH));
        }
    }

    #[test]
    fn a_block_over_several_frames_is_one() {
        let (whole, name) = (block(&literal(PATH)), block(&literal(&vec![b'a'; PATH.len()])));
        let split = |block: &[u8]| {
            let (first, rest) = block.split_at(20);
            stream(&[frame(HEADERS, 0, first), frame(CONTINUATION, 0, &[]), frame(CONTINUATION, 4, rest)])
        };
        assert_eq!(passed(&split(&whole)), split(&name));
    }

    #[test]
    fn a_value_in_huffmans_code_and_a_long_one_are_replaced_too() {
        // So many letters `a`: 00011 each, and ones.
        for (length, coded) in [
            (1_u8, vec![0b0001_1111]),
            (2, vec![0b0001_1000, 0b1100_0111]),
            (5, vec![0b0001_1000, 0b1100_0110, 0b0011_0001, 0b1000_1100, 0b0110_0011]),
        ] {
            let block_of = |value: &[u8]| {
                let mut literal = vec![0x41, 0x80 | length];
                literal.extend(value);
                stream(&[frame(HEADERS, 4, &block(&literal))])
            };
            assert_eq!(passed(&block_of(&vec![0x5a; usize::from(length)])), block_of(&coded), "{length}");
        }
        let long = |value: u8| {
            let mut literal = vec![0x41, 0x7f, 0x49];
            literal.extend(vec![value; 200]);
            stream(&[frame(HEADERS, 4, &block(&literal))])
        };
        assert_eq!(passed(&long(b'%')), long(b'a'));
    }

    #[test]
    fn what_is_no_http2_passes_as_it_is() {
        for bytes in [
            vec![0xff; 300],
            b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(4),
            stream(&[frame(HEADERS, PADDED, &[]), frame(HEADERS, 4, &block(&literal(PATH)))]),
            stream(&[frame(HEADERS, PADDED, &[200, 1]), frame(HEADERS, 4, &block(&literal(PATH)))]),
            stream(&[frame(HEADERS, PRIORITY, &[1, 2]), frame(HEADERS, 4, &block(&literal(PATH)))]),
            stream(&[frame(HEADERS, 4, &[0xff; 40]), frame(HEADERS, 4, &block(&literal(PATH)))]),
        ] {
            assert_eq!(passed(&bytes), bytes);
        }
    }
}
