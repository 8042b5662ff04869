//! Sockets for routes (netlink), by which tools attach XDP programs and filters.

use bpfmand_calls::{CallRequest, Errno, RouteKind, route_requests};
use rustix::net::{AddressFamily, sockopt};

use super::DaemonAccess;
use super::call::{CallOutcome, CallerAddress, WaitingCall};

/// Maximum size of a message, in bytes.
const MAX_MESSAGE: u64 = 64 << 10;
/// Maximum number of parts of a message.
const MAX_PARTS: u64 = 16;
/// Offsets in `struct msghdr`.
const PARTS: usize = 16;
const PART_COUNT: usize = 24;
const MESSAGE_HEADER: u64 = 56;

/// Opens a socket with the daemon's rights, with a number that the filter knows.
pub fn open(call: &mut WaitingCall<'_>, daemon: &mut DaemonAccess<'_>) -> Result<CallOutcome, Errno> {
    call.pass_netns()?;
    let socket_type = call.argument(1) as i32;
    let answer = daemon.ask(call, &CallRequest::RouteSocket { socket_type }, true, &[])?;
    answer.head.result?;
    let socket = answer.descriptors.into_iter().next().ok_or(Errno::INVAL)?;
    let number = daemon.free_route_number(call)?;
    match call.give(&socket, socket_type & libc::SOCK_CLOEXEC != 0, Some(number)) {
        Ok(outcome) => Ok(outcome),
        // The caller's limit of open files is below these numbers: let it have a socket for queries only.
        Err(_) => Ok(call.leave_to_kernel()),
    }
}

/// Sends messages that attach programs; all others go to the kernel, without rights.
pub fn send(
    call: &mut WaitingCall<'_>,
    daemon: &mut DaemonAccess<'_>,
    in_parts: bool,
) -> Result<CallOutcome, Errno> {
    let at = call.pass_descriptor(call.argument(0) as i32)?;
    let socket = &call.passed()[at];
    // `NETLINK_ROUTE` is 0.
    let is_route = sockopt::socket_domain(socket).is_ok_and(|domain| domain == AddressFamily::NETLINK)
        && sockopt::socket_protocol(socket).is_ok_and(|protocol| protocol.is_none());
    if !is_route {
        return Ok(call.leave_to_kernel());
    }
    let mut message = if in_parts { parts(call)? } else { whole(call, call.argument(1), call.argument(2))? };
    let requests = match route_requests(&message) {
        Ok(requests) if requests.iter().any(|one| one.kind != RouteKind::Question) => requests,
        _ => return Ok(call.leave_to_kernel()),
    };
    for place in requests.into_iter().flat_map(|request| request.descriptors) {
        let slot = &mut message[place..place + 4];
        let number = i32::from_ne_bytes([slot[0], slot[1], slot[2], slot[3]]);
        let passed = i32::try_from(call.pass_descriptor(number)?).map_err(|_| Errno::TOO_BIG)?;
        slot.copy_from_slice(&passed.to_ne_bytes());
    }
    call.check_waiting()?;
    let answer = daemon.ask(call, &CallRequest::RouteMessage, false, &[message])?;
    answer.head.result.map(CallOutcome::Value)
}

fn whole(call: &WaitingCall<'_>, from: u64, length: u64) -> Result<Vec<u8>, Errno> {
    if length > MAX_MESSAGE { Err(Errno::TOO_BIG) } else { call.read(CallerAddress(from), length) }
}

fn parts(call: &WaitingCall<'_>) -> Result<Vec<u8>, Errno> {
    let header = call.read(CallerAddress(call.argument(1)), MESSAGE_HEADER)?;
    let long = |bytes: &[u8], at: usize| {
        let bytes = bytes.get(at..at + 8).and_then(|bytes| bytes.first_chunk().copied());
        bytes.map(u64::from_ne_bytes).ok_or(Errno::INVAL)
    };
    let (from, count) = (long(&header, PARTS)?, long(&header, PART_COUNT)?);
    if count > MAX_PARTS {
        return Err(Errno::TOO_BIG);
    }
    let vector = call.read(CallerAddress(from), count * 16)?;
    let mut message = Vec::new();
    for part in vector.chunks_exact(16) {
        let room = MAX_MESSAGE - message.len() as u64;
        let length = long(part, 8)?;
        if length > room {
            return Err(Errno::TOO_BIG);
        }
        message.extend(call.read(CallerAddress(long(part, 0)?), length)?);
    }
    Ok(message)
}
