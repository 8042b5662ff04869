//! Time of the API server, which all controllers of a cluster share.
//!
//! A soak may begin with one controller and end with another, on a machine with a different clock. Each
//! response of the API server has a time (`Date`, in whole seconds), late by its transmission: of recent
//! responses, the latest time is the most accurate. The machine's clock is used only before the first
//! response.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::Response;
use hyper::header::{DATE, HeaderMap};
use k8s_openapi::jiff::fmt::rfc2822::DateTimeParser;
use tower::util::MapResponseLayer;

use crate::rollout::UnixSeconds;

/// Window of measurements. The maximum over two windows is used: a server clock that was set back is followed
/// after both.
const WINDOW: Duration = Duration::from_secs(60);

/// Clock of the API server, estimated from its responses.
#[derive(Clone, Debug)]
pub struct ServerClock(Arc<Mutex<ClockEstimate>>);

#[derive(Debug)]
struct ClockEstimate {
    zero: Instant,
    begun: Instant,
    latest: Option<i64>,
    latest_before: Option<i64>,
}

impl Default for ServerClock {
    fn default() -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(ClockEstimate { zero: now, begun: now, latest: None, latest_before: None })))
    }
}

impl ServerClock {
    /// Returns a layer that observes the responses which a client receives.
    pub fn listening<B>(
        &self,
    ) -> MapResponseLayer<impl Fn(Response<B>) -> Response<B> + Clone + Send + Sync + use<B>> {
        let clock = self.clone();
        MapResponseLayer::new(move |answer: Response<B>| {
            if let Some(date) = date(answer.headers()) {
                clock.observe(date, Instant::now());
            }
            answer
        })
    }

    /// Returns the server's time at a moment of this process.
    #[must_use]
    pub fn at(&self, now: Instant) -> UnixSeconds {
        let observed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match observed.latest.max(observed.latest_before) {
            Some(at_zero) => UnixSeconds(at_zero.saturating_add(millis(observed.zero, now)).div_euclid(1000)),
            None => UnixSeconds::now(),
        }
    }

    fn observe(&self, date: UnixSeconds, now: Instant) {
        let mut observed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(observed.begun) >= WINDOW {
            observed.latest_before = observed.latest.take();
            observed.begun = now;
        }
        let at_zero = date.0.saturating_mul(1000).saturating_sub(millis(observed.zero, now));
        observed.latest = observed.latest.max(Some(at_zero));
    }
}

fn millis(from: Instant, to: Instant) -> i64 {
    i64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(i64::MAX)
}

fn date(headers: &HeaderMap) -> Option<UnixSeconds> {
    let text = headers.get(DATE)?.to_str().ok()?;
    Some(UnixSeconds(DateTimeParser::new().parse_timestamp(text).ok()?.as_second()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::convert::Infallible;

    use hyper::Request;
    use tower::{Layer as _, Service as _};

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn before_the_first_answer_it_is_what_this_machine_says() {
        let before = UnixSeconds::now();
        let now = ServerClock::default().at(Instant::now());
        assert!((before..=UnixSeconds::now()).contains(&now));
    }

    #[tokio::test]
    async fn answers_say_what_time_it_is() {
        let server = tower::service_fn(|date: Request<&'static str>| async move {
            Ok::<_, Infallible>(Response::builder().header(DATE, *date.body()).body(()).unwrap())
        });
        let clock = ServerClock::default();
        let mut client = clock.listening::<()>().layer(server);
        let _answer = client.call(Request::new("Tue, 14 Nov 2023 22:13:20 GMT")).await.unwrap();
        let told = 1_700_000_000..1_700_000_060;
        assert!(told.contains(&clock.at(Instant::now()).0));
        for nonsense in ["", "yesterday", "Tue, 14 Nov 2523 22:13:20", "9999999999"] {
            let _answer = client.call(Request::new(nonsense)).await.unwrap();
            assert!(told.contains(&clock.at(Instant::now()).0), "{nonsense}");
        }
    }

    #[test]
    fn fastest_answer_counts_and_a_clock_set_back_is_accepted_later() {
        let clock = ServerClock::default();
        let zero = Instant::now();
        clock.observe(UnixSeconds(1_000), zero);
        assert_eq!(clock.at(zero + seconds(5)), UnixSeconds(1_005));
        clock.observe(UnixSeconds(1_001), zero + seconds(10));
        assert_eq!(clock.at(zero + seconds(10)), UnixSeconds(1_010));
        clock.observe(UnixSeconds(2_000), zero + seconds(20));
        assert_eq!(clock.at(zero + seconds(30)), UnixSeconds(2_010));
        for (second, wanted) in [(61, 2_041), (100, 2_080), (122, 522), (200, 600)] {
            clock.observe(UnixSeconds(400 + i64::try_from(second).unwrap()), zero + seconds(second));
            assert_eq!(clock.at(zero + seconds(second)), UnixSeconds(wanted), "{second}");
        }
    }
}
