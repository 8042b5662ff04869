use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::calls::{Call, Stream};
use crate::secrets::{HIDDEN, is_secret};

const MAX_HEADERS: usize = 100;
const MAX_BYTES: usize = 16 * 1024;
const MAX_CONNECTIONS: usize = 1024;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    Request(String, String, Headers),
    Response(u16, String, Headers),
}

pub type Headers = Vec<(String, String)>;

impl Head {
    pub fn to_json(&self) -> Value {
        match self {
            Self::Request(method, target, headers) => {
                json!({ "kind": "request", "method": method, "target": target, "headers": joined(headers) })
            }
            Self::Response(status, reason, headers) => {
                json!({ "kind": "response", "status": status, "reason": reason, "headers": joined(headers) })
            }
        }
    }

    pub fn hide_secrets(&mut self) {
        let (Self::Request(.., headers) | Self::Response(.., headers)) = self;
        for (_, value) in headers.iter_mut().filter(|(name, _)| is_secret(name)) {
            HIDDEN.clone_into(value);
        }
    }

    pub fn line(&self) -> String {
        match self {
            Self::Request(method, target, headers) => {
                let host = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
                format!("{method} {}{target}", host.map_or("", |(_, value)| value))
            }
            Self::Response(status, reason, _) => format!("{status} {reason}"),
        }
    }
}

fn joined(headers: &Headers) -> Value {
    let mut object = Map::new();
    for (name, value) in headers {
        match object.get_mut(&name.to_ascii_lowercase()) {
            Some(Value::String(before)) => {
                before.push_str(", ");
                before.push_str(value);
            }
            _ => drop(object.insert(name.to_ascii_lowercase(), value.as_str().into())),
        }
    }
    Value::Object(object)
}

#[derive(Default)]
pub struct Heads(HashMap<Stream, Vec<u8>>);

impl Heads {
    pub fn take(&mut self, call: &Call) -> Option<Head> {
        let stream = call.stream();
        let mut bytes = self.0.remove(&stream).unwrap_or_default();
        bytes.extend(&call.bytes);
        match parse(&bytes) {
            Parsed::Whole(head) => Some(head),
            Parsed::Partial => {
                // A truncated sample cannot be joined with the data of the next call.
                let goes_on = call.bytes.len() == call.total as usize && bytes.len() <= MAX_BYTES;
                if goes_on && self.0.len() < MAX_CONNECTIONS {
                    self.0.insert(stream, bytes);
                }
                None
            }
            Parsed::Other => None,
        }
    }
}

enum Parsed {
    Whole(Head),
    Partial,
    Other,
}

fn parse(bytes: &[u8]) -> Parsed {
    if bytes.is_empty() {
        return Parsed::Other;
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    if bytes.starts_with(b"HTTP/") || b"HTTP/".starts_with(bytes) {
        let mut response = httparse::Response::new(&mut headers);
        return match response.parse(bytes) {
            Ok(httparse::Status::Partial) => Parsed::Partial,
            Ok(httparse::Status::Complete(_)) => Parsed::Whole(Head::Response(
                response.code.unwrap_or_default(),
                response.reason.unwrap_or_default().to_owned(),
                owned(response.headers),
            )),
            Err(_) => Parsed::Other,
        };
    }
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => Parsed::Whole(Head::Request(
            request.method.unwrap_or_default().to_owned(),
            request.path.unwrap_or_default().to_owned(),
            owned(request.headers),
        )),
        // Without a version the data may not be HTTP: many texts begin like a method.
        Ok(httparse::Status::Partial) if request.version.is_some() => Parsed::Partial,
        _ => Parsed::Other,
    }
}

fn owned(headers: &[httparse::Header<'_>]) -> Headers {
    headers
        .iter()
        .map(|header| (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::piece::{Caller, Direction};

    fn call(bytes: &[u8], total: usize) -> Call {
        Call {
            time: 0,
            caller: Caller { pid: 1, tid: 1, uid: 0, comm: "curl".to_owned(), cgroup: 1 },
            connection: 9,
            direction: Direction::Write,
            total: total as u32,
            bytes: bytes.to_vec(),
        }
    }

    fn whole(bytes: &[u8]) -> Call {
        call(bytes, bytes.len())
    }

    #[test]
    fn heads_are_found_with_a_body_behind_them() {
        let mut heads = Heads::default();
        let request = heads.take(&whole(b"GET /a?b HTTP/1.1\r\nHost: example.com\r\n\r\nbody")).unwrap();
        assert_eq!(request.line(), "GET example.com/a?b");
        let response = heads.take(&whole(b"HTTP/1.1 404 Not Found\r\nA: 1\r\na: 2\r\n\r\n")).unwrap();
        assert_eq!(response.line(), "404 Not Found");
        assert_eq!(response.to_json()["headers"]["a"], "1, 2");
    }

    #[test]
    fn values_of_secret_headers_are_hidden() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: b\r\ncookie: c\r\nAUTHORIZATION: d\r\n\r\n";
        let mut head = Heads::default().take(&whole(text)).unwrap();
        assert_eq!(head.to_json()["headers"]["cookie"], "b, c");
        head.hide_secrets();
        let headers = json!({ "host": "a", "cookie": "(hidden), (hidden)", "authorization": "(hidden)" });
        assert_eq!(head.to_json()["headers"], headers);
    }

    #[test]
    fn a_head_in_two_calls_is_one() {
        let mut heads = Heads::default();
        assert_eq!(heads.take(&whole(b"POST /long HTTP/1.1\r\nHo")), None);
        let head = heads.take(&whole(b"st: example.com\r\n\r\n")).unwrap();
        assert_eq!(head.line(), "POST example.com/long");
        assert!(heads.0.is_empty());
    }

    #[test]
    fn bytes_other_than_a_head_are_dropped() {
        let mut heads = Heads::default();
        for bytes in [&b"\x00\x01\x02"[..], b"PLAINTEXT", b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            assert_eq!(heads.take(&whole(bytes)), None, "{bytes:?}");
        }
        assert_eq!(heads.take(&call(b"GET / HTTP/1.1\r\nHost", 5000)), None, "its end was not sampled");
        assert!(heads.0.is_empty(), "{:?}", heads.0);
    }
}
