/// Size of a tar header, in bytes.
pub const TAR_HEADER: usize = 512;

/// Returns whether this is the header of a tar's entry, or the zeros at the end of an empty tar.
#[must_use]
pub fn is_tar(start: &[u8]) -> bool {
    if start.len() < TAR_HEADER {
        return false;
    }
    let checksum = std::str::from_utf8(&start[148..156]).unwrap_or_default();
    let checksum = u32::from_str_radix(checksum.trim_matches(['\0', ' ']), 8);
    let is_field = |at: &usize| (148..156).contains(at);
    let sum =
        start.iter().enumerate().map(|(at, byte)| if is_field(&at) { 32 } else { u32::from(*byte) }).sum();
    start.iter().all(|byte| *byte == 0) || &start[257..262] == b"ustar" || checksum == Ok(sum)
}

/// Names the kind of a file by its first bytes.
#[must_use]
pub fn kind_of(start: &[u8]) -> String {
    const SHOWN: usize = 8;
    let known: [(&[u8], &str); 8] = [
        (b"\0asm", "a WebAssembly module"),
        (b"BC\xc0\xde", "LLVM bitcode: compile it to an object"),
        (b"!<arch>\n", "an archive of ar"),
        (b"-----BEGIN ", "a key or certificate in PEM"),
        (b"#!", "a script"),
        (b"{", "a JSON document"),
        (b"[", "a JSON document"),
        (b"\x28\xb5\x2f\xfd", "compressed twice"),
    ];
    if start.is_empty() {
        return "empty".to_owned();
    }
    if let Some((_, name)) = known.iter().find(|(magic, _)| start.starts_with(magic)) {
        return (*name).to_owned();
    }
    let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..);
    if start.iter().all(is_text) && std::str::from_utf8(&start[..start.len().min(SHOWN)]).is_ok() {
        return "a text".to_owned();
    }
    let bytes: Vec<String> = start.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
    format!("a file that begins with the bytes {}", bytes.join(" "))
}
