//! Strays: objects in this daemon's bpffs that no record names.
//!
//! Pins are moved into place only after a durable record, and a record is removed only together with a list of its
//! pins. A pin in place without a record therefore means that the records were lost, or are older than the kernel's
//! state: the state folder was removed, or replaced by an older copy. Such pins may hold the machine's firewall. They
//! are kept and reported until a user adopts or ends them.

mod end;
mod find;
