//! Paths of the daemon and the client.

use std::path::PathBuf;

pub const FOLDER_VARIABLE: &str = "BPFMAN_BIN_DIR";

#[must_use]
pub fn find(name: &str) -> PathBuf {
    let path = folder().join(name);
    assert!(
        path.exists(),
        "{} is missing: run `make build` and `make -C examples userspace` first, or let {FOLDER_VARIABLE} name the folder",
        path.display()
    );
    path
}

#[must_use]
pub fn side(entry: &str) -> PathBuf {
    find(&format!("bpfman-{entry}"))
}

fn folder() -> PathBuf {
    std::env::var_os(FOLDER_VARIABLE).map_or_else(build_folder, PathBuf::from)
}

#[must_use]
pub fn build_folder() -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    test.parent().and_then(|deps| deps.parent()).expect("tests lie in target/<profile>/deps").to_path_buf()
}
