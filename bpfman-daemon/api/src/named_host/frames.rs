//! Frames of an HTTP/2 connection (RFC 9113, sections 4 and 6.2): finds the header blocks.

use super::fields::Fields;

/// Length of the client's connection preface, in bytes (RFC 9113, section 3.4).
const PREFACE: u32 = 24;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

#[derive(Debug)]
enum At {
    /// Number of bytes to skip: the preface, or anything that is no header block.
    Passing(u32),
    Head([u8; 9], usize),
    Padding,
    Block,
}

/// Stream of frames of one client. After bytes that are no HTTP/2, it changes nothing: the server reports
/// them.
#[derive(Debug)]
pub struct HttpFrames {
    at: At,
    /// Bytes of the frame's payload that are still expected, without padding once that is known.
    left: u32,
    padding: u32,
    /// Size of the fields before the header block, in bytes.
    priority: u32,
    fields: Fields,
    lost: bool,
}

impl Default for HttpFrames {
    fn default() -> Self {
        let at = At::Passing(PREFACE);
        Self { at, left: 0, padding: 0, priority: 0, fields: Fields::default(), lost: false }
    }
}

impl HttpFrames {
    pub fn pass(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.lost {
                return;
            }
            if self.step(byte).is_none() {
                self.lost = true;
            }
        }
    }

    /// Processes one byte; `None` if this is no HTTP/2.
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

    fn passed(bytes: &[u8]) -> Vec<u8> {
        let mut whole = bytes.to_vec();
        HttpFrames::default().pass(&mut whole);
        for size in 1..bytes.len() {
            let mut pieces = bytes.to_vec();
            let mut frames = HttpFrames::default();
            pieces.chunks_mut(size).for_each(|piece| frames.pass(piece));
            assert_eq!(pieces, whole, "{size}");
        }
        whole
    }

    #[test]
    fn path_is_replaced_by_a_name_of_equal_length_and_no_more() {
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
        // Letters `a` (00011 each), padded with ones.
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
    fn bytes_other_than_http2_pass_unchanged() {
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
