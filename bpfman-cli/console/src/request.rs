//! A request as a source sees it: who may ask has been decided.

use bytes::Bytes;
use http::Method;
use percent_encoding::percent_decode_str;

/// A request below `/api/`.
#[derive(Clone, Debug)]
pub struct ConsoleRequest {
    /// `GET`, or `POST` with a body.
    pub method: Method,
    /// What stands behind `/api/`, as it was sent.
    pub path: String,
    /// What stands behind `?`, as it was sent.
    pub query: String,
    /// What was sent along, at most 4 KiB.
    pub body: Bytes,
}

impl ConsoleRequest {
    /// The parts of the path, decoded. None where one is no text.
    #[must_use]
    pub fn parts(&self) -> Option<Vec<String>> {
        self.path.split('/').map(decoded).collect()
    }

    /// What a name stands for in the query; none where it is not there, is empty, or is no text.
    #[must_use]
    pub fn asked(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        let mut values = pairs.filter(|(key, _)| *key == name).filter_map(|(_, value)| decoded(value));
        values.next().filter(|value| !value.is_empty())
    }
}

fn decoded(text: &str) -> Option<String> {
    // Forms write a blank as a plus; a plus itself is written out.
    let blanks = text.replace('+', " ");
    percent_decode_str(&blanks).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_hooks_arrive_as_they_are() {
        let request = ConsoleRequest {
            method: Method::GET,
            path: "programs/7".to_owned(),
            query: "hook=xdp%3Aeth0%40%2Frun%2Fnetns%2Fa+b%2Bc&all=&wrong=%ff".to_owned(),
            body: Bytes::new(),
        };
        assert_eq!(request.asked("hook").as_deref(), Some("xdp:eth0@/run/netns/a b+c"));
        assert_eq!((request.asked("all"), request.asked("wrong"), request.asked("none")), (None, None, None));
        assert_eq!(request.parts(), Some(vec!["programs".to_owned(), "7".to_owned()]));
    }
}
