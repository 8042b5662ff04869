//! Starting the user's browser without exposing the token.

use std::io::Write as _;
use std::process::{Command, Stdio};

use tempfile::NamedTempFile;

/// Opens an address in the user's browser, if there is a desktop. The browser's argument is a file of this
/// user that redirects to the address with its token: all users can read the arguments of a process. Keep the
/// file while the console runs.
#[must_use]
pub fn open_browser(url: &str) -> Option<NamedTempFile> {
    let has_desktop = ["WAYLAND_DISPLAY", "DISPLAY"].iter().any(|name| std::env::var_os(name).is_some());
    if !has_desktop || rustix::process::geteuid().is_root() {
        return None;
    }
    // The address has no characters that need escaping.
    let page = format!(
        "<!doctype html><meta charset=\"utf-8\"><title>bpfman console</title><meta http-equiv=\"refresh\" content=\"0; \
         url={url}\"><p><a href=\"{url}\">bpfman console</a></p>\n"
    );
    let mut file = tempfile::Builder::new().prefix("bpfman-console-").suffix(".html").tempfile().ok()?;
    file.write_all(page.as_bytes()).ok()?;
    let mut opener = Command::new("xdg-open");
    opener.arg(file.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // Without `xdg-open`, the user opens the printed address.
    opener.spawn().ok()?;
    Some(file)
}
