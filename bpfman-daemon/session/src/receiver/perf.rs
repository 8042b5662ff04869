//! perf_event_open(2).

use bpfmand_calls::{CallRequest, Errno, PERF_ATTR, PerfCall, PerfProbe, PerfProcess};

use super::DaemonAccess;
use super::call::{CallOutcome, CallerAddress, WaitingCall};

const SIZE: u64 = 4;
const FIRST_VERSION: u32 = 64;
const MAX_SIZE: u32 = 4096;
const CONFIG1: usize = 56;
const MAX_TEXT: usize = 4096;

const CLOSE_ON_EXEC: u64 = 8;
const OF_GROUP: u64 = 4;

pub fn serve(call: &mut WaitingCall<'_>, daemon: &mut DaemonAccess<'_>) -> Result<CallOutcome, Errno> {
    let from = call.argument(0);
    let size = call.read(CallerAddress(from.wrapping_add(SIZE)), 4)?;
    let size = match u32::from_ne_bytes([size[0], size[1], size[2], size[3]]) {
        0 => FIRST_VERSION,
        size => size,
    };
    if !(FIRST_VERSION..=MAX_SIZE).contains(&size) {
        return Err(Errno::TOO_BIG);
    }
    let mut attribute = call.read(CallerAddress(from), size.into())?;
    if attribute.len() > PERF_ATTR {
        if attribute[PERF_ATTR..].iter().any(|byte| *byte != 0) {
            return Err(Errno::TOO_BIG);
        }
        attribute.truncate(PERF_ATTR);
    }
    let probe = probe(call, &mut attribute)?;
    let [process, cpu, group] = [1, 2, 3].map(|argument| call.argument(argument) as i32);
    let flags = call.argument(4);
    let process = match process {
        group if flags & OF_GROUP != 0 => PerfProcess::Group(call.pass_descriptor(group)?),
        0 => PerfProcess::One(call.thread().cast_signed()),
        -1 => PerfProcess::All,
        process => {
            call.check_process_namespace()?;
            PerfProcess::One(process)
        }
    };
    let group = if group >= 0 { Some(call.pass_descriptor(group)?) } else { None };
    call.check_waiting()?;
    let request = CallRequest::PerfEvent(PerfCall { process, cpu, flags, group, probe });
    let answer = daemon.ask(call, &request, true, &[attribute])?;
    answer.head.result?;
    let event = answer.descriptors.into_iter().next().ok_or(Errno::INVAL)?;
    call.give(&event, flags & CLOSE_ON_EXEC != 0, None)
}

/// Replaces the address of a probe's text. All processes see the same type numbers of the kernel's probe sources.
fn probe(call: &mut WaitingCall<'_>, attribute: &mut [u8]) -> Result<Option<PerfProbe>, Errno> {
    let event_type = u32::from_ne_bytes([attribute[0], attribute[1], attribute[2], attribute[3]]);
    let is_source = |name: &str| {
        let file = format!("/sys/bus/event_source/devices/{name}/type");
        std::fs::read_to_string(file).is_ok_and(|number| number.trim().parse() == Ok(event_type))
    };
    if event_type < 6 {
        return Ok(None);
    }
    let (of_kernel, of_file) = (is_source("kprobe"), is_source("uprobe"));
    if !of_kernel && !of_file {
        return Ok(None);
    }
    let slot = &mut attribute[CONFIG1..CONFIG1 + 8];
    let mut address = [0; 8];
    address.copy_from_slice(slot);
    slot.fill(0);
    let address = u64::from_ne_bytes(address);
    if address == 0 {
        return Ok(None);
    }
    let text = call.read_text(CallerAddress(address), MAX_TEXT)?;
    Ok(Some(if of_file {
        PerfProbe::File(call.pass_file(&text)?)
    } else {
        PerfProbe::Function(String::from_utf8(text).map_err(|_| Errno::INVAL)?)
    }))
}
