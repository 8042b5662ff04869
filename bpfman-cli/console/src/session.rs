//! Session of one browser: a one-time token becomes a cookie and a key of the page.
//!
//! Browsers send a cookie to all ports of a host, and other users' servers may listen there. Therefore each request
//! also carries a key, which the browser keeps for this origin only. The key alone is not enough either: scripts can
//! read it, but not the cookie.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::answer::ConsoleRefusal;

pub const TOKEN_LIVES: Duration = Duration::from_secs(300);

pub const PAGE_KEY_HEADER: &str = "x-bpfman-page";

/// Secret of 256 bits from the kernel, as hexadecimal digits.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn new() -> std::io::Result<Self> {
        let mut bytes = [0_u8; 32];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
        }
        Ok(Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// Compares in constant time.
    pub fn is(&self, other: &str) -> bool {
        let (own, other) = (self.0.as_bytes(), other.as_bytes());
        let differing = own.iter().zip(other).fold(0, |differing, (left, right)| differing | (left ^ right));
        own.len() == other.len() && differing == 0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenState {
    Waiting,
    Used,
}

pub struct PageSession {
    token: Secret,
    cookie: Secret,
    page_key: Secret,
    cookie_name: String,
    since: Instant,
    state: Mutex<TokenState>,
}

impl PageSession {
    /// Creates a session. The cookie's name contains the port, because browsers share cookies between ports.
    pub fn new(port: u16, since: Instant) -> std::io::Result<Self> {
        Ok(Self {
            token: Secret::new()?,
            cookie: Secret::new()?,
            page_key: Secret::new()?,
            cookie_name: format!("bpfman_console_{port}"),
            since,
            state: Mutex::new(TokenState::Waiting),
        })
    }

    pub fn token(&self) -> &str {
        self.token.text()
    }

    pub fn begin(&self, token: &str, now: Instant) -> Result<(HeaderValue, &str), ConsoleRefusal> {
        let again = "end the command that printed it, and start it again";
        if !self.token.is(token) {
            return Err(ConsoleRefusal::new(
                StatusCode::FORBIDDEN,
                "denied",
                "this is not the token of this console",
            )
            .with_hint(again));
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == TokenState::Used {
            return Err(ConsoleRefusal::new(
                StatusCode::FORBIDDEN,
                "token-used",
                "this address has been opened already, and works once",
            )
            .with_hint(format!("if it was not you who opened it, {again}: that ends the other session")));
        }
        if now.duration_since(self.since) > TOKEN_LIVES {
            let minutes = TOKEN_LIVES.as_secs() / 60;
            let message = format!("this address has expired: it was to be opened within {minutes} minutes");
            return Err(ConsoleRefusal::new(StatusCode::FORBIDDEN, "token-expired", message).with_hint(again));
        }
        *state = TokenState::Used;
        let cookie =
            format!("{}={}; HttpOnly; SameSite=Strict; Path=/", self.cookie_name, self.cookie.text());
        let cookie =
            HeaderValue::from_str(&cookie).map_err(|error| ConsoleRefusal::internal(error.to_string()))?;
        Ok((cookie, self.page_key.text()))
    }

    pub fn check(&self, headers: &HeaderMap) -> Result<(), ConsoleRefusal> {
        let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        let mut own = cookies.flat_map(|line| line.split(';')).filter_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name == self.cookie_name).then_some(value)
        });
        let has_cookie = own.any(|value| self.cookie.is(value));
        let key = headers.get(PAGE_KEY_HEADER).and_then(|value| value.to_str().ok());
        if has_cookie && key.is_some_and(|key| self.page_key.is(key)) {
            return Ok(());
        }
        Err(ConsoleRefusal::new(
            StatusCode::UNAUTHORIZED,
            "no-session",
            "this browser has no session of this console",
        )
        .with_hint("open the address that the command printed; it works once, in one browser"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn session() -> (PageSession, Instant) {
        let now = Instant::now();
        (PageSession::new(4000, now).unwrap(), now)
    }

    fn headers(cookie: &str, key: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, cookie.parse().unwrap());
        headers.insert(PAGE_KEY_HEADER, key.parse().unwrap());
        headers
    }

    #[test]
    fn a_token_makes_one_session() {
        let (session, now) = session();
        let token = session.token().to_owned();
        assert_eq!(session.begin("another", now).unwrap_err().reason, "denied");
        let (cookie, key) = session.begin(&token, now).unwrap();
        let cookie = cookie.to_str().unwrap().to_owned();
        assert!(cookie.ends_with("; HttpOnly; SameSite=Strict; Path=/"), "{cookie}");
        let pair = cookie.split(';').next().unwrap();
        session.check(&headers(&format!("other=1; {pair}"), key)).unwrap();
        assert_eq!(session.begin(&token, now).unwrap_err().reason, "token-used");
        assert!(session.check(&headers(pair, "")).is_err());
        assert!(session.check(&headers("bpfman_console_4000=", key)).is_err());
        assert!(session.check(&headers(&pair.replace("4000", "4001"), key)).is_err());
    }

    #[test]
    fn a_token_that_waited_too_long_makes_none() {
        let (session, now) = session();
        let token = session.token().to_owned();
        let late = now + TOKEN_LIVES + Duration::from_secs(1);
        assert_eq!(session.begin(&token, late).unwrap_err().reason, "token-expired");
        session.begin(&token, now + TOKEN_LIVES).unwrap();
    }

    #[test]
    fn secrets_differ_and_are_compared_whole() {
        let secret = Secret::new().unwrap();
        assert_ne!(secret.text(), Secret::new().unwrap().text());
        assert_eq!(secret.text().len(), 64);
        assert!(secret.is(secret.text()) && !secret.is("") && !secret.is(&secret.text()[1..]));
    }
}
