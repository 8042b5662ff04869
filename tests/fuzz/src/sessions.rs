//! Calls of a command under `bpfman run-as`: attributes, instructions, messages for routes, and requests of a receiver.

use bpfmand_calls::{
    CallAttr, CallRequest, CodeReference, FieldKind, Head, MAX_BUFFER, layout, references, route_requests,
};
use bpfmand_kernel::linux::fuzzing::{session_call, session_event};

/// Reads input as a type that its first byte selects. Panics if a descriptor or pointer that is filled in is
/// outside of the bytes, if a buffer is too long, or if receiver and daemon find different fields.
pub fn run(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind % 5 {
        0 => attribute(rest),
        1 => code(rest),
        2 => message(rest),
        3 => {
            let _refused = Head::<CallRequest>::parse(rest, 0);
        }
        _ => request(rest),
    }
}

fn attribute(bytes: &[u8]) {
    let Some((command, rest)) = bytes.split_first() else { return };
    let Some(layout) = layout((*command).into()) else { return };
    let Ok(mut attr) = CallAttr::copy(rest, layout.known) else { return };
    let Ok(fields) = layout.fields(&mut attr) else { return };
    for field in &fields {
        let width = if field.kind.is_pointer() { 8 } else { 4 };
        assert!(field.at + width <= layout.known, "{field:?}");
        if let FieldKind::Input(length) | FieldKind::Output(length) | FieldKind::Code(length) = field.kind {
            assert!(length <= MAX_BUFFER, "{field:?}");
        }
    }
    let again = CallAttr::copy(attr.bytes(), layout.known).and_then(|mut attr| layout.fields(&mut attr));
    assert_eq!(again, Ok(fields), "the daemon reads what the receiver read");
}

/// Reads a request with its buffers, as the daemon does, up to the call itself. Two bytes are the length of the head.
fn request(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return };
    let Some((head, mut rest)) = rest.split_at_checked(u16::from_le_bytes(*length).into()) else { return };
    let Ok(Head { head: request, buffers: lengths }) = Head::<CallRequest>::parse(head, rest.len()) else {
        return;
    };
    let mut buffers = Vec::new();
    for length in lengths {
        let (buffer, others) = rest.split_at(length);
        buffers.push(buffer.to_vec());
        rest = others;
    }
    let Some(attr) = buffers.first() else { return };
    match request {
        CallRequest::Bpf { command, fields, .. } => session_call(command, attr, &fields, &buffers),
        CallRequest::PerfEvent(event) => {
            let Some((attr, text)) = session_event(attr, &event) else { return };
            assert_eq!(word(&attr, 4), attr.len() as u64, "the size");
            if matches!(word(&attr, 0), 8 | 9) {
                assert_eq!(
                    word(&attr, 56) | word(&attr, 60) << 32,
                    text,
                    "a probe points to the daemon's text alone"
                );
            }
        }
        _ => {}
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]).into()
}

fn code(code: &[u8]) {
    for reference in references(code).unwrap_or_default() {
        if let CodeReference::Number(place) = reference {
            assert!(place % 8 == 4 && place + 4 <= code.len(), "{reference:?}");
        }
    }
}

fn message(message: &[u8]) {
    for request in route_requests(message).unwrap_or_default() {
        assert!(request.descriptors.iter().all(|place| place + 4 <= message.len()), "{request:?}");
        assert!(request.attaches.is_none_or(|place| request.descriptors.contains(&place)), "{request:?}");
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for command in 0..40 {
        let known = layout(command).map_or(64, |layout| layout.known);
        let mut attr = vec![0, command as u8];
        attr.resize(2 + known.max(8), 0);
        attr[2] = 6;
        attr[6] = 2;
        seeds.push(attr);
    }
    let instruction = |code: u8, registers: u8| [code, registers, 0, 0, 3, 0, 0, 0];
    seeds.push([&[1][..], &instruction(0x18, 0x11), &[0; 8], &instruction(0x85, 0x20)].concat());
    let xdp = [&[12, 0, 43, 0x80, 8, 0, 1, 0][..], &7_i32.to_ne_bytes()].concat();
    let mut link = vec![0_u8; 16];
    link[4] = 1;
    let header = [&44_u32.to_ne_bytes()[..], &19_u16.to_ne_bytes(), &5_u16.to_ne_bytes(), &[0; 8]].concat();
    seeds.push([&[2][..], &header, &link, &xdp].concat());
    seeds.push(
        [&[3][..], br#"{"head":{"Bpf":{"command":5,"fields":["Room"],"netns":null}},"buffers":[]}"#].concat(),
    );
    let head = br#"{"head":{"Bpf":{"command":5,"fields":[{"Buffer":1},"Absent",{"Buffer":2},"Absent","Absent","Absent","Room"],"netns":null}},"buffers":[120,16,3]}"#;
    let mut attr = vec![0; 120];
    (attr[0], attr[4], attr[28]) = (6, 2, 64);
    let code = [instruction(0xb7, 0), instruction(0x95, 0)].concat();
    seeds.push([&[4][..], &(head.len() as u16).to_le_bytes(), head, &attr, &code, b"GPL"].concat());
    let head = br#"{"head":{"Bpf":{"command":0,"fields":[{"Descriptor":0}],"netns":null}},"buffers":[24]}"#;
    let mut attr = vec![0; 24];
    attr[0] = 12;
    seeds.push([&[4][..], &(head.len() as u16).to_le_bytes(), head, &attr].concat());
    let head = br#"{"head":{"PerfEvent":{"process":{"One":7},"cpu":-1,"flags":0,"group":0,"probe":{"Function":"f"}}},"buffers":[136]}"#;
    let mut attr = vec![0; 136];
    (attr[0], attr[4], attr[56]) = (8, 136, 255);
    seeds.push([&[4][..], &(head.len() as u16).to_le_bytes(), head, &attr].concat());
    seeds
}
