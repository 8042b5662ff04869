//! Strays: objects in this daemon's bpffs that no record names.
//!
//! Pins are moved into place only after a durable record, and a record is removed only with a list of its pins: a pin
//! without a record means that the records were lost or are older than the kernel's state. It may hold the machine's
//! firewall, so it is kept and reported until a user adopts or ends it.

mod end;
mod find;
