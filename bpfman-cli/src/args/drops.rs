//! `bpfman drops`: sources of dropped packets on this machine.

use std::time::Duration;

use clap::Args;

use super::top::interval;

/// `bpfman drops`.
#[derive(Args, Debug)]
pub struct ShowDrops {
    /// Show the drops again after each interval, until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
    /// Time between readings: 100ms to 60s
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Duration,
}
