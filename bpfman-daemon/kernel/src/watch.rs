use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bpfman_model::{IfIndex, InterfaceEvent, InterfaceFacts};

use crate::KernelError;

/// Reports interface changes of one namespace, each once; a change undone before it was read is not reported.
pub trait InterfaceWatch: Send {
    /// Waits for changes; with timeouts of at most a second, the path's removal is reported within a second.
    fn next(&mut self, timeout: Duration) -> Result<Vec<InterfaceEvent>, KernelError>;
}

#[derive(Clone, Debug)]
struct KnownInterface {
    name: String,
    other_names: Vec<String>,
    up: bool,
}

impl KnownInterface {
    fn of(InterfaceFacts { name, other_names, up, .. }: InterfaceFacts) -> Self {
        Self { name, other_names, up }
    }
}

/// Known interfaces. A storm of notices becomes one event per interface, or none if names and state are the same.
#[derive(Debug, Default)]
pub(crate) struct Known {
    reported: BTreeMap<IfIndex, KnownInterface>,
    latest: BTreeMap<IfIndex, KnownInterface>,
    /// Interfaces removed since the last report; a new one may have the number.
    removed: BTreeSet<IfIndex>,
}

impl Known {
    pub fn new(interfaces: Vec<InterfaceFacts>) -> Self {
        let reported: BTreeMap<_, _> =
            interfaces.into_iter().map(|found| (found.ifindex, KnownInterface::of(found))).collect();
        Self { latest: reported.clone(), reported, removed: BTreeSet::new() }
    }

    #[cfg_attr(not(feature = "linux"), allow(dead_code, reason = "a simulated kernel sends no notices"))]
    pub fn hear(&mut self, interface: InterfaceFacts, exists: bool) {
        if exists {
            self.latest.insert(interface.ifindex, KnownInterface::of(interface));
        } else {
            self.latest.remove(&interface.ifindex);
            self.removed.insert(interface.ifindex);
        }
    }

    pub fn see(&mut self, interfaces: Vec<InterfaceFacts>) {
        self.latest =
            interfaces.into_iter().map(|found| (found.ifindex, KnownInterface::of(found))).collect();
    }

    /// Returns the changes since the last call; removals first, which frees names that are used again.
    pub fn take(&mut self) -> Vec<InterfaceEvent> {
        let removed = std::mem::take(&mut self.removed);
        let mut events: Vec<_> = self
            .reported
            .keys()
            .filter(|ifindex| removed.contains(ifindex) || !self.latest.contains_key(ifindex))
            .map(|ifindex| InterfaceEvent::Removed { ifindex: *ifindex })
            .collect();
        for (ifindex, KnownInterface { name, other_names, up }) in &self.latest {
            let (ifindex, up) = (*ifindex, *up);
            match self.reported.get(&ifindex).filter(|_| !removed.contains(&ifindex)) {
                None => events.push(InterfaceEvent::Appeared { name: name.clone(), ifindex, up }),
                Some(before) => {
                    if before.name != *name || before.other_names != *other_names {
                        events.push(InterfaceEvent::Renamed { ifindex, name: name.clone() });
                    }
                    if before.up != up {
                        events.push(InterfaceEvent::Changed { name: name.clone(), ifindex, up });
                    }
                }
            }
        }
        self.reported.clone_from(&self.latest);
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, ifindex: u32, up: bool) -> InterfaceFacts {
        InterfaceFacts {
            name: name.to_owned(),
            other_names: Vec::new(),
            ifindex: IfIndex(ifindex),
            up,
            kind: None,
        }
    }

    #[test]
    fn a_storm_of_notices_becomes_one_event_an_interface() {
        let mut known = Known::new(vec![interface("lo", 1, true), interface("left", 2, false)]);
        assert_eq!(known.take(), []);
        for up in [true, false, true] {
            known.hear(interface("left", 2, up), true);
            known.hear(interface("new", 3, up), true);
        }
        known.hear(interface("brief", 4, true), true);
        known.hear(interface("brief", 4, true), false);
        known.hear(interface("lo", 1, true), true);
        let (left, new) = ("left".to_owned(), "new".to_owned());
        assert_eq!(
            known.take(),
            [
                InterfaceEvent::Changed { name: left, ifindex: IfIndex(2), up: true },
                InterfaceEvent::Appeared { name: new, ifindex: IfIndex(3), up: true },
            ]
        );
        assert_eq!(known.take(), []);
    }

    #[test]
    fn another_interface_of_the_same_number_is_a_new_one() {
        let mut known = Known::new(vec![interface("left", 2, true)]);
        known.hear(interface("left", 2, true), false);
        known.hear(interface("left", 2, true), true);
        let name = "left".to_owned();
        let (removed, ifindex) = (InterfaceEvent::Removed { ifindex: IfIndex(2) }, IfIndex(2));
        assert_eq!(known.take(), [removed, InterfaceEvent::Appeared { name, ifindex, up: true }]);
    }

    #[test]
    fn renames_are_reported_with_the_index() {
        let mut known = Known::new(vec![interface("left", 2, false)]);
        known.hear(interface("wan", 2, true), true);
        let (name, ifindex) = ("wan".to_owned(), IfIndex(2));
        assert_eq!(
            known.take(),
            [
                InterfaceEvent::Renamed { ifindex, name: name.clone() },
                InterfaceEvent::Changed { name, ifindex, up: true }
            ]
        );
    }
}
