//! Authorized requests, as a source receives them.

use bytes::Bytes;
use http::Method;
use percent_encoding::percent_decode_str;

#[derive(Clone, Debug)]
pub struct ConsoleRequest {
    /// `GET`, or `POST` with a body.
    pub method: Method,
    /// Path after `/api/`, encoded as received.
    pub path: String,
    /// Query after `?`, encoded as received.
    pub query: String,
    /// Body, at most 4 KiB.
    pub body: Bytes,
}

impl ConsoleRequest {
    /// Returns the decoded parts of the path; none if one is not UTF-8.
    #[must_use]
    pub fn parts(&self) -> Option<Vec<String>> {
        self.path.split('/').map(decoded).collect()
    }

    /// Returns the decoded value of a name in the query; none if it is absent, empty, or not UTF-8.
    #[must_use]
    pub fn asked(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        let mut values = pairs.filter(|(key, _)| *key == name).filter_map(|(_, value)| decoded(value));
        values.next().filter(|value| !value.is_empty())
    }
}

fn decoded(text: &str) -> Option<String> {
    // Forms encode a space as a plus sign, and a plus sign as an escape.
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
