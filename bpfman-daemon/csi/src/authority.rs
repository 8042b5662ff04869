//! Workaround for old kubelets, which send the socket's path as the authority of their requests (`:authority:
//! /var/lib/kubelet/…`). This is not a valid authority, so the HTTP/2 library refuses the request before any
//! service gets it. Here its slashes and percent signs become dashes, which have the same length in HPACK's
//! Huffman code: nothing else of a frame changes, not even the size of the header table that both ends count.

const FRAME_HEADER: usize = 9;
const PREFACE: usize = 24;
const HEADERS: u8 = 1;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;
/// Maximum frame size that this end announces, in bytes. A larger frame is passed on unread, and refused.
const MAX_FRAME: usize = 16 << 10;
const AUTHORITY_INDEX: usize = 1;

#[derive(Debug)]
pub struct Incoming {
    waiting: Vec<u8>,
    pass: usize,
}

impl Default for Incoming {
    fn default() -> Self {
        Self { waiting: Vec::new(), pass: PREFACE }
    }
}

impl Incoming {
    pub fn take(&mut self, mut arrived: &[u8], ready: &mut Vec<u8>) {
        while !arrived.is_empty() {
            if self.pass > 0 {
                let count = self.pass.min(arrived.len());
                ready.extend_from_slice(&arrived[..count]);
                self.pass -= count;
                arrived = &arrived[count..];
                continue;
            }
            let wanted = match self.waiting.get(..3) {
                Some(length) if self.waiting.len() >= FRAME_HEADER => FRAME_HEADER + number(length),
                _ => FRAME_HEADER,
            };
            let count = (wanted - self.waiting.len()).min(arrived.len());
            self.waiting.extend_from_slice(&arrived[..count]);
            arrived = &arrived[count..];
            if self.waiting.len() == FRAME_HEADER {
                let length = number(&self.waiting[..3]);
                if self.waiting[3] != HEADERS || length == 0 || length > MAX_FRAME {
                    ready.append(&mut self.waiting);
                    self.pass = length;
                }
            } else if self.waiting.len() == wanted && wanted > FRAME_HEADER {
                let flags = self.waiting[4];
                mend_headers(flags, &mut self.waiting[FRAME_HEADER..]);
                ready.append(&mut self.waiting);
            }
        }
    }
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |value, byte| value << 8 | usize::from(*byte))
}

fn mend_headers(flags: u8, payload: &mut [u8]) {
    let mut start = 0;
    let mut end = payload.len();
    if flags & PADDED != 0 {
        end = end.saturating_sub(usize::from(payload[0]));
        start += 1;
    }
    if flags & PRIORITY != 0 {
        start += 5;
    }
    if let Some(block) = payload.get_mut(start..end) {
        // An invalid block stays unchanged: the library reports the error.
        let _not_understood = mend_block(block);
    }
}

/// Processes the fields of a header block (RFC 7541, section 6). Returns `None` if it is truncated.
fn mend_block(block: &mut [u8]) -> Option<()> {
    let mut at = 0;
    while let Some(&first) = block.get(at) {
        let bits = match first {
            0x80.. => 7,
            0x40.. => 6,
            0x20.. => 5,
            _ => 4,
        };
        let index = integer(block, &mut at, bits)?;
        // An indexed field, or a table size update: no text.
        if matches!(bits, 7 | 5) {
            continue;
        }
        if index == 0 {
            let (_, name) = string(block, &mut at)?;
            block.get(name)?;
        }
        let (is_coded, value) = string(block, &mut at)?;
        let value = block.get_mut(value)?;
        match (index == AUTHORITY_INDEX, is_coded) {
            (true, true) => mend_coded(value),
            (true, false) => mend_plain(value),
            (false, _) => {}
        }
    }
    Some(())
}

