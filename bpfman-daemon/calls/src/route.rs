//! Requests of netlink (`NETLINK_ROUTE`) that attach programs: XDP, and filters of clsact.

use crate::Errno;

const HEADER: usize = 16;
const NEW_LINK: u16 = 16;
const SET_LINK: u16 = 19;
const NEW_QDISC: u16 = 36;
const DEL_QDISC: u16 = 37;
const NEW_FILTER: u16 = 44;
const DEL_FILTER: u16 = 45;
/// Value of the two low bits of a message type for a query; other values are changes.
const QUESTION: u16 = 2;
const CREATE: u16 = 0x400;
/// Flag without which a request replaces an existing object.
const EXCLUSIVE: u16 = 0x200;

const LINK_HEADER: usize = 16;
const LINK_NAME: u16 = 3;
const LINK_XDP: u16 = 43;
const XDP_DESCRIPTOR: u16 = 1;
const XDP_FLAGS: u16 = 3;
const XDP_EXPECTED: u16 = 8;

const TC_HEADER: usize = 20;
const TC_KIND: u16 = 1;
const TC_OPTIONS: u16 = 2;
const BPF_CLASS: u16 = 3;
const BPF_DESCRIPTOR: u16 = 6;
const BPF_NAME: u16 = 7;
const BPF_FLAGS: u16 = 8;
const BPF_GENERIC_FLAGS: u16 = 9;
const CLSACT: &[&[u8]] = &[b"clsact", b"ingress"];

/// Parent of clsact itself.
const CLSACT_PARENT: u32 = 0xffff_fff1;
/// Parent of filters of clsact at ingress and at egress; the latter in its low half.
const INGRESS_PARENT: u32 = 0xffff_fff2;
const EGRESS_PARENT: u32 = 0xffff_fff3;

/// A request that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRequest {
    pub kind: RouteKind,
    /// Offsets of descriptors in the message, in bytes.
    pub descriptors: Vec<usize>,
    /// Offset of the descriptor of the program that is attached.
    pub attaches: Option<usize>,
}

/// Meaning of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// A question, which needs no right.
    Question,
    /// Sets or removes the XDP program of an interface, by its index, or by its name if the index is 0.
    Xdp {
        index: u32,
        name: Option<String>,
        /// True if the program is removed.
        removes: bool,
    },
    /// Adds or removes clsact at an interface.
    Clsact {
        index: u32,
        /// True if it is removed or replaced, with all filters.
        removes: bool,
    },
    /// Adds or removes a filter of clsact.
    Filter {
        index: u32,
        /// True for egress.
        egress: bool,
        /// True if it is removed, or replaces another one.
        removes: bool,
    },
}

/// Parses the requests of one message.
///
/// # Errors
/// `EPERM`: a request that is not served, or that sets more than a program.
pub fn route_requests(message: &[u8]) -> Result<Vec<RouteRequest>, Errno> {
    let mut requests = Vec::new();
    let mut at = 0;
    while at < message.len() {
        let length = word(message, at).ok_or(Errno::INVAL)? as usize;
        let end = at
            .checked_add(length)
            .filter(|end| length >= HEADER && *end <= message.len())
            .ok_or(Errno::INVAL)?;
        requests.push(request(message, at, end)?);
        at = at.checked_add(length.next_multiple_of(4)).ok_or(Errno::INVAL)?;
    }
    if requests.is_empty() { Err(Errno::INVAL) } else { Ok(requests) }
}

