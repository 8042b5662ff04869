//! Classification and description of third-party activity.

use bpfman_model::hexadecimal;
use bpfman_model::uapi::{attach_type, link_type, map_type, prog_type};

use super::event::{CallEnd, RadarEvent, kind};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ActivityKind {
    Load,
    Map,
    Link,
    Update,
    Attach,
    Detach,
    Pin,
    Unpin,
    Gone,
    /// Any of these, on an object of the daemon.
    Touch,
}

impl ActivityKind {
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Load => "SeenLoad",
            Self::Map => "SeenMap",
            Self::Link => "SeenLink",
            Self::Update => "SeenUpdate",
            Self::Attach => "SeenAttach",
            Self::Detach => "SeenDetach",
            Self::Pin => "SeenPin",
            Self::Unpin => "SeenUnpin",
            Self::Gone => "SeenGone",
            Self::Touch => "HookTouched",
        }
    }

    /// Returns the kind of an event; `None` for one that only newer programs send.
    pub const fn of(kind: u32, descriptor: i32) -> Option<Self> {
        Some(match kind {
            kind::MAP_CREATE => Self::Map,
            kind::PROG_LOAD => Self::Load,
            kind::OBJ_PIN => Self::Pin,
            kind::PROG_DETACH | kind::LINK_DETACH | kind::TC_FILTER_GONE => Self::Detach,
            kind::RAW_TRACEPOINT_OPEN | kind::LINK_CREATE => Self::Link,
            kind::LINK_UPDATE => Self::Update,
            kind::XDP_BY_NETLINK if descriptor < 0 => Self::Detach,
            kind::PROG_ATTACH | kind::XDP_BY_NETLINK | kind::SOCKET | kind::TC_FILTER => Self::Attach,
            kind::UNLINK => Self::Unpin,
            _ => return None,
        })
    }

    pub const fn may_touch(self) -> bool {
        matches!(self, Self::Link | Self::Update | Self::Attach | Self::Detach | Self::Unpin)
    }

    pub const fn in_general(self) -> &'static str {
        match self {
            Self::Load => "programs",
            Self::Map => "maps",
            Self::Link | Self::Update => "links",
            Self::Attach | Self::Detach => "programs at hooks",
            Self::Pin | Self::Unpin => "pins",
            Self::Gone => "programs and links",
            Self::Touch => "hooks",
        }
    }
}

pub fn words(event: &RadarEvent) -> String {
    let text = match event.kind {
        kind::MAP_CREATE => {
            format!("map {} of type {}", named(event.map, &event.name), map_type::name(event.object_type))
        }
        kind::PROG_LOAD => {
            let tag = match event.tag {
                [0, 0, 0, 0, 0, 0, 0, 0] => String::new(),
                tag => format!(", tag {}", hexadecimal(&tag)),
            };
            let kind = prog_type::name(event.object_type);
            format!("program {} of type {kind}{tag}", named(event.program, &event.name))
        }
        kind::OBJ_PIN => format!("{} at {}", object(event), event.path),
        kind::UNLINK => format!("pin …/{}", event.path),
        kind::RAW_TRACEPOINT_OPEN => {
            let place = if event.path.is_empty() {
                "what it was loaded for".to_owned()
            } else {
                format!("raw trace point {}", event.path)
            };
            format!("{} at {place}", object(event))
        }
        kind::PROG_ATTACH | kind::PROG_DETACH | kind::LINK_CREATE => {
            format!("{} at {}{}", object(event), attach_type::name(event.attach_type), interface(event))
        }
        kind::LINK_UPDATE | kind::LINK_DETACH => object(event),
        kind::XDP_BY_NETLINK if event.descriptor < 0 => {
            format!("XDP of interface {}, by netlink", event.target)
        }
        kind::XDP_BY_NETLINK => {
            format!("{} at XDP of interface {}, by netlink", object(event), event.target)
        }
        kind::SOCKET => format!("{} at a socket", object(event)),
        kind::TC_FILTER | kind::TC_FILTER_GONE => {
            let (major, minor) = (event.attach_type >> 16, event.attach_type & 0xffff);
            format!("filter at interface {}, parent {major:x}:{minor:x}", event.target)
        }
        kind => format!("call {kind}"),
    };
    match event.result {
        CallEnd::Unknown => format!("{text} (by a program, which alone knows what came of it)"),
        _ => text,
    }
}

