//! Answers of the kernel, files of /proc, and binaries for probes.

use bpfmand_kernel::linux::fuzzing;

use crate::programs::programs;

pub fn netlink(bytes: &[u8]) {
    fuzzing::netlink(bytes);
}

fn message(kind: u16, body: &[u8], attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![0; 16];
    bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
    bytes.extend(body);
    for (kind, value) in attributes {
        bytes.extend((4 + value.len() as u16).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(*value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    let length = (bytes.len() as u32).to_ne_bytes();
    bytes[..4].copy_from_slice(&length);
    bytes
}

pub fn netlink_seeds() -> Vec<Vec<u8>> {
    vec![
        message(16, &[0; 16], &[(3, b"eth0\0"), (18, &[9, 0, 1, 0, b'v', b'e', b't', b'h', 0])]),
        message(20, &[2, 24, 0, 0, 1, 0, 0, 0], &[(2, &[127, 0, 0, 1]), (1, &[10, 0, 0, 1])]),
        message(44, &[0; 20], &[(1, b"bpf\0"), (11, &[0; 4]), (2, &[8, 0, 11, 0, 1, 0, 0, 0])]),
        message(3, &[0; 4], &[]),
    ]
}

/// Reads input as the first byte selects; for binaries, an offset and the name of a function follow.
pub fn run(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind % 3 {
        0 => fuzzing::text(&String::from_utf8_lossy(rest)),
        1 => fuzzing::library_cache(rest),
        _ => {
            let Some((offset, rest)) = rest.split_first_chunk::<2>() else { return };
            fuzzing::binary(rest, "f", u16::from_le_bytes(*offset).into());
        }
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let read = |path: &str, most: usize| {
        let mut bytes = std::fs::read(path).unwrap_or_default();
        bytes.truncate(most);
        bytes
    };
    let with = |kind: &[u8], bytes: Vec<u8>| [kind.to_vec(), bytes].concat();
    vec![
        with(&[0], read("/proc/self/mountinfo", 4096)),
        with(&[0], read("/proc/self/maps", 4096)),
        with(&[0], b"0: R1=ctx() R10=fp0\nprocessed 9 insns\nstack depth 24+0+16\n".to_vec()),
        with(&[1], read("/etc/ld.so.cache", 8192)),
        with(&[2, 0x40, 0], std::fs::read(crate::world::object()).unwrap_or_default()),
        with(&[2, 0, 0x10], std::fs::read(&programs().binary).unwrap_or_default()),
    ]
}
