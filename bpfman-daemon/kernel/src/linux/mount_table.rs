use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use crate::Mount;

pub fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// `ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG...] - TYPE SOURCE OPTIONS-OF-THE-FILE-SYSTEM`
fn line(text: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = text.split(|byte| *byte == b' ').collect();
    let separator = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
    let group = |tag: &[u8]| {
        let number = fields[6..separator].iter().find_map(|field| field.strip_prefix(tag))?;
        std::str::from_utf8(number).ok()?.parse().ok()
    };
    let [file_system, source, options, ..] = fields.get(separator + 1..)? else { return None };
    Some(Mount {
        device: String::from_utf8(fields[2].to_vec()).ok()?,
        point: PathBuf::from(OsString::from_vec(unescape(fields[4]))),
        file_system: String::from_utf8_lossy(file_system).into_owned(),
        source: String::from_utf8_lossy(&unescape(source)).into_owned(),
        read_only: has_option(fields[5], b"ro"),
        sealed: has_option(options, b"ro"),
        peers: group(b"shared:"),
        master: group(b"master:"),
    })
}

fn has_option(options: &[u8], wanted: &[u8]) -> bool {
    options.split(|byte| *byte == b',').any(|option| option == wanted)
}

/// Decodes spaces and backslashes, each written as a backslash and three octal digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match text.get(at + 1..at + 4) {
            Some(digits) if byte == b'\\' && digits.iter().all(|digit| (b'0'..=b'7').contains(digit)) => {
                let value = digits.iter().fold(0_u32, |value, digit| value * 8 + u32::from(digit - b'0'));
                plain.push(value.to_le_bytes()[0]);
                at += 4;
            }
            _ => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn points_and_flags_are_read_wherever_the_tags_end() {
        let text =
            b"145 81 0:51 / /pods/a\\040b\\134c ro,nosuid shared:7 master:1 - bpf csi.example:v ro,gid=42\n\
            146 81 0:51 / /run/v rw,nosuid - bpf csi.example:v rw,mode=700\n\
            broken line\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].point, Path::new("/pods/a b\\c"));
        assert_eq!((mounts[0].read_only, mounts[0].sealed), (true, true));
        assert_eq!((mounts[0].peers, mounts[0].master), (Some(7), Some(1)));
        assert_eq!((mounts[1].read_only, mounts[1].sealed), (false, false));
        assert_eq!((mounts[1].peers, mounts[1].master), (None, None));
        assert_eq!((mounts[1].device.as_str(), mounts[1].file_system.as_str()), ("0:51", "bpf"));
        assert_eq!(mounts[1].source, "csi.example:v");
    }

    #[test]
    fn the_table_of_this_machine_is_read() {
        let text = std::fs::read("/proc/self/mountinfo").unwrap();
        let mounts = parse(&text);
        assert_eq!(mounts.len(), text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count());
        assert!(mounts.iter().any(|mount| mount.point == Path::new("/proc") && mount.file_system == "proc"));
    }
}
