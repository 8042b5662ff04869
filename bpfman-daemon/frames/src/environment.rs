//! Variables of the environment that the daemon passes on to its workers.

use std::process::Command;

/// Variables with proxies, which fetchers alone get: an address may hold a password.
pub const PROXIES: [&str; 6] =
    ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"];
/// Variables with files of certificate authorities, which fetchers read.
pub const AUTHORITIES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
const OTHERS: [&str; 5] = ["NO_PROXY", "no_proxy", "RES_OPTIONS", "LOCALDOMAIN", "RUST_BACKTRACE"];
/// Variable by which tests of debug builds make a worker hostile. Its value is role and act, as in
/// `verifier:read:/etc/shadow`.
#[cfg(debug_assertions)]
pub const HOSTILE: &str = "BPFMAN_TEST_HOSTILE_WORKER";

/// Returns the names of all variables that the daemon passes on.
pub fn passed_on() -> impl Iterator<Item = &'static str> {
    let names = PROXIES.into_iter().chain(AUTHORITIES).chain(OTHERS);
    #[cfg(debug_assertions)]
    let names = names.chain([HOSTILE]);
    names
}

/// Removes the proxies from the environment of a worker that is no fetcher.
pub fn remove_proxies(command: &mut Command) {
    for name in PROXIES {
        command.env_remove(name);
    }
}