fn request(message: &[u8], at: usize, end: usize) -> Result<RouteRequest, Errno> {
    let (number, flags) =
        (half(message, at + 4).ok_or(Errno::INVAL)?, half(message, at + 6).ok_or(Errno::INVAL)?);
    let body = at + HEADER;
    match number {
        NEW_LINK | SET_LINK => link(message, body, end, flags),
        NEW_QDISC | DEL_QDISC => {
            let removes = number == DEL_QDISC || flags & EXCLUSIVE == 0;
            let (index, parent) = tc(message, body, end)?;
            // Before Linux 6.4, clsact at another place takes the traffic of the interface.
            if parent != CLSACT_PARENT {
                return Err(Errno::PERM);
            }
            let kind = text(message, find(message, body + TC_HEADER, end, TC_KIND)?);
            // A block would share filters with other interfaces.
            if attributes(message, body + TC_HEADER, end)?
                .iter()
                .any(|(kind, ..)| !matches!(*kind, TC_KIND | TC_OPTIONS))
            {
                return Err(Errno::PERM);
            }
            // Other queueing disciplines run no program, and change the traffic of others.
            if !kind.is_some_and(|kind| CLSACT.contains(&kind)) {
                return Err(Errno::PERM);
            }
            let kind = RouteKind::Clsact { index, removes };
            Ok(RouteRequest { kind, descriptors: Vec::new(), attaches: None })
        }
        NEW_FILTER | DEL_FILTER => filter(message, (body, end), number == DEL_FILTER, flags & EXCLUSIVE == 0),
        _ if number >= NEW_LINK && number & 3 == QUESTION => {
            Ok(RouteRequest { kind: RouteKind::Question, descriptors: Vec::new(), attaches: None })
        }
        _ => Err(Errno::PERM),
    }
}

fn link(message: &[u8], body: usize, end: usize, flags: u16) -> Result<RouteRequest, Errno> {
    let index = word(message, body + 4).ok_or(Errno::INVAL)?;
    let changed = [word(message, body + 8), word(message, body + 12)];
    if flags & CREATE != 0 || changed != [Some(0), Some(0)] {
        return Err(Errno::PERM);
    }
    let (mut name, mut descriptors, mut removes, mut is_xdp) = (None, Vec::new(), false, false);
    let mut attaches = None;
    for (kind, from, to) in attributes(message, body + LINK_HEADER, end)? {
        match kind {
            LINK_NAME => name = Some(text(message, Some((from, to))).ok_or(Errno::INVAL)?),
            LINK_XDP => {
                // If an attribute is repeated, the kernel uses the last one: refuse it.
                if std::mem::replace(&mut is_xdp, true) {
                    return Err(Errno::INVAL);
                }
                for (kind, from, to) in once(attributes(message, from, to)?)? {
                    match kind {
                        XDP_DESCRIPTOR | XDP_EXPECTED if to - from == 4 => {
                            let number = word(message, from).ok_or(Errno::INVAL)?.cast_signed();
                            if number >= 0 {
                                descriptors.push(from);
                                attaches = attaches.or_else(|| (kind == XDP_DESCRIPTOR).then_some(from));
                            } else if kind == XDP_DESCRIPTOR {
                                removes = true;
                            }
                        }
                        XDP_FLAGS => {}
                        _ => return Err(Errno::PERM),
                    }
                }
            }
            _ => return Err(Errno::PERM),
        }
    }
    if !is_xdp {
        return Err(Errno::PERM);
    }
    let name = name.map(|name| String::from_utf8(name.to_vec())).transpose().map_err(|_| Errno::INVAL)?;
    Ok(RouteRequest { kind: RouteKind::Xdp { index, name, removes }, descriptors, attaches })
}

fn filter(
    message: &[u8],
    (body, end): (usize, usize),
    is_removal: bool,
    replaces: bool,
) -> Result<RouteRequest, Errno> {
    let removes = is_removal || replaces;
    let (index, parent) = tc(message, body, end)?;
    let egress = match parent {
        INGRESS_PARENT => false,
        EGRESS_PARENT => true,
        _ => return Err(Errno::PERM),
    };
    let kind = text(message, find(message, body + TC_HEADER, end, TC_KIND)?);
    if !(kind == Some(b"bpf") || is_removal && kind.is_none()) {
        return Err(Errno::PERM);
    }
    let mut descriptors = Vec::new();
    if let Some((from, to)) = find(message, body + TC_HEADER, end, TC_OPTIONS)? {
        for (kind, from, to) in once(attributes(message, from, to)?)? {
            match kind {
                BPF_DESCRIPTOR if to - from == 4 => descriptors.push(from),
                BPF_CLASS | BPF_NAME | BPF_FLAGS | BPF_GENERIC_FLAGS => {}
                // Actions and classic BPF programs are refused: no grant covers them.
                _ => return Err(Errno::PERM),
            }
        }
    }
    let attaches = descriptors.first().copied();
    Ok(RouteRequest { kind: RouteKind::Filter { index, egress, removes }, descriptors, attaches })
}

