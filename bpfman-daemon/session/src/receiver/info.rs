//! `BPF_OBJ_GET_INFO_BY_FD`: of programs, the kernel shows users no code.

use bpfmand_calls::{CallAnswer, CallMessage, CallRequest, Errno, INFO_PARTS, PROGRAM_INFO};

use super::DaemonAccess;
use super::call::{CallOutcome, CallerAddress, WaitingCall};

const DESCRIPTOR: usize = 0;
const LENGTH: usize = 4;
const POINTER: usize = 8;
const SIZE: usize = 16;

pub fn serve(
    call: &mut WaitingCall<'_>,
    given: &[u8],
    daemon: &mut DaemonAccess<'_>,
) -> Result<CallOutcome, Errno> {
    let mut attr = [0; SIZE];
    let known = given.len().min(SIZE);
    attr[..known].copy_from_slice(&given[..known]);
    if given[known..].iter().any(|byte| *byte != 0) {
        return Err(Errno::TOO_BIG);
    }
    let number = i32::from_ne_bytes([attr[DESCRIPTOR], attr[1], attr[2], attr[3]]);
    let at = call.pass_descriptor(number)?;
    let object =
        std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&call.passed()[at])));
    if !object.is_ok_and(|link| link.as_os_str() == "anon_inode:bpf-prog") {
        // The kernel describes other objects to every process that holds them.
        return Ok(call.leave_to_kernel());
    }
    let length = u32::from_ne_bytes([attr[LENGTH], attr[5], attr[6], attr[7]]);
    let mut pointer = [0; 8];
    pointer.copy_from_slice(&attr[POINTER..SIZE]);
    let to = CallerAddress(u64::from_ne_bytes(pointer));
    let mut info = call.read(to, u64::from(length.min(4096)))?;
    if info.len() > PROGRAM_INFO {
        // As the kernel does for structures that are longer than its own.
        if info[PROGRAM_INFO..].iter().any(|byte| *byte != 0) {
            return Err(Errno::TOO_BIG);
        }
        info.truncate(PROGRAM_INFO);
    }
    let pointers = INFO_PARTS.map(|part| {
        let mut address = [0; 8];
        if let Some(slot) = info.get_mut(part.pointer..part.pointer + 8) {
            address.copy_from_slice(slot);
            slot.fill(0);
        }
        CallerAddress(u64::from_ne_bytes(address))
    });
    call.check_waiting()?;
    let request = CallRequest::ProgramInfo { parts: pointers.iter().map(|pointer| pointer.0 != 0).collect() };
    let answer: CallMessage<CallAnswer> = daemon.ask(call, &request, true, &[info])?;
    let value = answer.head.result?;
    let mut buffers = answer.buffers.into_iter();
    let mut described = buffers.next().ok_or(Errno::INVAL)?;
    for ((part, pointer), written) in INFO_PARTS.iter().zip(pointers).zip(answer.head.written.iter().skip(1))
    {
        if !written {
            continue;
        }
        let contents = buffers.next().ok_or(Errno::INVAL)?;
        call.write(pointer, &contents)?;
        if let Some(slot) = described.get_mut(part.pointer..part.pointer + 8) {
            slot.copy_from_slice(&pointer.0.to_ne_bytes());
        }
    }
    call.write(to, &described)?;
    call.write(CallerAddress(call.argument(1) + LENGTH as u64), &(described.len() as u32).to_ne_bytes())?;
    Ok(CallOutcome::Value(value))
}
