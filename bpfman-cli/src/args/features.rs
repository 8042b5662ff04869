//! `bpfman features`.

use clap::{Args, ValueEnum};

/// `bpfman features [PART]`.
#[derive(Args, Debug)]
pub struct ShowFeatures {
    /// Only this part, item by item.
    #[arg(value_enum)]
    pub part: Option<FeaturePart>,
    /// Only what is missing.
    #[arg(short, long)]
    pub missing: bool,
}

/// A part of what a kernel offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FeaturePart {
    /// Kernel features that the daemon uses if the kernel has them.
    Probes,
    /// Types of programs that the daemon loads.
    Types,
    /// Types of programs by the kernel's names.
    ProgramTypes,
    /// Types of maps.
    MapTypes,
    /// Types of links.
    LinkTypes,
    /// Kinds of attachments.
    AttachTypes,
    /// Commands of bpf(2).
    Commands,
    /// Helper functions, with the types of programs that may call them.
    Helpers,
    /// Functions of the kernel and of its modules that programs may call.
    Kfuncs,
    /// Settings of the kernel.
    Settings,
}
