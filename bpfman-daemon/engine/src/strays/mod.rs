//! Strays: what this daemon's bpffs holds and no record names.
//!
//! Pins are moved into their places only behind a durable record, and a record goes only together with a list of its
//! pins. So a pin in its place without a record means that the records were lost, or are older than the kernel: a state
//! folder that was removed, or an older copy of one. What such pins hold may be the machine's firewall. It is left as it
//! is and told, until someone adopts it or ends it.

mod end;
mod find;
