//! `bpfman auth`: permissions of the caller.

use clap::{Args, Subcommand};

/// Permission queries.
#[derive(Debug, Subcommand)]
pub enum AuthCommand {
    /// Ask whether you may do something, without doing it. Exits with 4 if you may not.
    CanI(CanI),
}

/// `bpfman auth can-i`.
#[derive(Args, Debug)]
pub struct CanI {
    /// read, load, attach, replace, adopt, trace, settings, maps-read, maps-write, radar or raw
    pub verb: String,
    /// A hook (xdp:eth0, tc:eth0:ingress), a target (uprobe:/usr/bin/ssh), an image, or the absolute path of a file
    #[arg(default_value = "", hide_default_value = true)]
    pub object: String,
}
