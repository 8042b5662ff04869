//! Profile of the test run, by `.config/nextest.toml`; docs/tests.md lists the parts that short ones omit.

/// Returns whether nextest runs a short profile. All other runs are complete, also those without nextest.
#[must_use]
pub fn is_short() -> bool {
    const SHORT: [&str; 4] = ["short", "vm-oldest", "vm-newer", "vm-newest"];
    std::env::var("NEXTEST_PROFILE").is_ok_and(|profile| SHORT.contains(&profile.as_str()))
}
