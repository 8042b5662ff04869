//! Objects of the daemon, to detect changes to them by other processes.

use bpfman_model::uapi::attach_type;
use bpfman_model::{Direction, HookKey, HookKind, KernelLinkId};
use bpfmand_engine::{Engine, EngineError, OwnObjects, OwnPlace};
use bpfmand_kernel::linux::LinuxKernel;

use super::activity::is_at_interface;
use super::event::{RadarEvent, kind};

/// Parents of clsact's filters, with `TC_H_MIN_INGRESS` and `TC_H_MIN_EGRESS`.
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;

#[derive(Debug, Default)]
pub struct OursAndBefore {
    now: OwnObjects,
    before: OwnObjects,
    /// Change counter at which `now` was read.
    changes: Option<u64>,
}

impl OursAndBefore {
    pub fn refresh(&mut self, engine: &Engine<LinuxKernel>) -> Result<(), EngineError> {
        let count = engine.wait_for_change(self.changes.unwrap_or(u64::MAX), std::time::Duration::ZERO);
        if self.changes == Some(count) {
            return Ok(());
        }
        self.before = std::mem::replace(&mut self.now, engine.own_objects()?);
        self.changes = Some(count);
        Ok(())
    }

    pub const fn now(&self) -> &OwnObjects {
        &self.now
    }

    pub fn touched_by(&self, event: &RadarEvent) -> Option<&OwnPlace> {
        match event.kind {
            kind::LINK_UPDATE | kind::LINK_DETACH => self.link(event.link),
            kind::LINK_CREATE | kind::PROG_ATTACH | kind::PROG_DETACH if is_at_interface(event) => {
                match event.attach_type {
                    attach_type::XDP => self.hook(event, &[HookKind::Xdp]),
                    attach_type::TCX_INGRESS => self.hook(event, &at(Direction::Ingress)),
                    attach_type::TCX_EGRESS => self.hook(event, &at(Direction::Egress)),
                    _ => None,
                }
            }
            kind::XDP_BY_NETLINK => self.hook(event, &[HookKind::Xdp]),
            kind::TC_FILTER | kind::TC_FILTER_GONE => match event.attach_type {
                INGRESS => self.hook(event, &at(Direction::Ingress)),
                EGRESS => self.hook(event, &at(Direction::Egress)),
                _ => None,
            },
            kind::UNLINK => self.pinned(&event.path),
            _ => None,
        }
    }

    fn link(&self, id: u32) -> Option<&OwnPlace> {
        let id = KernelLinkId(id);
        self.now.links.get(&id).or_else(|| self.before.links.get(&id))
    }

    /// Returns the hook with a link of this pin, by its last two components: the cookie in the name distinguishes
    /// namespaces. Other pins (`links/7`) are ambiguous, since any bpffs may have the same names.
    fn pinned(&self, path: &str) -> Option<&OwnPlace> {
        let is_it =
            |key: &HookKey| path == format!("{}/dispatcher_{}_link", key.pin_folder(), key.pin_stem());
        self.now.hooks.iter().find(|(key, _)| is_it(key)).map(|(_, place)| place)
    }

    fn hook(&self, event: &RadarEvent, kinds: &[HookKind]) -> Option<&OwnPlace> {
        let is_it = |key: &HookKey| {
            kinds.contains(&key.kind)
                && key.ifindex.0 == event.target
                && key.netns.id().is_some_and(|netns| netns.inode == u64::from(event.netns))
        };
        self.now.hooks.iter().find(|(key, _)| is_it(key)).map(|(_, place)| place)
    }
}

const fn at(direction: Direction) -> [HookKind; 2] {
    [HookKind::Tc(direction), HookKind::Tcx(direction)]
}

#[cfg(test)]
mod tests {
    use bpfman_model::{HookNetns, IfIndex, NetnsId};

    use super::super::event::tests::record;
    use super::*;

    #[test]
    fn hook_and_link_changes_are_recognised() {
        let netns = HookNetns::In(NetnsId { inode: 77, cookie: 1 });
        let key = HookKey { netns, ifindex: IfIndex(3), kind: HookKind::Xdp };
        let mut ours = OursAndBefore::default();
        let place = OwnPlace { name: "xdp:eth0".to_owned(), ..OwnPlace::default() };
        ours.now.hooks.insert(key, place.clone());
        ours.before.links.insert(KernelLinkId(9), place);
        let event = |kind| RadarEvent::parse(&record(5, kind, 0, b"x")).unwrap();
        let touched = |event: RadarEvent| ours.touched_by(&event).map(|place| place.name.clone());
        let name = Some("xdp:eth0".to_owned());
        assert_eq!(touched(event(kind::LINK_CREATE)), name);
        assert_eq!(touched(event(kind::XDP_BY_NETLINK)), name);
        assert_eq!(touched(RadarEvent { netns: 78, ..event(kind::XDP_BY_NETLINK) }), None);
        assert_eq!(touched(RadarEvent { target: 4, ..event(kind::LINK_CREATE) }), None);
        let tcx = RadarEvent { attach_type: attach_type::TCX_INGRESS, ..event(kind::LINK_CREATE) };
        assert_eq!(touched(tcx), None);
        assert_eq!(touched(RadarEvent { link: 9, ..event(kind::LINK_DETACH) }), name);
        assert_eq!(touched(RadarEvent { link: 8, ..event(kind::LINK_UPDATE) }), None);
    }

    #[test]
    fn a_hook_is_touched_also_without_a_link_and_by_its_pin() {
        let netns = HookNetns::In(NetnsId { inode: 77, cookie: 1 });
        let kind = HookKind::Tc(Direction::Egress);
        let mut ours = OursAndBefore::default();
        let place = OwnPlace { name: "tc:eth0:egress".to_owned(), ..OwnPlace::default() };
        ours.now.hooks.insert(HookKey { netns, ifindex: IfIndex(3), kind }, place);
        let touched = |event: RadarEvent| ours.touched_by(&event).is_some();
        let event = |kind| RadarEvent::parse(&record(5, kind, 0, b"x")).unwrap();
        for call in [kind::PROG_ATTACH, kind::PROG_DETACH] {
            let tcx = |attach_type| RadarEvent { attach_type, ..event(call) };
            assert!(touched(tcx(attach_type::TCX_EGRESS)));
            assert!(!touched(tcx(attach_type::TCX_INGRESS)) && !touched(tcx(attach_type::XDP)));
            assert!(!touched(RadarEvent { netns: 78, ..tcx(attach_type::TCX_EGRESS) }));
            assert!(!touched(RadarEvent { target: 4, ..tcx(attach_type::TCX_EGRESS) }));
        }
        let unlink = |path: &str| RadarEvent { path: path.to_owned(), ..event(kind::UNLINK) };
        assert!(touched(unlink("tc-egress/dispatcher_77_3_1_link")));
        for path in ["tc-ingress/dispatcher_77_3_1_link", "tc-egress/dispatcher_77_3_2_link", "links/7", "/"]
        {
            assert!(!touched(unlink(path)), "{path}");
        }
    }
}