/// Returns the interface and the parent of a request of traffic control.
fn tc(message: &[u8], body: usize, end: usize) -> Result<(u32, u32), Errno> {
    if body + TC_HEADER > end {
        return Err(Errno::INVAL);
    }
    Ok((word(message, body + 4).ok_or(Errno::INVAL)?, word(message, body + 12).ok_or(Errno::INVAL)?))
}

/// Attributes from one offset to another: type, begin and end of each value.
fn attributes(message: &[u8], from: usize, to: usize) -> Result<Vec<(u16, usize, usize)>, Errno> {
    const NESTED_AND_ORDER: u16 = 0xc000;
    let (mut found, mut at) = (Vec::new(), from);
    while at < to {
        let length = usize::from(half(message, at).ok_or(Errno::INVAL)?);
        let kind = half(message, at + 2).ok_or(Errno::INVAL)? & !NESTED_AND_ORDER;
        let end = at + length;
        if length < 4 || end > to {
            return Err(Errno::INVAL);
        }
        found.push((kind, at + 4, end));
        at += length.next_multiple_of(4);
    }
    Ok(found)
}

/// Returns the attributes; refuses them if one occurs twice.
fn once(all: Vec<(u16, usize, usize)>) -> Result<Vec<(u16, usize, usize)>, Errno> {
    let kinds: std::collections::BTreeSet<u16> = all.iter().map(|(kind, ..)| *kind).collect();
    if kinds.len() == all.len() { Ok(all) } else { Err(Errno::INVAL) }
}

fn find(message: &[u8], from: usize, to: usize, wanted: u16) -> Result<Option<(usize, usize)>, Errno> {
    let mut of_kind = attributes(message, from, to)?.into_iter().filter(|(kind, ..)| *kind == wanted);
    let found = of_kind.next().map(|(_, from, to)| (from, to));
    // Of repeated attributes, the kernel takes the last, other readers often the first.
    if of_kind.next().is_some() { Err(Errno::INVAL) } else { Ok(found) }
}

fn text(message: &[u8], place: Option<(usize, usize)>) -> Option<&[u8]> {
    let (from, to) = place?;
    let value = message.get(from..to)?;
    Some(value.split(|byte| *byte == 0).next().unwrap_or_default())
}

fn word(message: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*message.get(at..)?.first_chunk()?))
}

