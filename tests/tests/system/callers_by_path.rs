//! Clients of other languages call a unix socket by its path.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use bpfman_tests::Daemon;
use bpfman_tests::wait::DEADLINE;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, flags];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

/// Encodes a field that is not added to the table (RFC 7541, 6.2.2), with its name by index.
fn field(name: u8, value: &str) -> Vec<u8> {
    // Indexes from 15 on need a second byte.
    let mut field = if name < 15 { vec![name] } else { vec![15, name - 15] };
    field.push(u8::try_from(value.len()).unwrap());
    field.extend(value.as_bytes());
    field
}

fn answered(daemon: &Daemon, authority: &str, is_spelled_out: bool) -> u8 {
    let mut socket = UnixStream::connect(daemon.socket()).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    // :method POST and :scheme http by their indexes; content-type is 31, and `te` has none.
    let headers = [
        vec![0x83, 0x86],
        field(4, "/bpfman.v1.Bpfman/List"),
        if is_spelled_out {
            // Added to the table with its name, as gRPC's C core does.
            let length = u8::try_from(authority.len()).unwrap();
            [b"\x40\x0a:authority", &[length][..], authority.as_bytes()].concat()
        } else {
            field(1, authority)
        },
        field(31, "application/grpc"),
        b"\x00\x02te\x08trailers".to_vec(),
    ];
    let request = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, END_HEADERS, 1, &headers.concat()),
        frame(DATA, END_STREAM, 1, &[0; 5]),
    ];
    socket.write_all(&request.concat()).unwrap();
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        socket.read_exact(&mut vec![0; length as usize]).unwrap();
        let stream = u32::from_be_bytes(head[5..].try_into().unwrap());
        if stream == 1 {
            return head[3];
        }
    }
}

#[test]
fn a_client_that_calls_the_socket_by_its_path_is_answered() {
    let daemon = Daemon::start();
    let path = daemon.socket().display().to_string();
    for authority in
        ["localhost", &path.trim_start_matches('/').replace('/', "%2F"), &path.replace('/', "%2F"), &path]
    {
        for is_spelled_out in [false, true] {
            let kind = answered(&daemon, authority, is_spelled_out);
            assert_ne!(kind, RST_STREAM, "{authority}");
            assert_eq!(kind, HEADERS, "{authority}");
        }
    }
}
