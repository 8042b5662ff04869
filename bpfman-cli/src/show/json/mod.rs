//! The JSON and YAML shapes: an interface of this client, described in `docs/cli.md`.
//!
//! Names are snake case and stay. Fields may be added, never removed or given another meaning. Every field is
//! always there: what is absent is `null`, an empty list or an empty map. Lists and maps are in a fixed order.

mod link;
mod program;

use bpfman_proto::{APPLICATION_KEY, APPLICATION_KEY_NEWER};

pub use link::{AttachJson, LinkJson};
pub use program::{BytecodeJson, KernelJson, MapJson, ProgramJson};

/// An empty string on the wire is an absent value.
#[must_use]
pub fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// The application that a program's metadata names, under either of its keys.
#[must_use]
fn application<'a>(get: impl Fn(&str) -> Option<&'a String>) -> Option<String> {
    get(APPLICATION_KEY).or_else(|| get(APPLICATION_KEY_NEWER)).cloned()
}
