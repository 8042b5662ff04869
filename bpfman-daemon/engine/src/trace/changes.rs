//! Text about the differences of a packet before and after a program.

use bpfman_model::hexadecimal;

const MAX_RANGES: usize = 8;

const MAX_BYTES: usize = 16;

const NEAR: usize = 3;

pub fn changes(before: &[u8], behind: &[u8]) -> Vec<String> {
    if before == behind {
        return Vec::new();
    }
    if before.len() == behind.len() {
        return ranges(before, behind);
    }
    let (short, long) = (before.len().min(behind.len()), before.len().max(behind.len()));
    let longer = if behind.len() > before.len() { behind } else { before };
    let what = if behind.len() > before.len() { "added" } else { "removed" };
    let difference = long - short;
    let mut all = Vec::new();
    // Encapsulation and decapsulation change the front, padding and trimming change the end.
    if before[before.len() - short..] == behind[behind.len() - short..] {
        all.push(format!("{difference} bytes {what} at the front: {}", hex(&longer[..difference])));
    } else if before[..short] == behind[..short] {
        all.push(format!("{difference} bytes {what} at the end: {}", hex(&longer[short..])));
    } else if tail(before) == tail(behind) {
        // Ethernet addresses often move when a header is added or removed at the front.
        let kept = before.iter().rev().zip(behind.iter().rev()).take_while(|(a, b)| a == b).count();
        let (old, new) = (&before[..before.len() - kept], &behind[..behind.len() - kept]);
        all.push(format!("the first {} bytes: {} -> {} bytes: {}", old.len(), hex(old), new.len(), hex(new)));
    } else {
        all.push(format!("{} -> {} bytes", before.len(), behind.len()));
        all.extend(ranges(&before[..short], &behind[..short]));
    }
    all
}

fn tail(packet: &[u8]) -> Option<&[u8]> {
    packet.len().checked_sub(NEAR + 1).map(|at| &packet[at..])
}

fn ranges(before: &[u8], behind: &[u8]) -> Vec<String> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    for at in (0..before.len()).filter(|at| before[*at] != behind[*at]) {
        match found.last_mut() {
            Some((_, last)) if at - *last <= NEAR => *last = at,
            _ => found.push((at, at)),
        }
    }
    let text = |(first, last): &(usize, usize)| {
        let (old, new) = (hex(&before[*first..=*last]), hex(&behind[*first..=*last]));
        if first == last {
            format!("byte {first}: {old} -> {new}")
        } else {
            format!("bytes {first}-{last}: {old} -> {new}")
        }
    };
    let mut all: Vec<String> = found.iter().take(MAX_RANGES).map(text).collect();
    if found.len() > MAX_RANGES {
        all.push(format!("and {} more ranges", found.len() - MAX_RANGES));
    }
    all
}

fn hex(bytes: &[u8]) -> String {
    let mut text = hexadecimal(&bytes[..bytes.len().min(MAX_BYTES)]);
    if bytes.len() > MAX_BYTES {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Vec<u8> {
        (0..60).collect()
    }

    #[test]
    fn near_changes_are_reported_together() {
        let mut behind = packet();
        behind[14] = 0xff;
        behind[17] = 0xee;
        behind[40] = 0;
        assert_eq!(changes(&packet(), &behind), ["bytes 14-17: 0e0f1011 -> ff0f10ee", "byte 40: 28 -> 00"]);
        assert_eq!(changes(&packet(), &packet()), [""; 0]);
    }

    #[test]
    fn added_and_removed_bytes_are_reported_by_position() {
        let longer = [&[0xaa, 0xbb][..], &packet()].concat();
        assert_eq!(changes(&packet(), &longer), ["2 bytes added at the front: aabb"]);
        assert_eq!(changes(&longer, &packet()), ["2 bytes removed at the front: aabb"]);
        let padded = [&packet()[..], &[0; 2]].concat();
        assert_eq!(changes(&packet(), &padded), ["2 bytes added at the end: 0000"]);
        let half: Vec<u8> = packet()[..30].to_vec();
        assert_eq!(
            changes(&packet(), &half),
            ["30 bytes removed at the end: 1e1f202122232425262728292a2b2c2d…"]
        );
    }

    #[test]
    fn a_tag_between_moved_addresses_is_one_change() {
        let tagged = [&packet()[..12], &[0x81, 0, 0, 7], &packet()[12..]].concat();
        assert_eq!(
            changes(&packet(), &tagged),
            ["the first 12 bytes: 000102030405060708090a0b -> 16 bytes: 000102030405060708090a0b81000007"]
        );
    }

    #[test]
    fn unrelated_packets_are_reported_briefly() {
        let other = vec![0xff; 61];
        let all = changes(&packet(), &other);
        assert_eq!(all[0], "60 -> 61 bytes");
        assert!(all[1].starts_with("bytes 0-59: 000102") && all[1].ends_with('…'), "{all:?}");
        let striped: Vec<u8> = packet().iter().map(|byte| if byte % 6 == 0 { 0xff } else { *byte }).collect();
        assert_eq!(changes(&packet(), &striped).last().unwrap(), "and 2 more ranges");
    }
}
