//! Whether tests run in their short form: `.config/nextest.toml` has its profiles, docs/tests.md says what it leaves out.

/// Returns whether nextest runs a short profile. Every other run is whole, also one without nextest.
#[must_use]
pub fn is_short() -> bool {
    const SHORT: [&str; 4] = ["short", "vm-oldest", "vm-newer", "vm-newest"];
    std::env::var("NEXTEST_PROFILE").is_ok_and(|profile| SHORT.contains(&profile.as_str()))
}
