//! The kernel's own drop reasons, counted by a program under a lease: the daemon unloads it when this client has left.

use std::collections::HashMap;
use std::io::Write as _;
use std::time::Instant;

use bpfman_client::aya::maps::{MapData, PerCpuHashMap};
use bpfman_client::{Client, MapAccess};
use bpfman_proto::v1::bytecode_location::Location;
use bpfmand_object::{KernelBtf, ObjectFile};

use super::run::plan::plan;
use super::run::session::{HeldLease, Session};
use crate::args::value::absolute;
use crate::drops::KernelDrop;
use crate::error::CliError;

/// Object compiled from `kfree_skb.c`.
const OBJECT: &[u8] = include_bytes!("kfree_skb.elf");
const MAP: &str = "reasons";
const KERNEL_TYPES: &str = "/sys/kernel/btf/vmlinux";
const PREFIX: &str = "SKB_DROP_REASON_";

pub struct KernelReasons {
    counts: PerCpuHashMap<MapData, u32, u64>,
    names: ReasonNames,
    last: (Instant, HashMap<u32, u64>),
    _lease: HeldLease,
}

impl KernelReasons {
    /// Loads and attaches the program.
    ///
    /// # Errors
    /// The caller may not load or attach it, or the kernel has no reasons (before Linux 5.17).
    pub async fn begin(client: &Client) -> Result<Self, CliError> {
        let object = ObjectFile::parse(OBJECT.to_vec())
            .map_err(|error| CliError::Invalid { what: error.to_string(), hint: None })?;
        let planned = plan(&object, &[], &[])?;
        // The daemon reads the file during the call.
        let mut file = tempfile::Builder::new().suffix(".o").tempfile().map_err(CliError::Runtime)?;
        file.write_all(OBJECT).map_err(CliError::Runtime)?;
        let (mut session, lease) = Session::begin(client.clone(), None, 0).await?;
        session.load(planned, Location::File(absolute(file.path()))).await?;
        session.attach(|_, _, _, _| {}).await?;
        let program = session.programs.first().map(|program| program.id);
        let program = program.ok_or(CliError::Incomplete { call: "Load", part: "the program" })?;
        let map = client.open_map_of(program, MAP, MapAccess::Read).await.map_err(CliError::Client)?;
        let counts = map.typed().map_err(CliError::Client)?;
        let mut reasons = Self {
            counts,
            names: ReasonNames::of_this_kernel(),
            last: (Instant::now(), HashMap::new()),
            _lease: lease,
        };
        let _since_the_start = reasons.rates();
        Ok(reasons)
    }

    /// Returns the reasons since the last call, the highest rate first.
    pub fn rates(&mut self) -> Vec<KernelDrop> {
        let counts = self.counts.iter().filter_map(Result::ok);
        let counts = counts.map(|(reason, cpus)| (reason, cpus.iter().sum())).collect();
        let (then, before) = std::mem::replace(&mut self.last, (Instant::now(), counts));
        let (now, counts) = &self.last;
        rates(&before, counts, (*now - then).as_secs_f64(), &self.names)
    }
}

fn rates(
    before: &HashMap<u32, u64>,
    counts: &HashMap<u32, u64>,
    seconds: f64,
    names: &ReasonNames,
) -> Vec<KernelDrop> {
    let rate = |reason: &u32, count: u64| {
        let came = count.saturating_sub(before.get(reason).copied().unwrap_or(0));
        (came > 0)
            .then(|| KernelDrop { reason: names.name(*reason), packets_per_second: came as f64 / seconds })
    };
    let mut rates: Vec<KernelDrop> =
        counts.iter().filter_map(|(reason, count)| rate(reason, *count)).collect();
    rates.sort_by(|a, b| {
        b.packets_per_second.total_cmp(&a.packets_per_second).then_with(|| a.reason.cmp(&b.reason))
    });
    rates
}

/// Names of the kernel's reasons, in the order of their numbers, which differ between kernels.
#[derive(Debug, Default)]
struct ReasonNames(Vec<String>);

impl ReasonNames {
    /// Returns this kernel's names. If its types cannot be read, there are none, and numbers are shown.
    fn of_this_kernel() -> Self {
        let kernel = std::fs::read(KERNEL_TYPES).ok().and_then(|types| KernelBtf::parse(types).ok());
        let names = kernel.as_ref().and_then(|kernel| kernel.enumerators("skb_drop_reason"));
        Self(names.unwrap_or_default().into_iter().map(str::to_owned).collect())
    }

    /// Returns the name of a reason. A subsystem's reason has none: the upper 16 bits are the subsystem.
    fn name(&self, number: u32) -> String {
        let named = usize::try_from(number).ok().and_then(|index| self.0.get(index));
        match (named, number >> 16) {
            (Some(name), _) => name.strip_prefix(PREFIX).unwrap_or(name).to_owned(),
            (None, 0) => format!("reason {number}"),
            (None, subsystem) => format!("subsystem {subsystem} reason {}", number & 0xffff),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_has_one_program_to_attach() {
        let object = ObjectFile::parse(OBJECT.to_vec()).unwrap();
        assert_eq!(plan(&object, &[], &[]).unwrap().len(), 1);
    }

    #[test]
    fn rates_are_named_and_sorted_and_only_of_what_came() {
        let names = ["SKB_NOT_DROPPED_YET", "SKB_CONSUMED", "SKB_DROP_REASON_NO_SOCKET"];
        let names = ReasonNames(names.map(str::to_owned).into());
        let (before, counts) = ([(2, 10), (1, 5)].into(), [(2, 14), (1, 5), (9, 2), (3 << 16 | 2, 8)].into());
        let rates: Vec<_> = rates(&before, &counts, 2.0, &names)
            .into_iter()
            .map(|row| (row.reason, row.packets_per_second))
            .collect();
        let expected = [("subsystem 3 reason 2", 4.0), ("NO_SOCKET", 2.0), ("reason 9", 1.0)];
        assert_eq!(rates, expected.map(|(name, rate)| (name.to_owned(), rate)));
    }
}
