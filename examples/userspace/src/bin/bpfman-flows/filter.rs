use std::net::IpAddr;

use bpfman_examples::prefix::Prefix;
use clap::Args;

use crate::flow::{Flow, Verdict};

/// Conditions that a flow must all meet. Without conditions, every flow matches.
#[derive(Args, Clone, Debug, Default)]
pub struct Filter {
    /// Only flows from or to this address or prefix
    #[arg(long, value_name = "PREFIX")]
    address: Option<Prefix>,
    /// Only flows from or to this port
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Only what was dropped
    #[arg(long)]
    dropped: bool,
}

impl Filter {
    pub fn takes(&self, flow: &Flow) -> bool {
        let ends = [flow.source, flow.destination];
        self.address.is_none_or(|wanted| ends.iter().any(|(address, _)| wanted.contains(whole(*address))))
            && self.port.is_none_or(|wanted| ends.iter().any(|(_, port)| *port == wanted))
            && (!self.dropped || matches!(flow.verdict, Verdict::Dropped(_)))
    }
}

fn whole(address: IpAddr) -> Prefix {
    match address {
        IpAddr::V4(address) => Prefix::V4(address, 32),
        IpAddr::V6(address) => Prefix::V6(address, 128),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reasons::DropReason;

    #[test]
    fn either_end_may_match_and_all_conditions_must() {
        let end = |address: &str, port| (address.parse().unwrap(), port);
        let mut flow = Flow {
            source: end("10.0.0.1", 4000),
            destination: end("192.0.2.7", 443),
            protocol: 6,
            interface: 2,
            verdict: Verdict::Ingress,
        };
        let filter = |address: Option<&str>, port, dropped| Filter {
            address: address.map(|text| text.parse().unwrap()),
            port,
            dropped,
        };
        for (wanted, takes) in [
            (filter(None, None, false), true),
            (filter(Some("192.0.2.0/24"), None, false), true),
            (filter(Some("10.0.0.1"), Some(443), false), true),
            (filter(Some("10.0.0.1"), Some(444), false), false),
            (filter(Some("10.0.0.2"), None, false), false),
            (filter(Some("::/0"), None, false), false),
            (filter(None, None, true), false),
        ] {
            assert_eq!(wanted.takes(&flow), takes, "{wanted:?}");
        }
        flow.verdict = Verdict::Dropped(DropReason(3));
        assert!(filter(None, Some(4000), true).takes(&flow));
    }
}
