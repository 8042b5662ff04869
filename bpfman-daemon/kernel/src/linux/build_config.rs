use std::fs::File;
use std::io::{self, Read};

use flate2::read::GzDecoder;

/// File of kernels with `CONFIG_IKCONFIG_PROC`.
const OWN: &str = "/proc/config.gz";

/// A configuration has some 300,000 bytes.
const MAX_BYTES: u64 = 8 << 20;

/// Reads the distribution's file, next to the kernel or its modules, or else the kernel's own.
pub fn read(release: &str) -> io::Result<String> {
    let beside = [format!("/boot/config-{release}"), format!("/lib/modules/{release}/config")];
    let mut text = String::new();
    if let Some(file) = beside.iter().find_map(|path| File::open(path).ok()) {
        file.take(MAX_BYTES).read_to_string(&mut text)?;
        return Ok(text);
    }
    let [boot, modules] = beside;
    let own = File::open(OWN).map_err(|error| {
        io::Error::new(error.kind(), format!("neither {boot} nor {modules} nor {OWN} can be read: {error}"))
    })?;
    GzDecoder::new(own).take(MAX_BYTES).read_to_string(&mut text)?;
    Ok(text)
}
