//! Order of a program in a chain, and how it shares the chain.

use bpfman_model::Anchor;
use bpfman_proto::ext::v1 as ext;
use clap::Args;

/// Place among the programs of a hook: overrides priorities.
#[derive(Args, Clone, Debug, Default)]
pub struct OrderFlags {
    /// Run before this member: a link's id, a program's function name, role=NAME, or foreign:NAME for a program of
    /// others (tcx, cgroup). Several with commas, or by repeating the flag.
    #[arg(long, value_delimiter = ',', value_name = "ANCHOR", help_heading = ORDER)]
    pub before: Vec<Anchor>,
    /// Run after this member.
    #[arg(long, value_delimiter = ',', value_name = "ANCHOR", help_heading = ORDER)]
    pub after: Vec<Anchor>,
    /// Role of this program, for --before and --after of other programs: for example firewall.
    #[arg(long, value_name = "NAME", help_heading = ORDER)]
    pub role: Option<String>,
}

const ORDER: &str = "Place in the chain";

impl OrderFlags {
    /// Returns the order on the wire; none if no flag is set.
    #[must_use]
    pub fn on_the_wire(&self) -> Option<ext::Order> {
        if self.before.is_empty() && self.after.is_empty() && self.role.is_none() {
            return None;
        }
        let texts = |anchors: &[Anchor]| anchors.iter().map(ToString::to_string).collect();
        Some(ext::Order {
            role: self.role.clone().unwrap_or_default(),
            before: texts(&self.before),
            after: texts(&self.after),
        })
    }
}

/// Options for sharing a chain with its other members.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct SharingFlags {
    /// Run as a separate program behind a tail call: it shares no stack, maps or verifier budget with its neighbours.
    #[arg(long, help_heading = ORDER)]
    pub isolated: bool,
    /// Run as a shadow: verdicts are counted but have no effect; writes to packets and maps take effect.
    #[arg(long, help_heading = ORDER)]
    pub shadow: bool,
    /// Do not warn about redirect in --proceed-on: the next program then decides where the packet goes.
    #[arg(long, help_heading = ORDER)]
    pub allow_redirect: bool,
    /// Keep the empty chain attached when the last program leaves the hook, for the next program.
    #[arg(long, alias = "hold", help_heading = ORDER)]
    pub keep_attached: bool,
    /// Attach the program even if it is already attached at this hook: it then runs twice for each packet.
    #[arg(long, help_heading = ORDER)]
    pub again: bool,
}

impl SharingFlags {
    /// Returns whether any flag is set.
    #[must_use]
    pub const fn is_asked(self) -> bool {
        self.isolated || self.allow_redirect || self.keep_attached || self.shadow || self.again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_intent_sends_none() {
        assert_eq!(OrderFlags::default().on_the_wire(), None);
        let order = OrderFlags { role: Some("firewall".into()), ..OrderFlags::default() };
        assert_eq!(order.on_the_wire().unwrap().role, "firewall");
    }
}
