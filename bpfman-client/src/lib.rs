//! Loads eBPF programs through `bpfmand` and uses their maps, without privileges.
//!
//! The daemon has the privileges. A program that uses this crate needs only access to the daemon's socket and a grant
//! for what it does (`docs/access.md`): no CAP_BPF, no bpffs. A map is received as a descriptor.
//!
//! ```no_run
//! use bpfman_client::aya::maps::{MapData, PerCpuArray};
//! use bpfman_client::{AttachAt, Client, MapAccess, NewLoad, ProgramType};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect().await?;
//! let load = NewLoad::image("quay.io/example/counter:v1").program("count", ProgramType::Xdp);
//! let counter = client.load(load).await?.remove(0).lease(); // unloaded at the end of this scope
//! counter.attach(AttachAt::xdp("eth0").priority(20)).await?;
//!
//! let packets: PerCpuArray<MapData, u64> = counter.open_map("packets", MapAccess::Read).await?.typed()?;
//! let total: u64 = packets.get(&0, 0)?.iter().sum();
//! println!("{total} packets");
//! # Ok(())
//! # }
//! ```
//!
//! - [`Client`]: connects, loads, lists and watches programs, follows the daemon's journal. [`RemoteProgram`]:
//!   attaches, opens maps, unloads.
//! - [`MapFile`]: a map, as one of aya's types ([`MapFile::typed`]), as a stream of records ([`MapFile::ring`]), or as
//!   a descriptor.
//! - [`ProgramLease`]: a program that is unloaded when its handle is dropped.
//! - [`Error`]: refusal of the daemon, with its [`Reason`] and the next steps.
//!
//! All other calls of the daemon are in [`Client::services`], with the messages of [`wire`].
//!
//! The feature `aya` (on by default) reads and writes maps. It needs Linux 5.19 for processes without CAP_BPF
//! (`docs/kernels.md`).

#![warn(missing_docs)]

mod client;
mod error;
mod events;
mod handover;
mod lease;
mod load;
mod map;
#[cfg(feature = "aya")]
mod perf;
mod point;
mod program;
#[cfg(feature = "aya")]
mod ring;
mod services;
mod watch;

#[cfg(feature = "aya")]
pub use aya;
/// Direction of packets, and condition for fetching an image.
pub use bpfman_model::{Direction as Traffic, PullPolicy as PullWhen};
/// Messages of the wire.
pub use bpfman_proto as wire;
pub use bpfman_proto::ext::v1::ProgramTypeNumber as MoreProgramTypes;
pub use bpfman_proto::v1::BpfmanProgramType as ProgramType;
pub use bpfman_proto::{MapAccess, Reason};
pub use client::Client;
pub use error::{Error, RefusedCall};
pub use events::{EventPlace, EventQuery, Events, JournalEvent};
pub use lease::ProgramLease;
pub use load::NewLoad;
pub use map::MapFile;
#[cfg(feature = "aya")]
pub use perf::{PerfReader, PerfRecord};
pub use point::AttachAt;
pub use program::{RemoteLink, RemoteMap, RemoteProgram};
#[cfg(feature = "aya")]
pub use ring::RingReader;
pub use services::{Reconnect, Services};
pub use watch::{Watch, WatchedChange};
