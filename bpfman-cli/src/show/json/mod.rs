//! JSON and YAML forms: a stable interface of this client, described in `docs/cli.md`.
//!
//! Names are snake case and stay. Fields may be added, but never removed or given another meaning. Every field is
//! always present: an absent value is `null`, an empty list or an empty map. Lists and maps are in a fixed order.

mod link;
mod program;

use bpfman_proto::{APPLICATION_KEY, APPLICATION_KEY_NEWER};

pub use link::{AttachJson, LinkJson};
pub use program::{BytecodeJson, KernelJson, MapJson, ProgramJson};

/// Returns a text of the wire; none if it is empty, which stands for an absent value.
#[must_use]
pub fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Returns the application in a program's metadata, under either of its keys.
#[must_use]
fn application<'a>(get: impl Fn(&str) -> Option<&'a String>) -> Option<String> {
    get(APPLICATION_KEY).or_else(|| get(APPLICATION_KEY_NEWER)).cloned()
}
