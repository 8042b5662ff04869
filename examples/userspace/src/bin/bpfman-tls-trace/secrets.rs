//! Headers with credentials. Their values are hidden by default.

use std::collections::HashMap;

use crate::calls::{Call, Stream};

const NAMES: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "set-cookie"];
const MAX_NAME: usize = "proxy-authorization:".len();
const MAX_STREAMS: usize = 1024;
pub const HIDDEN: &str = "(hidden)";

pub fn is_secret(name: &str) -> bool {
    NAMES.iter().any(|secret| name.eq_ignore_ascii_case(secret))
}

/// Hides values in text, even if a header is split over several calls.
#[derive(Default)]
pub struct Secrets(HashMap<Stream, Line>);

impl Secrets {
    pub fn hide(&mut self, call: &Call) -> Vec<u8> {
        let stream = call.stream();
        let mut line = self.0.remove(&stream).unwrap_or_default();
        let mut text = Vec::with_capacity(call.bytes.len());
        for part in call.bytes.split_inclusive(|byte| *byte == b'\n') {
            line.take(part, &mut text);
        }
        // A truncated sample does not show in which line it would have ended.
        let is_whole = call.bytes.len() == call.total as usize;
        if is_whole && line.matters() && self.0.len() < MAX_STREAMS {
            self.0.insert(stream, line);
        }
        text
    }
}

#[derive(Default)]
struct Line {
    head: Vec<u8>,
    is_secret: bool,
    /// The previous line was hidden: it continues in this one after a space or tab.
    after_secret: bool,
}

impl Line {
    fn take(&mut self, part: &[u8], text: &mut Vec<u8>) {
        let known = self.head.len();
        self.head.extend(part.iter().take(MAX_NAME - known));
        let mut shown = 0;
        if known == 0 && self.after_secret && matches!(part[0], b' ' | b'\t') {
            self.is_secret = true;
        } else if !self.is_secret {
            shown = part.len();
            if let Some(colon) = self.secret_colon() {
                self.is_secret = true;
                shown = (colon + 1).saturating_sub(known);
            }
        }
        let (name, value) = part.split_at(shown);
        text.extend(name);
        if value.trim_ascii().is_empty() {
            text.extend(value);
        } else {
            text.extend(if name.is_empty() { b"".as_slice() } else { b" " });
            text.extend(HIDDEN.as_bytes());
            text.extend(&value[value.trim_ascii_end().len()..]);
        }
        if part.ends_with(b"\n") {
            *self = Self { after_secret: self.is_secret, ..Self::default() };
        }
    }

    fn secret_colon(&self) -> Option<usize> {
        let colon = self.head.iter().position(|byte| *byte == b':')?;
        str::from_utf8(&self.head[..colon]).is_ok_and(is_secret).then_some(colon)
    }

    fn matters(&self) -> bool {
        let begins = |name: &str| {
            name.as_bytes().get(..self.head.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(&self.head))
        };
        self.is_secret || self.after_secret || (!self.head.is_empty() && NAMES.into_iter().any(begins))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::piece::{Caller, Direction};

    fn call(bytes: &[u8], total: usize) -> Call {
        let caller = Caller { pid: 1, tid: 1, uid: 0, comm: "curl".to_owned(), cgroup: 1 };
        let (bytes, total) = (bytes.to_vec(), total as u32);
        Call { time: 0, caller, connection: 9, direction: Direction::Write, total, bytes }
    }

    fn hidden(secrets: &mut Secrets, text: &str) -> String {
        String::from_utf8(secrets.hide(&call(text.as_bytes(), text.len()))).unwrap()
    }

    #[test]
    fn values_of_such_headers_are_hidden_and_all_else_is_not() {
        let mut secrets = Secrets::default();
        let text = "GET /a HTTP/1.1\r\nauthorization: Basic c2VjcmV0\r\nX-Cookie: a\r\nCOOKIE:b=c\r\nHost: d\r\n\r\nbody";
        let shown = "GET /a HTTP/1.1\r\nauthorization: (hidden)\r\nX-Cookie: a\r\nCOOKIE: (hidden)\r\nHost: d\r\n\r\nbody";
        assert_eq!(hidden(&mut secrets, text), shown);
        assert!(secrets.0.is_empty());
        let folded = "Set-Cookie: a\r\n b\r\n\tc\r\nServer: d\r\n e\r\n";
        assert_eq!(
            hidden(&mut secrets, folded),
            "Set-Cookie: (hidden)\r\n(hidden)\r\n(hidden)\r\nServer: d\r\n e\r\n"
        );
    }

    #[test]
    fn headers_that_come_in_several_calls_are_hidden() {
        let text = "HTTP/1.1 200 OK\r\nProxy-Authorization: s3cr3t\r\n f0ld3d\r\nServer: here\r\n\r\n";
        for first in 0..text.len() {
            for second in first..text.len() {
                let mut secrets = Secrets::default();
                let parts = [&text[..first], &text[first..second], &text[second..]];
                let shown: String = parts.into_iter().map(|part| hidden(&mut secrets, part)).collect();
                assert!(
                    !shown.contains(['3', '0']) || shown.replace("200", "").find(['3', '0']).is_none(),
                    "{shown}"
                );
                assert!(shown.ends_with("\r\nServer: here\r\n\r\n"), "{first}, {second}: {shown}");
            }
        }
    }

    #[test]
    fn nothing_is_kept_of_a_sample_that_was_cut() {
        let mut secrets = Secrets::default();
        let text = secrets.hide(&call(b"Cookie: a", 5000));
        assert_eq!(text, b"Cookie: (hidden)");
        assert!(secrets.0.is_empty());
    }
}