fn half(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*message.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn request(number: u16, flags: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((body.len() + HEADER) as u32).to_ne_bytes().to_vec();
        bytes.extend(number.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(body);
        bytes
    }

    fn set_xdp(index: u32, flags: u32, attributes: &[u8]) -> Vec<u8> {
        let mut body = vec![0; 4];
        body.extend(index.to_ne_bytes());
        body.extend(flags.to_ne_bytes());
        body.extend([0; 4]);
        body.extend(attributes);
        body
    }

    #[test]
    fn programs_are_found_and_nothing_else_may_be_set() {
        let xdp = |number: i32| attribute(LINK_XDP, &attribute(XDP_DESCRIPTOR, &number.to_ne_bytes()));
        let kinds = |message: &[u8]| {
            route_requests(message)
                .map(|all| all.into_iter().map(|one| (one.kind, one.descriptors)).collect::<Vec<_>>())
        };
        let xdp_of = |index, removes| RouteKind::Xdp { index, name: None, removes };
        assert_eq!(
            kinds(&request(SET_LINK, 5, &set_xdp(3, 0, &xdp(9)))),
            Ok(vec![(xdp_of(3, false), vec![40])])
        );
        assert_eq!(
            kinds(&request(SET_LINK, 5, &set_xdp(3, 0, &xdp(-1)))),
            Ok(vec![(xdp_of(3, true), vec![])])
        );
        let two = [request(18, 0x301, &[0; 16]), request(SET_LINK, 5, &set_xdp(3, 0, &xdp(9)))].concat();
        assert_eq!(kinds(&two), Ok(vec![(RouteKind::Question, vec![]), (xdp_of(3, false), vec![72])]));
        let with_name = [attribute(LINK_NAME, b"lo\0"), xdp(9)].concat();
        let named = RouteKind::Xdp { index: 0, name: Some("lo".to_owned()), removes: false };
        assert_eq!(kinds(&request(SET_LINK, 5, &set_xdp(0, 0, &with_name))), Ok(vec![(named, vec![48])]));
        let mtu = [attribute(4, &[0; 4]), xdp(9)].concat();
        for refused in [
            request(SET_LINK, 5, &set_xdp(3, 1, &xdp(9))),
            request(NEW_LINK, 5 | CREATE, &set_xdp(3, 0, &xdp(9))),
            request(SET_LINK, 5, &set_xdp(3, 0, &mtu)),
            request(SET_LINK, 5, &set_xdp(3, 0, &[])),
            // An address, and a route.
            request(20, 5, &[0; 16]),
            request(24, 5, &[0; 16]),
        ] {
            assert_eq!(kinds(&refused), Err(Errno::PERM), "{refused:?}");
        }
    }

    #[test]
    fn filters_of_clsact_are_served() {
        let body = |parent: u32, attributes: &[u8]| {
            let mut body = vec![0; 4];
            body.extend(7_u32.to_ne_bytes());
            body.extend([0; 4]);
            body.extend(parent.to_ne_bytes());
            body.extend([0; 4]);
            body.extend(attributes);
            body
        };
        let bpf =
            [attribute(TC_KIND, b"bpf\0"), attribute(TC_OPTIONS, &attribute(BPF_DESCRIPTOR, &[5, 0, 0, 0]))]
                .concat();
        let first = |message: &[u8]| {
            route_requests(message).map(|all| (all[0].kind.clone(), all[0].descriptors.clone()))
        };
        let filter = |egress, removes| RouteKind::Filter { index: 7, egress, removes };
        assert_eq!(
            first(&request(NEW_FILTER, 0x605, &body(EGRESS_PARENT, &bpf))),
            Ok((filter(true, false), vec![52]))
        );
        assert_eq!(
            first(&request(DEL_FILTER, 5, &body(INGRESS_PARENT, &[]))),
            Ok((filter(false, true), vec![]))
        );
        let clsact = RouteKind::Clsact { index: 7, removes: false };
        assert_eq!(
            first(&request(NEW_QDISC, 0x605, &body(0xffff_fff1, &attribute(TC_KIND, b"clsact\0")))),
            Ok((clsact, vec![]))
        );
        let block = [attribute(TC_KIND, b"clsact\0"), attribute(13, &[1, 0, 0, 0])].concat();
        let action = [attribute(TC_KIND, b"bpf\0"), attribute(TC_OPTIONS, &attribute(1, &[0; 4]))].concat();
        let twice = [attribute(TC_KIND, b"bpf\0"), attribute(TC_KIND, b"u32\0")].concat();
        for (refused, error) in [
            (request(NEW_FILTER, 5, &body(0x0001_0000, &bpf)), Errno::PERM),
            (request(NEW_FILTER, 5, &body(INGRESS_PARENT, &attribute(TC_KIND, b"u32\0"))), Errno::PERM),
            (request(NEW_QDISC, 5, &body(0, &attribute(TC_KIND, b"tbf\0"))), Errno::PERM),
            (request(NEW_QDISC, 5, &body(0xffff_fff1, &block)), Errno::PERM),
            (request(NEW_FILTER, 5, &body(INGRESS_PARENT, &action)), Errno::PERM),
            (request(NEW_FILTER, 5, &body(INGRESS_PARENT, &twice)), Errno::INVAL),
        ] {
            assert_eq!(first(&refused), Err(error));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_within_bounds(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(requests) = route_requests(&bytes) {
                for at in requests.into_iter().flat_map(|request| request.descriptors) {
                    prop_assert!(at + 4 <= bytes.len());
                }
            }
        }
    }
}
