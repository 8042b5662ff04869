//! Object files are read by somebody who has nothing: ELF and BTF in, plain data and linked programs out.
//!
//! [`serve`] is that one, [`ReaderClient`] who asks. Both are ends of a socket; who runs the other end is the embedder's
//! ([`StartReader`]). One of them reads one object, and ends when nobody needs that any more. What it says is checked by the
//! engine as what a stranger says.

mod client;
mod connection;
mod patience;
mod room;
mod sent;
mod sent_facts;
mod sent_program;
mod server;

pub use bpfmand_object::SharedBytes;
pub use client::{ReaderClient, ReaderLink, StartReader};
pub use patience::StartPatience;
pub use server::{ReaderTypes, serve, write_types_index};
