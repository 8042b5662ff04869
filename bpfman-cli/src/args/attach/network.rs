//! Flags of attach points that see packets.

#![expect(missing_docs, reason = "flattened flags are documented where they are defined")]

use std::path::PathBuf;

use bpfman_model::Direction;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use super::LinkMetadata;
use crate::args::interface::InterfaceFlags;
use crate::args::place::{OrderFlags, SharingFlags};
use crate::verdict;

/// `attach … xdp`.
#[derive(Args, Debug)]
pub struct AttachXdp {
    #[command(flatten)]
    pub interface: InterfaceFlags,
    /// Verdicts after which the next program runs: aborted, drop, pass, tx, redirect, dispatcher_return.
    /// Without this flag: pass dispatcher_return.
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "VERDICT", value_parser = xdp_verdict)]
    pub proceed_on: Vec<i32>,
    #[command(flatten)]
    pub order: OrderFlags,
    #[command(flatten)]
    pub sharing: SharingFlags,
    #[command(flatten)]
    pub link: LinkMetadata,
}

/// `attach … tc`.
#[derive(Args, Debug)]
pub struct AttachTc {
    /// Side of the interface.
    #[arg(short, long, value_parser = directions())]
    pub direction: Direction,
    #[command(flatten)]
    pub interface: InterfaceFlags,
    /// Verdicts after which the next program runs: unspec, ok, reclassify, shot, pipe, stolen, queued, repeat,
    /// redirect, trap, dispatcher_return. Without this flag: pipe dispatcher_return.
    #[arg(long, num_args = 1.., value_delimiter = ',', value_name = "VERDICT", value_parser = tc_verdict)]
    pub proceed_on: Vec<i32>,
    #[command(flatten)]
    pub order: OrderFlags,
    #[command(flatten)]
    pub sharing: SharingFlags,
    #[command(flatten)]
    pub link: LinkMetadata,
}

/// `attach … tcx`.
#[derive(Args, Debug)]
pub struct AttachTcx {
    /// Side of the interface.
    #[arg(short, long, value_parser = directions())]
    pub direction: Direction,
    #[command(flatten)]
    pub interface: InterfaceFlags,
    #[command(flatten)]
    pub order: OrderFlags,
    /// Not supported: the kernel itself applies the verdicts of tcx programs. Attach as tc instead.
    #[arg(long, hide = true)]
    pub shadow: bool,
    #[command(flatten)]
    pub link: LinkMetadata,
}

/// `attach … netkit`.
#[derive(Args, Debug)]
pub struct AttachNetkit {
    /// Primary end of the device, also for programs of the peer end.
    #[arg(short, long)]
    pub iface: String,
    /// Network namespace file. Default: the daemon's own namespace.
    #[arg(short, long, value_name = "FILE")]
    pub netns: Option<PathBuf>,
    #[command(flatten)]
    pub link: LinkMetadata,
}

/// `attach … netns`.
#[derive(Args, Debug)]
pub struct AttachNetns {
    /// Network namespace file. Default: the daemon's own namespace.
    #[arg(short, long, value_name = "PATH")]
    pub netns: Option<PathBuf>,
    #[command(flatten)]
    pub link: LinkMetadata,
}

/// `attach … netfilter`.
#[derive(Args, Debug)]
pub struct AttachNetfilter {
    /// Protocol of the packets.
    #[arg(short, long, value_parser = ["ipv4", "ipv6"])]
    pub family: String,
    /// Hook, as nft names it.
    #[arg(long, value_parser = ["prerouting", "input", "forward", "output", "postrouting"])]
    pub hook: String,
    /// Priority: lower runs earlier; rules of filter tables have 0. No other program or table at the hook may have it.
    #[arg(short, long, allow_negative_numbers = true)]
    pub priority: i32,
    /// Reassemble fragments before the program sees them (Linux 6.6 and later).
    #[arg(long)]
    pub defragment: bool,
    /// Network namespace file. Default: the daemon's own namespace.
    #[arg(short, long, value_name = "PATH")]
    pub netns: Option<PathBuf>,
    #[command(flatten)]
    pub link: LinkMetadata,
}

fn directions() -> impl TypedValueParser<Value = Direction> {
    let ingress = PossibleValue::new("ingress").help("Packets that come in");
    let egress = PossibleValue::new("egress").help("Packets that go out");
    PossibleValuesParser::new([ingress, egress]).try_map(|name| name.parse::<Direction>())
}

fn xdp_verdict(name: &str) -> Result<i32, verdict::UnknownVerdictName> {
    verdict::number(verdict::XDP, name)
}

fn tc_verdict(name: &str) -> Result<i32, verdict::UnknownVerdictName> {
    verdict::number(verdict::TC, name)
}
