//! `bpfman support-bundle`: one archive for support.

use std::path::PathBuf;

use clap::Args;

/// `bpfman support-bundle`.
#[derive(Args, Debug)]
pub struct SupportBundle {
    /// Archive to write, which must not exist. Default: bpfman-support-TIME.tar.gz in this folder
    #[arg(value_name = "FILE.tar.gz")]
    pub file: Option<PathBuf>,
}
