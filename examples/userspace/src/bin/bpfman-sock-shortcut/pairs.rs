use std::collections::BTreeSet;

use anyhow::{Context, Result};
use aya::maps::{MapData, SockHash};
use bpfman_client::MapAccess;
use bpfman_examples::failure::Failure;
use bpfman_examples::source::MapSource;
use serde_json::{Value, json};

use crate::end::{End, RawEnd};

/// Maximum number of reads, twice the capacity: a socket that disappears may restart the iteration.
const MAX_READ: usize = 2 * 65_536;

#[derive(Debug, PartialEq, Eq)]
pub struct Pair {
    pub end: End,
    pub whole: bool,
}

impl Pair {
    pub fn to_json(&self) -> Value {
        json!({
            "namespace": self.end.namespace.0,
            "ends": [self.end.local.to_string(), self.end.remote.to_string()],
            "shortcut": self.whole,
        })
    }
}

pub fn read(maps: &MapSource) -> Result<Vec<Pair>> {
    let sockets: SockHash<MapData, RawEnd> = maps.open("sockets", MapAccess::Read)?;
    let mut ends = BTreeSet::new();
    for (number, key) in sockets.keys().enumerate() {
        if number == MAX_READ {
            return Err(
                Failure::conflict("connections come and go faster than they are read", "try again").into()
            );
        }
        ends.insert(End::from(key.context("cannot read the sockets")?));
    }
    Ok(join(&ends))
}

fn join(ends: &BTreeSet<End>) -> Vec<Pair> {
    let lower = |end: &End| (end.local.port(), end.local) <= (end.remote.port(), end.remote);
    let pairs = ends.iter().filter_map(|end| {
        let whole = ends.contains(&end.other());
        let shown = if lower(end) { *end } else { end.other() };
        (!whole || shown == *end).then_some(Pair { end: shown, whole })
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::end::NamespaceCookie;

    #[test]
    fn two_ends_are_one_pair_within_a_namespace_alone() {
        let service = End {
            namespace: NamespaceCookie(1),
            local: "127.0.0.1:80".parse().unwrap(),
            remote: "127.0.0.1:40000".parse().unwrap(),
        };
        let elsewhere = End { namespace: NamespaceCookie(2), ..service.other() };
        let pairs = join(&BTreeSet::from([service, service.other(), elsewhere]));
        assert_eq!(
            pairs,
            [Pair { end: service, whole: true }, Pair { end: elsewhere.other(), whole: false }]
        );
    }
}
