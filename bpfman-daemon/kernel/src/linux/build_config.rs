//! What the kernel was built with.

use std::fs::File;
use std::io::{self, Read};

use flate2::read::GzDecoder;

/// The kernel's own copy, where it was built with `CONFIG_IKCONFIG_PROC`.
const OWN: &str = "/proc/config.gz";

/// A configuration has some 300,000 bytes.
const MOST_BYTES: u64 = 8 << 20;

/// The text of the configuration: beside the kernel or its modules, as distributions have it, or the kernel's own copy.
///
/// # Errors
/// There is none; says where it was looked for.
pub fn read(release: &str) -> io::Result<String> {
    let beside = [format!("/boot/config-{release}"), format!("/lib/modules/{release}/config")];
    let mut text = String::new();
    if let Some(file) = beside.iter().find_map(|path| File::open(path).ok()) {
        file.take(MOST_BYTES).read_to_string(&mut text)?;
        return Ok(text);
    }
    let [boot, modules] = beside;
    let own = File::open(OWN).map_err(|error| {
        io::Error::new(error.kind(), format!("neither {boot} nor {modules} nor {OWN} can be read: {error}"))
    })?;
    GzDecoder::new(own).take(MOST_BYTES).read_to_string(&mut text)?;
    Ok(text)
}
