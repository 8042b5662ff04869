//! Parsing of object files in a process without rights: ELF and BTF in, plain data and linked programs out.
//!
//! [`serve`] is the reader, [`ReaderClient`] its client, at the ends of a socket; the embedder decides what runs the
//! reader ([`StartReader`]). A reader reads one object, and ends when it is no longer needed. The engine checks its
//! answers as untrusted input.

mod client;
mod connection;
mod first_answer;
mod kernel_types_file;
mod linker;
mod memory_limit;
mod recent;
mod sent;
mod sent_facts;
mod sent_program;
mod server;
mod timeouts;
mod warm_up;

pub use bpfmand_object::SharedBytes;
pub use client::{ReaderClient, StartReader};
pub use kernel_types_file::{KernelTypesFile, open_kernel_types};
pub use server::{ReaderTypes, serve, write_types_index};
pub use timeouts::StartPatience;
pub use warm_up::warm_up;
