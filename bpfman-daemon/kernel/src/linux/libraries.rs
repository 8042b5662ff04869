use std::path::PathBuf;

/// Returns whether a file is a library: `libssl.so.3` is `ssl`, `libssl`, `libssl.so`; old glibc is `libc-2.31.so`.
pub fn is_named(file: &str, library: &str) -> bool {
    file == library || stems(library).any(|stem| behind(file, &stem).is_some_and(is_version))
}

/// Sort key: the closest name comes first.
pub fn distance(file: &str, library: &str) -> (bool, usize, String) {
    (file != library, file.len(), file.to_owned())
}

fn stems(library: &str) -> impl Iterator<Item = String> {
    let bare = library.strip_suffix(".so").unwrap_or(library);
    // musl's C library is its loader, and has two names of its own.
    let musl = if matches!(bare, "c" | "libc") { &["ld-musl-ARCH", "libc.musl-ARCH"][..] } else { &[] };
    [bare.to_owned(), format!("lib{bare}")].into_iter().chain(musl.iter().map(|stem| of_this_machine(stem)))
}

fn behind<'a>(file: &'a str, stem: &str) -> Option<&'a str> {
    file.strip_prefix(stem)
}

/// Returns whether the rest of a name is a version: `.so`, `.so.6`, `.so.1.1`, `-2.31.so`.
fn is_version(rest: &str) -> bool {
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match rest.split_once(".so") {
        Some(("", version)) => is_number(version) && (version.is_empty() || version.starts_with('.')),
        Some((version, "")) => version.strip_prefix('-').is_some_and(is_number),
        _ => false,
    }
}

pub fn of_this_machine(name: &str) -> String {
    let architecture = match std::env::consts::ARCH {
        "powerpc64" if cfg!(target_endian = "little") => "powerpc64le",
        other => other,
    };
    name.replace("ARCH", architecture)
}

pub fn folders() -> impl Iterator<Item = PathBuf> {
    [
        "/lib/ARCH-linux-gnu",
        "/usr/lib/ARCH-linux-gnu",
        "/lib64",
        "/usr/lib64",
        "/lib",
        "/usr/lib",
        "/usr/local/lib/ARCH-linux-gnu",
        "/usr/local/lib64",
        "/usr/local/lib",
    ]
    .into_iter()
    .map(|folder| of_this_machine(folder).into())
}

/// Format: a header of 48 bytes ("glibc-ld.so.cache1.1", number of entries), entries of 24 bytes (flags, key, value,
/// ...) with offsets from the header, then strings.
pub fn in_cache(bytes: &[u8], library: &str) -> Vec<PathBuf> {
    const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
    let Some(start) = bytes.windows(MAGIC.len()).position(|window| window == MAGIC) else {
        return Vec::new();
    };
    let data = &bytes[start..];
    let word = |at: usize| -> Option<usize> {
        Some(u32::from_ne_bytes(data.get(at..at + 4)?.try_into().ok()?) as usize)
    };
    let string = |at: usize| -> Option<&str> {
        let rest = data.get(at..)?;
        std::str::from_utf8(&rest[..rest.iter().position(|byte| *byte == 0)?]).ok()
    };
    let count = word(MAGIC.len()).unwrap_or(0).min(data.len() / 24);
    (0..count)
        .filter_map(|entry| {
            let at = 48 + entry * 24;
            let key = string(word(at + 4)?)?;
            if is_named(key, library) { string(word(at + 8)?).map(PathBuf::from) } else { None }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_goes_by_its_short_names() {
        for (file, library) in [
            ("libssl.so.3", "ssl"),
            ("libssl.so.3", "libssl"),
            ("libssl.so.3", "libssl.so"),
            ("libssl.so.3", "libssl.so.3"),
            ("libssl.so.1.1", "ssl"),
            ("libc-2.31.so", "libc"),
            ("module.cpython-311-x86_64-linux-gnu.so", "module.cpython-311-x86_64-linux-gnu"),
            (of_this_machine("ld-musl-ARCH.so.1").as_str(), "libc"),
        ] {
            assert!(is_named(file, library), "{file} {library}");
        }
        for (file, library) in [
            ("libssl.so.3", "libssl.so.1"),
            ("libssl3.so", "ssl"),
            ("libcrypt.so.1", "libc"),
            ("libc.so.6.conf", "libc"),
            ("libc-client.so.2007", "libc"),
            ("libc", "c"),
            ("", "libc"),
        ] {
            assert!(!is_named(file, library), "{file} {library}");
        }
    }
}
