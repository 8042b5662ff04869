//! Starting the user's browser, without showing the token to others.

use std::io::Write as _;
use std::process::{Command, Stdio};

use tempfile::NamedTempFile;

/// Opens an address in the user's browser, if there is a desktop. Answers what leads there, which is to be kept while the
/// console runs.
///
/// Arguments of a process can be read by all users of a machine, and the token is in the address: so a file that only this
/// user reads leads to it.
#[must_use]
pub fn open_browser(url: &str) -> Option<NamedTempFile> {
    let has_desktop = ["WAYLAND_DISPLAY", "DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    if !has_desktop || rustix::process::geteuid().is_root() {
        return None;
    }
    // The address is made of digits and letters only.
    let page = format!(
        "<!doctype html><meta charset=\"utf-8\"><title>bpfman console</title><meta http-equiv=\"refresh\" content=\"0; \
         url={url}\"><p><a href=\"{url}\">bpfman console</a></p>\n"
    );
    let mut file = tempfile::Builder::new().prefix("bpfman-console-").suffix(".html").tempfile().ok()?;
    file.write_all(page.as_bytes()).ok()?;
    let mut opener = Command::new("xdg-open");
    opener.arg(file.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Without one, the user opens the address that was printed.
    opener.spawn().ok()?;
    Some(file)
}
