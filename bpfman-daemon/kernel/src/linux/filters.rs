use std::io;

use bpfman_model::{Direction, FilterFacts, HookAttachment, HookEntry, HookKey, ProgramId};

use super::clsact::{
    FLAG_DIRECT_ACTION, RTM_GETTFILTER, TCA_BPF_FLAGS, TCA_BPF_ID, TCA_BPF_NAME, TCA_KIND, TCA_OPTIONS,
    TCMSG, TcMessage,
};
use super::netlink::{DUMP, Message, attribute, talk, u32_at};
use super::{clsact, facts, hook_contents};
use crate::KernelError;

const RTM_NEWTFILTER: u16 = 44;
const TCA_CHAIN: u16 = 11;
/// Bits of a u32 handle that only filters have set: the kernel lists hash tables among the filters.
const U32_NODE: u32 = 0xfff;

/// Returns the filters of a hook, ascending by chain: packets enter chain 0.
pub fn list(key: &HookKey, direction: Direction) -> Result<Vec<HookEntry>, KernelError> {
    let request = TcMessage::filters(key.ifindex, direction).request(RTM_GETTFILTER, DUMP).finish();
    let messages = match talk(&request) {
        Ok(messages) => messages,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => Vec::new(),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
            return Err(hook_contents::failed(key, error.into()));
        }
        Err(error) => return Err(hook_contents::failed(key, error.in_words())),
    };
    let mut found = messages
        .iter()
        .filter(|(kind, _)| *kind == RTM_NEWTFILTER)
        .filter_map(|message| entry(message).transpose())
        .collect::<io::Result<Vec<_>>>()
        .map_err(|source| hook_contents::failed(key, source))?;
    // A plain ingress qdisc returns its filters for both directions.
    if direction == Direction::Egress
        && !found.is_empty()
        && clsact::qdisc_kind(key.ifindex)?.as_deref() == Some("ingress")
    {
        found.clear();
    }
    // The sort is stable: within a chain, the kernel lists filters in execution order.
    found.sort_by_key(|(chain, _)| *chain);
    Ok(found.into_iter().map(|(_, entry)| entry).collect())
}

pub(super) fn entry((_, body): &Message) -> io::Result<Option<(u32, HookEntry)>> {
    let cut = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer about a filter is cut off");
    let word = |at| u32_at(body, at).ok_or_else(cut);
    let (handle, info) = (word(8)?, word(16)?);
    let rest = body.get(TCMSG..).ok_or_else(cut)?;
    let kind = attribute(rest, TCA_KIND).map(facts::text).unwrap_or_default();
    // Each priority is listed before its filters, without handle and options.
    let Some(options) = attribute(rest, TCA_OPTIONS) else { return Ok(None) };
    if kind == "u32" && handle & U32_NODE == 0 {
        return Ok(None);
    }
    let chain = attribute(rest, TCA_CHAIN).and_then(|value| u32_at(value, 0)).unwrap_or(0);
    let mut facts = FilterFacts {
        priority: (info >> 16) as u16,
        handle,
        protocol: u16::from_be(info as u16),
        chain,
        kind,
        name: None,
        direct_action: false,
    };
    let mut program = None;
    if facts.kind == "bpf" {
        program = attribute(options, TCA_BPF_ID).and_then(|id| u32_at(id, 0)).map(ProgramId);
        facts.name = attribute(options, TCA_BPF_NAME).map(super::facts::text);
        let flags = attribute(options, TCA_BPF_FLAGS).and_then(|value| u32_at(value, 0)).unwrap_or(0);
        facts.direct_action = flags & FLAG_DIRECT_ACTION != 0;
    }
    Ok(Some((chain, HookEntry { program, via: HookAttachment::Filter(facts) })))
}
