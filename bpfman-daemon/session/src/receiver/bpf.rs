//! bpf(2): copies of what an attribute points to, and what the kernel wrote back.

use bpfmand_calls::{
    AttrLayout, CallAttr, CallRequest, CodeReference, Errno, Field, FieldKind, FieldValue, MAX_BUFFER,
    command, descriptor_count, layout, needs_namespace, references,
};

use super::DaemonAccess;
use super::call::{CallOutcome, CallerAddress, WaitingCall};
use super::info;

/// Maximum size of an attribute, in bytes, as in the kernel.
const MAX_SIZE: u64 = 4096;
const MAX_PATH: usize = 4096;
/// Maximum size of the name of a function, in bytes.
const MAX_NAME: usize = 512;
const DESCRIPTOR_COUNT: usize = 148;
/// `BPF_TOKEN_CREATE`: libraries continue without a token.
const TOKEN_CREATE: u32 = 36;

/// Fields of a call, with what they point to in the caller.
#[derive(Default)]
struct Copied {
    values: Vec<FieldValue>,
    buffers: Vec<Vec<u8>>,
    /// Addresses of the buffers that the kernel writes.
    outputs: Vec<Option<CallerAddress>>,
    used: Vec<CodeReference>,
}

pub fn serve(call: &mut WaitingCall<'_>, daemon: &mut DaemonAccess<'_>) -> Result<CallOutcome, Errno> {
    let (number, size) = (call.argument(0) as u32, call.argument(2) as u32);
    if u64::from(size) > MAX_SIZE {
        return Err(Errno::TOO_BIG);
    }
    let given = call.read(CallerAddress(call.argument(1)), size.into())?;
    if number == command::OBJ_GET_INFO_BY_FD {
        return info::serve(call, &given, daemon);
    }
    let Some(layout) = layout(number) else {
        return Err(if number == TOKEN_CREATE { Errno::PERM } else { Errno::INVAL });
    };
    let mut attr = CallAttr::copy(&given, layout.known)?;
    let mut copied = Copied { buffers: vec![Vec::new()], ..Copied::default() };
    for field in layout.fields(&mut attr)? {
        let value = copy(call, &mut attr, field, &mut copied)?;
        copied.values.push(value);
    }
    copied.buffers[0] = attr.bytes().to_vec();
    if number == command::TASK_FD_QUERY {
        call.check_process_namespace()?;
    }
    let netns = needs_namespace(number, &attr).then(|| call.pass_netns()).transpose()?;
    call.check_waiting()?;
    let request = CallRequest::Bpf { command: number, fields: copied.values, netns };
    // Other calls change something that stays if the daemon ends.
    let may_repeat = layout.returns.is_some() || !layout.written.is_empty();
    let answer = daemon.ask(call, &request, may_repeat, &copied.buffers)?;
    let mut buffers = answer.buffers.into_iter();
    let mut written = answer.head.written.into_iter();
    if written.next() == Some(true) {
        let after = buffers.next().ok_or(Errno::INVAL)?;
        write_attribute(call, layout, &after, size as usize)?;
    }
    for (output, written) in copied.outputs.into_iter().zip(written) {
        if written {
            let contents = buffers.next().ok_or(Errno::INVAL)?;
            call.write(output.ok_or(Errno::INVAL)?, &contents)?;
        }
    }
    let value = answer.head.result?;
    match (layout.returns, answer.descriptors.into_iter().next()) {
        (Some(_), Some(descriptor)) => call.give(&descriptor, true, None),
        (Some(_), None) => Err(Errno::INVAL),
        (None, _) => Ok(CallOutcome::Value(value)),
    }
}

fn write_attribute(
    call: &WaitingCall<'_>,
    layout: &AttrLayout,
    after: &[u8],
    size: usize,
) -> Result<(), Errno> {
    for (from, to) in layout.written {
        // As the kernel does: not behind the end of the caller's structure.
        if *to <= size {
            let bytes = after.get(*from..*to).ok_or(Errno::INVAL)?;
            call.write(CallerAddress(call.argument(1) + *from as u64), bytes)?;
        }
    }
    Ok(())
}

