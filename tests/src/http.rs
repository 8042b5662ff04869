//! HTTP/1.1 requests that are sent exactly as given, including invalid ones.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::wait::DEADLINE;

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

#[must_use]
pub fn request(address: SocketAddr, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    exchange(TcpStream::connect(address).unwrap(), line, headers, body)
}

#[must_use]
pub fn request_in(
    netns: Option<&Path>,
    address: SocketAddr,
    line: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let Some(netns) = netns else { return request(address, line, headers, body) };
    let file = File::open(netns).unwrap();
    // A socket stays in the namespace in which it was created, whichever thread uses it.
    let connected = std::thread::spawn(move || {
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        TcpStream::connect(address).unwrap()
    });
    exchange(connected.join().unwrap(), line, headers, body)
}

fn exchange(mut stream: TcpStream, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut text = format!("{line} HTTP/1.1\r\nconnection: close\r\n");
    if !body.is_empty() {
        text.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    // A server that refuses early may have closed the connection already; its response can still be read.
    let _refused = stream.write_all(format!("{text}\r\n{body}").as_bytes());
    let (mut all, mut piece) = (Vec::new(), [0; 16 * 1024]);
    // Some servers ignore `connection: close`, so stop at the declared length.
    while !is_whole(&all)
        && let Ok(length @ 1..) = stream.read(&mut piece)
    {
        all.extend_from_slice(&piece[..length]);
    }
    let end = end_of_head(&all).unwrap_or(all.len());
    let head = String::from_utf8_lossy(&all[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let head = head.lines().map(|line| match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}\n", name.to_lowercase()),
        None => format!("{line}\n"),
    });
    Answer { status, head: head.collect(), body: all.get(end + 4..).unwrap_or_default().to_vec() }
}

fn end_of_head(all: &[u8]) -> Option<usize> {
    all.windows(4).position(|window| window == b"\r\n\r\n")
}

fn is_whole(all: &[u8]) -> bool {
    let Some(end) = end_of_head(all) else { return false };
    let head = String::from_utf8_lossy(&all[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    length
        .and_then(|length| length.trim().parse::<usize>().ok())
        .is_some_and(|length| all.len() >= end + 4 + length)
}
