//! Values split into pieces, for sled.
//!
//! A leaf of sled's tree holds up to 16 entries, some more while it splits or merges, and a leaf of more than 128 KiB
//! moves to a file of its own, which sled does not sync. Pieces of 4 KiB keep every leaf below that.
//!
//! A piece's key is the entry's key with each zero byte followed by 0xff, then two zero bytes, then the piece's index,
//! two bytes big-endian. Thus pieces of one entry are adjacent, and entries keep their order.

pub(super) const PIECE: usize = 4096;

/// The bound of a range: it sorts before all pieces of `key` and after those of every smaller key.
pub(super) fn bound(key: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(key.len() + 4);
    for byte in key {
        escaped.push(*byte);
        if *byte == 0 {
            escaped.push(0xff);
        }
    }
    escaped
}

/// The prefix that exactly the keys of `key`'s pieces have.
pub(super) fn prefix(key: &[u8]) -> Vec<u8> {
    let mut prefix = bound(key);
    prefix.extend_from_slice(&[0, 0]);
    prefix
}

pub(super) fn piece_key(prefix: &[u8], index: u16) -> Vec<u8> {
    [prefix, &index.to_be_bytes()].concat()
}

pub(super) fn pieces(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let first = &value[..value.len().min(PIECE)];
    std::iter::once(first).chain(value.chunks(PIECE).skip(1))
}

pub(super) type WholeEntry = (Vec<u8>, Vec<u8>);

#[derive(Debug, Default)]
pub(super) struct Joining {
    prefix: Vec<u8>,
    value: Vec<u8>,
    next: u16,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct UnexpectedPiece;

impl Joining {
    /// Returns the previous entry when it is complete.
    pub(super) fn push(&mut self, key: &[u8], piece: &[u8]) -> Result<Option<WholeEntry>, UnexpectedPiece> {
        let (prefix, index) = key.split_last_chunk::<2>().ok_or(UnexpectedPiece)?;
        let index = u16::from_be_bytes(*index);
        let mut complete = None;
        if self.next == 0 || prefix != self.prefix {
            complete = self.finish()?;
            self.prefix = prefix.to_vec();
        }
        if index != self.next {
            return Err(UnexpectedPiece);
        }
        self.value.extend_from_slice(piece);
        self.next = index.checked_add(1).ok_or(UnexpectedPiece)?;
        Ok(complete)
    }

    pub(super) fn finish(&mut self) -> Result<Option<WholeEntry>, UnexpectedPiece> {
        let Joining { prefix, value, next } = std::mem::take(self);
        if next == 0 {
            return Ok(None);
        }
        let escaped = prefix.strip_suffix(&[0, 0]).ok_or(UnexpectedPiece)?;
        let mut key = Vec::with_capacity(escaped.len());
        let mut bytes = escaped.iter();
        while let Some(byte) = bytes.next() {
            if *byte == 0 && bytes.next() != Some(&0xff) {
                return Err(UnexpectedPiece);
            }
            key.push(*byte);
        }
        Ok(Some((key, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_in_the_order_of_their_keys() {
        let keys: [&[u8]; 9] =
            [b"", b"\0", b"\0\0", b"\0\0\0\x01", b"\0\x01", b"\0\xff", b"\x01", b"a\0b", b"a\xff"];
        let sizes = [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 7, 20, 0];
        let mut stored = std::collections::BTreeMap::new();
        for (key, size) in keys.iter().zip(sizes) {
            for (index, piece) in pieces(&vec![size as u8; size]).enumerate() {
                assert!(piece.len() <= PIECE);
                stored.insert(piece_key(&prefix(key), index as u16), piece.to_vec());
            }
        }
        let mut joining = Joining::default();
        let mut found: Vec<_> =
            stored.iter().filter_map(|(key, piece)| joining.push(key, piece).unwrap()).collect();
        found.extend(joining.finish().unwrap());
        let expected: Vec<_> =
            keys.iter().zip(sizes).map(|(key, size)| (key.to_vec(), vec![size as u8; size])).collect();
        assert_eq!(found, expected);
        for (n, key) in keys.iter().enumerate() {
            let from = stored.range(bound(key)..).next().unwrap().0;
            assert_eq!(*from, piece_key(&prefix(key), 0), "bound of key {n}");
        }
    }

    #[test]
    fn a_missing_piece_is_seen() {
        let mut joining = Joining::default();
        joining.push(&piece_key(&prefix(b"a"), 0), b"x").unwrap();
        assert_eq!(joining.push(&piece_key(&prefix(b"a"), 2), b"y"), Err(UnexpectedPiece));
        let mut joining = Joining::default();
        assert_eq!(joining.push(&piece_key(&prefix(b"a"), 1), b"y"), Err(UnexpectedPiece));
    }
}