fn copy(
    call: &mut WaitingCall<'_>,
    attr: &mut CallAttr,
    Field { at, kind }: Field,
    copied: &mut Copied,
) -> Result<FieldValue, Errno> {
    if kind == FieldKind::Descriptor {
        let number = attr.word(at).cast_signed();
        // Replace the descriptor by a number other than zero, which would mean "none" in some fields.
        attr.set_word(at, 1);
        return call.pass_descriptor(number).map(FieldValue::Descriptor);
    }
    let from = CallerAddress(attr.long(at));
    attr.set_long(at, 0);
    if let FieldKind::Output(_) = kind {
        let output = (from.0 != 0).then_some(from);
        copied.outputs.push(output);
        return Ok(output.map_or(FieldValue::Absent, |_| FieldValue::Room));
    }
    if from.0 == 0 {
        return Ok(FieldValue::Absent);
    }
    let bytes = match kind {
        FieldKind::Descriptor | FieldKind::Output(_) => return Err(Errno::INVAL),
        FieldKind::Input(length) => call.read(from, length)?,
        FieldKind::Text(most) => call.read_text(from, most)?,
        FieldKind::TextList(count) => texts(call, from, count)?,
        FieldKind::File => {
            let path = call.read_text(from, MAX_PATH)?;
            return call.pass_file(&path).map(FieldValue::Descriptor);
        }
        FieldKind::Code(length) => code(call, from, length, copied)?,
        FieldKind::CodeDescriptors => return code_descriptors(call, from, attr, &copied.used),
        FieldKind::IteratorTarget(length) => {
            let target = call.read(from, length)?;
            let descriptor = target_descriptor(call, &target);
            copied.buffers.push(target);
            let buffer = copied.buffers.len() - 1;
            return Ok(match descriptor {
                Some((at, descriptor)) => FieldValue::BufferWith { buffer, descriptor, at },
                None => FieldValue::Buffer(buffer),
            });
        }
    };
    copied.buffers.push(bytes);
    Ok(FieldValue::Buffer(copied.buffers.len() - 1))
}

fn texts(call: &WaitingCall<'_>, from: CallerAddress, count: u64) -> Result<Vec<u8>, Errno> {
    let pointers = call.read(from, count * 8)?;
    let mut joined = Vec::new();
    for (place, pointer) in pointers.chunks_exact(8).enumerate() {
        let mut address = [0; 8];
        address.copy_from_slice(pointer);
        if place > 0 {
            joined.push(0);
        }
        joined.extend(call.read_text(CallerAddress(u64::from_ne_bytes(address)), MAX_NAME)?);
        if joined.len() as u64 > MAX_BUFFER {
            return Err(Errno::TOO_BIG);
        }
    }
    Ok(joined)
}

/// Returns instructions in which each descriptor is its position among those passed on.
fn code(
    call: &mut WaitingCall<'_>,
    from: CallerAddress,
    length: u64,
    copied: &mut Copied,
) -> Result<Vec<u8>, Errno> {
    let mut code = call.read(from, length)?;
    copied.used = references(&code)?;
    for reference in &copied.used {
        if let CodeReference::Number(place) = reference {
            let slot = &mut code[*place..place + 4];
            let number = i32::from_ne_bytes([slot[0], slot[1], slot[2], slot[3]]);
            let at = i32::try_from(call.pass_descriptor(number)?).map_err(|_| Errno::TOO_BIG)?;
            slot.copy_from_slice(&at.to_ne_bytes());
        }
    }
    Ok(code)
}

fn code_descriptors(
    call: &mut WaitingCall<'_>,
    from: CallerAddress,
    attr: &CallAttr,
    used: &[CodeReference],
) -> Result<FieldValue, Errno> {
    let counted = attr.word(DESCRIPTOR_COUNT) as usize;
    let count = descriptor_count(used, attr.word(DESCRIPTOR_COUNT))?;
    let list = call.read(from, count as u64 * 4)?;
    let numbers =
        list.chunks_exact(4).map(|bytes| i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    let mut passed = Vec::new();
    for (place, number) in numbers.enumerate() {
        // Libraries leave entries unused; those that are counted have to be descriptors.
        passed.push(match call.pass_descriptor(number) {
            Ok(at) if number > 0 || place < counted => Some(at),
            Err(error) if place < counted => return Err(error),
            _ => None,
        });
    }
    Ok(FieldValue::Descriptors(passed))
}

/// Returns the offset of the descriptor in the target of an iterator, and its position among those passed on. Only the
/// program determines which of the structure's forms it has: a map stands first and alone, a cgroup second.
fn target_descriptor(call: &mut WaitingCall<'_>, target: &[u8]) -> Option<(usize, usize)> {
    let word = |at: usize| {
        let bytes = target.get(at..at + 4)?;
        Some(i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    };
    let link = |call: &WaitingCall<'_>, at: usize| {
        let number = std::os::fd::AsRawFd::as_raw_fd(&call.passed()[at]);
        std::fs::read_link(format!("/proc/self/fd/{number}")).ok()
    };
    let (first, second) = (word(0)?, word(4).unwrap_or_default());
    if second == 0 && first > 0 {
        let at = call.pass_descriptor(first).ok()?;
        let is_map = link(call, at).is_some_and(|link| link.as_os_str() == "anon_inode:bpf-map");
        return is_map.then_some((0, at));
    }
    if second > 0 {
        let at = call.pass_descriptor(second).ok()?;
        let is_folder = link(call, at).is_some_and(|link| link.is_absolute());
        return is_folder.then_some((4, at));
    }
    None
}
