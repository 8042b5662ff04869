//! Files and functions that user-space probes name.

use std::path::{Path, PathBuf};

use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};

/// Finds the file of a target: an absolute path, or a library by name, as the process sees it if one is given.
pub fn find_file(target: &str, container_pid: Option<u32>) -> Result<PathBuf, String> {
    let root = match container_pid {
        None => PathBuf::from("/"),
        Some(pid) => process_root(pid)?,
    };
    let below = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    if target.starts_with('/') {
        let path = below(Path::new(target));
        return if path.is_file() { Ok(path) } else { Err(format!("{} is not a file", path.display())) };
    }
    if target.is_empty() || target.contains('/') {
        return Err("a target is an absolute path or the name of a library".to_owned());
    }
    library_from_cache(&below(Path::new("/etc/ld.so.cache")), target)
        .into_iter()
        .chain(library_from_folders(&root, target))
        .map(|path| below(&path))
        .find(|path| path.is_file())
        .ok_or_else(|| "no library of that name in the loader's cache or its usual folders".to_owned())
}

/// The root folder that a process sees. In a container the host's processes may be below /host/proc.
fn process_root(pid: u32) -> Result<PathBuf, String> {
    ["/proc", "/host/proc"]
        .iter()
        .map(|proc| PathBuf::from(format!("{proc}/{pid}/root")))
        .find(|root| root.join(".").is_dir())
        .ok_or_else(|| format!("process {pid} does not exist"))
}

/// Paths of a library in the dynamic loader's cache, whose newer part is: a header of 48 bytes that begins with
/// "glibc-ld.so.cache1.1" and the count of entries, entries of 24 bytes (flags, key, value, ...) with offsets from the
/// header, then strings.
fn library_from_cache(cache: &Path, name: &str) -> Vec<PathBuf> {
    const MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
    let Ok(bytes) = std::fs::read(cache) else { return Vec::new() };
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
            let matches = key == name
                || key.strip_prefix(name).is_some_and(|rest| rest.starts_with(".so"))
                || key
                    .strip_prefix("lib")
                    .and_then(|k| k.strip_prefix(name))
                    .is_some_and(|r| r.starts_with(".so"));
            if matches { string(word(at + 8)?).map(PathBuf::from) } else { None }
        })
        .collect()
}

/// Where libraries are on systems without a cache (musl).
fn library_from_folders(root: &Path, name: &str) -> Vec<PathBuf> {
    let file = if name.contains(".so") { name.to_owned() } else { format!("{name}.so") };
    ["/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib"]
        .iter()
        .flat_map(|folder| [format!("{folder}/{file}"), format!("{folder}/lib{file}")])
        .map(PathBuf::from)
        .filter(|path| root.join(path.strip_prefix("/").unwrap_or(path)).is_file())
        .collect()
}

/// Where a function's code is in its file.
pub fn file_offset(path: &Path, function: &str) -> Result<u64, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let file = object::File::parse(&*bytes)
        .map_err(|error| format!("{} is not a binary that can be probed: {error}", path.display()))?;
    let address = file
        .dynamic_symbols()
        .chain(file.symbols())
        .filter(|symbol| symbol.is_definition())
        .find(|symbol| {
            // "name@@VERSION" names the same function.
            symbol.name().is_ok_and(|name| name.split('@').next() == Some(function))
        })
        .map(|symbol| symbol.address())
        .ok_or_else(|| format!("{} has no function \"{function}\"", path.display()))?;
    file.segments()
        .find(|segment| (segment.address()..segment.address() + segment.size()).contains(&address))
        .map(|segment| address - segment.address() + segment.file_range().0)
        .ok_or_else(|| format!("function \"{function}\" of {} is in no loaded segment", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_c_library_is_found_by_name_and_has_malloc() {
        let path = find_file("libc", None).or_else(|_| find_file("libc.so.6", None)).unwrap();
        assert!(file_offset(&path, "malloc").unwrap() > 0);
        assert!(file_offset(&path, "no_such_function").unwrap_err().contains("no_such_function"));
    }

    #[test]
    fn a_relative_path_is_refused() {
        assert!(find_file("some/where", None).is_err());
        assert!(find_file("/no/such/file", None).is_err());
        assert!(find_file("libc", Some(u32::MAX)).is_err());
    }
}