fn named(id: u32, name: &str) -> String {
    match (id, name) {
        (0, "") => "without a name".to_owned(),
        (0, name) => format!("{name:?}"),
        (id, "") => id.to_string(),
        (id, name) => format!("{id} {name:?}"),
    }
}

fn object(event: &RadarEvent) -> String {
    let program = || format!("program {}", named(event.program, &event.name));
    match event {
        RadarEvent { link: 1.., program: 0, .. } => format!("link {}", event.link),
        RadarEvent { link: 1.., .. } => {
            format!("link {} ({}) of {}", event.link, link_type::name(event.object_type), program())
        }
        RadarEvent { program: 1.., .. } => program(),
        RadarEvent { map: 1.., .. } => format!("map {}", named(event.map, &event.name)),
        _ => format!("descriptor {}", event.descriptor),
    }
}

fn interface(event: &RadarEvent) -> String {
    if is_at_interface(event) { format!(" of interface {}", event.target) } else { String::new() }
}

pub const fn is_at_interface(event: &RadarEvent) -> bool {
    use bpfman_model::uapi::attach_type as at;
    match event.attach_type {
        at::TCX_INGRESS | at::TCX_EGRESS | at::NETKIT_PRIMARY | at::NETKIT_PEER => {
            matches!(event.kind, kind::LINK_CREATE | kind::PROG_ATTACH | kind::PROG_DETACH)
        }
        // Without a link, XDP programs are attached by netlink only.
        at::XDP => event.kind == kind::LINK_CREATE,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::tests::record;
    use super::*;

    fn said(kind: u32, result: i32) -> (&'static str, String) {
        let event = RadarEvent::parse(&record(5, kind, result, b"x")).unwrap();
        (ActivityKind::of(event.kind, event.descriptor).unwrap().verb(), words(&event))
    }

    #[test]
    fn activity_is_described_with_ids_and_names() {
        for (kind, verb, text) in [
            (kind::PROG_LOAD, "SeenLoad", "program 41 \"wall\" of type xdp, tag 0707070707070707"),
            (kind::OBJ_PIN, "SeenPin", "program 41 \"wall\" at /sys/fs/bpf/wall"),
            (kind::LINK_CREATE, "SeenLink", "program 41 \"wall\" at xdp of interface 3"),
            (kind::XDP_BY_NETLINK, "SeenDetach", "XDP of interface 3, by netlink"),
            (kind::UNLINK, "SeenUnpin", "pin …//sys/fs/bpf/wall/"),
        ] {
            assert_eq!(said(kind, 0), (verb, text.to_owned()));
        }
        assert!(
            said(kind::PROG_LOAD, -4096).1.ends_with("(by a program, which alone knows what came of it)")
        );
        assert_eq!(ActivityKind::of(4711, 0), None);
    }

    #[test]
    fn an_interface_is_named_where_the_call_names_one() {
        use bpfman_model::uapi::attach_type::{CGROUP_INET_INGRESS, TCX_EGRESS, XDP};
        for (kind, attach_type, text) in [
            (kind::PROG_ATTACH, TCX_EGRESS, "program 41 \"wall\" at tcx_egress of interface 3"),
            (kind::PROG_DETACH, TCX_EGRESS, "program 41 \"wall\" at tcx_egress of interface 3"),
            (kind::LINK_CREATE, TCX_EGRESS, "program 41 \"wall\" at tcx_egress of interface 3"),
            (kind::PROG_ATTACH, XDP, "program 41 \"wall\" at xdp"),
            (kind::PROG_ATTACH, CGROUP_INET_INGRESS, "program 41 \"wall\" at cgroup_inet_ingress"),
        ] {
            let event = RadarEvent::parse(&record(5, kind, 0, b"x")).unwrap();
            assert_eq!(words(&RadarEvent { attach_type, ..event }), text);
        }
    }

    #[test]
    fn kinds_that_may_touch_managed_objects_are_known() {
        let may = |kind| ActivityKind::of(kind, -1).is_some_and(ActivityKind::may_touch);
        for kind in [
            kind::PROG_ATTACH,
            kind::PROG_DETACH,
            kind::LINK_CREATE,
            kind::LINK_UPDATE,
            kind::LINK_DETACH,
            kind::XDP_BY_NETLINK,
            kind::TC_FILTER,
            kind::TC_FILTER_GONE,
            kind::UNLINK,
        ] {
            assert!(may(kind), "{kind}");
        }
        assert!(!may(kind::MAP_CREATE) && !may(kind::PROG_LOAD) && !may(kind::OBJ_PIN));
    }
}