/// Decodes an integer with a prefix of `bits` bits (section 5.1).
fn integer(block: &[u8], at: &mut usize, bits: u32) -> Option<usize> {
    let most = (1_usize << bits) - 1;
    let mut value = usize::from(*block.get(*at)?) & most;
    *at += 1;
    if value < most {
        return Some(value);
    }
    for shift in [0_u32, 7, 14] {
        let byte = *block.get(*at)?;
        *at += 1;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Returns whether a string is Huffman-coded, and its range (section 5.2).
fn string(block: &[u8], at: &mut usize) -> Option<(bool, std::ops::Range<usize>)> {
    let is_coded = block.get(*at)? & 0x80 != 0;
    let length = integer(block, at, 7)?;
    let start = *at;
    *at = start.checked_add(length)?;
    Some((is_coded, start..*at))
}

fn mend_plain(value: &mut [u8]) {
    for byte in value.iter_mut().filter(|byte| matches!(**byte, b'/' | b'%')) {
        *byte = b'-';
    }
}

/// Replaces characters in a Huffman-coded string (appendix B). The first bits of a symbol determine its length.
fn mend_coded(value: &mut [u8]) {
    const SLASH: u8 = 0b01_1000;
    const PERCENT: u8 = 0b01_0101;
    const DASH: u8 = 0b01_0110;
    let mut at = 0;
    loop {
        let length = match bits(value, at, 8) {
            None => return,
            Some(first) if first >> 3 < 10 => 5,
            Some(first) if first >> 2 < 46 => 6,
            Some(first) if first >> 1 < 124 => 7,
            Some(first) if first < 254 => 8,
            // The padding at the end, or a symbol that no path contains.
            Some(_) => return,
        };
        // A symbol completed by padding is invalid.
        if length == 6
            && at + length <= value.len() * 8
            && let Some(SLASH | PERCENT) = bits(value, at, 6)
        {
            for (offset, place) in (at..at + 6).enumerate() {
                let bit = DASH >> (5 - offset) & 1;
                let (byte, mask) = (place / 8, 0x80 >> (place % 8));
                if bit == 1 { value[byte] |= mask } else { value[byte] &= !mask }
            }
        }
        at += length;
    }
}

/// Returns bits of a string, padded with ones like its encoding. Returns `None` past the end.
fn bits(value: &[u8], at: usize, count: usize) -> Option<u8> {
    if at >= value.len() * 8 {
        return None;
    }
    let bit = |place: usize| value.get(place / 8).is_none_or(|byte| byte & (0x80 >> (place % 8)) != 0);
    Some((at..at + count).fold(0, |bits, place| bits << 1 | u8::from(bit(place))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(flags: u8, payload: &[u8], piece: usize) -> Vec<u8> {
        let mut sent = vec![b'P'; PREFACE];
        sent.extend([0, 0, 4, 6, 0, 0, 0, 0, 0, b'/', b'/', b'/', b'/']);
        sent.extend([0, 0, payload.len() as u8, HEADERS, flags, 0, 0, 0, 1]);
        sent.extend(payload);
        sent.extend([0, 0, 2, 0, 1, 0, 0, 0, 1, b'/', b'%']);
        let (mut incoming, mut ready) = (Incoming::default(), Vec::new());
        for bytes in sent.chunks(piece) {
            incoming.take(bytes, &mut ready);
        }
        assert_eq!(ready.len(), sent.len());
        assert!(ready.ends_with(b"/%"), "other frames are passed on as they are");
        let begin = PREFACE + FRAME_HEADER + 4 + FRAME_HEADER;
        ready[begin..begin + payload.len()].to_vec()
    }

    #[test]
    fn socket_path_as_authority_is_escaped_and_call_path_is_not() {
        // POST, http, :path "/a/b" (index 4), :authority "/r/x%2f" (index 1), a header "p" with the value "/".
        let payload = b"\x83\x86\x44\x04/a/b\x41\x07/r/x%2f\x40\x01p\x01/";
        for piece in [1, 2, 7, 1000] {
            assert_eq!(through(4, payload, piece), b"\x83\x86\x44\x04/a/b\x41\x07-r-x-2f\x40\x01p\x01/");
        }
    }

    #[test]
    fn a_coded_authority_gets_dashes_of_the_same_length() {
        // "/r/x" and "-r-x" in HPACK's code: 011000 101100 011000 1111001, and 010110 101100 010110 1111001, padded.
        let coded = b"\x41\x84\x62\xc6\x3c\xff";
        let dashed = b"\x41\x84\x5a\xc5\xbc\xff";
        assert_eq!(through(4, coded, 3), dashed);
        assert_eq!(through(4, dashed, 3), dashed);
    }

    #[test]
    fn padding_and_priority_are_skipped() {
        let payload = b"\x02\0\0\0\0\x10\x01\x02/x//";
        assert_eq!(through(PADDED | PRIORITY | 4, payload, 5), b"\x02\0\0\0\0\x10\x01\x02-x//");
    }

    #[test]
    fn unknown_bytes_are_passed_on() {
        for payload in [&b"\x41\x7f"[..], b"\x41\x05/", b"\x40", b"\x41\xff\xff\xff\xff\xff", b"\xff"] {
            assert_eq!(through(4, payload, 4), payload);
        }
        // "0-" and the first five bits of "%", completed by the padding's ones.
        assert_eq!(through(4, b"\x41\x82\x02\xca", 4), b"\x41\x82\x02\xca");
        // Padding longer than the frame.
        assert_eq!(through(PADDED | 4, b"\xff\x41\x01/", 4), b"\xff\x41\x01/");
    }
}
