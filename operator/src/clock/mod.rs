//! What time it is for all controllers of a cluster: the API server's time.
//!
//! A soak and a deadline begin with one controller and may end with another, on a machine whose clock says something
//! else: it would end them early, or late, by the difference. Each answer of the API server says when it was given
//! (`Date`, RFC 9110 section 6.6.1, in whole seconds), and lies back as long as it was on its way. The latest time that
//! the last answers give is the nearest. This machine's own clock counts only before the first answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hyper::Response;
use hyper::header::{DATE, HeaderMap};
use k8s_openapi::jiff::fmt::rfc2822::DateTimeParser;
use tower::util::MapResponseLayer;

use crate::rollout::Moment;

/// Answers are compared with those of one such time, and of the one before: a server whose clock was put back is believed
/// after two.
const WINDOW: Duration = Duration::from_secs(60);

/// The API server's clock, as its answers tell it.
#[derive(Clone, Debug)]
pub struct ServerClock(Arc<Mutex<Heard>>);

/// Moments are those at `zero`, in milliseconds since 1970: what this machine's clock says, or is put to, is no part of
/// them.
#[derive(Debug)]
struct Heard {
    zero: Instant,
    begun: Instant,
    latest: Option<i64>,
    latest_before: Option<i64>,
}

impl Default for ServerClock {
    fn default() -> Self {
        let now = Instant::now();
        Self(Arc::new(Mutex::new(Heard { zero: now, begun: now, latest: None, latest_before: None })))
    }
}

impl ServerClock {
    /// Hears the answers that a client is given.
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

    /// What time it was at a moment of this process.
    #[must_use]
    pub fn at(&self, now: Instant) -> Moment {
        let observed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match observed.latest.max(observed.latest_before) {
            Some(at_zero) => Moment(at_zero.saturating_add(millis(observed.zero, now)).div_euclid(1000)),
            None => Moment::now(),
        }
    }

    fn observe(&self, date: Moment, now: Instant) {
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

/// When an answer was given, if it says so.
fn date(headers: &HeaderMap) -> Option<Moment> {
    let text = headers.get(DATE)?.to_str().ok()?;
    Some(Moment(DateTimeParser::new().parse_timestamp(text).ok()?.as_second()))
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
        let before = Moment::now();
        let now = ServerClock::default().at(Instant::now());
        assert!((before..=Moment::now()).contains(&now));
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
    fn the_answer_that_was_fastest_counts_and_a_clock_put_back_is_believed_after_a_while() {
        let clock = ServerClock::default();
        let zero = Instant::now();
        clock.observe(Moment(1_000), zero);
        assert_eq!(clock.at(zero + seconds(5)), Moment(1_005));
        // One that was nine seconds on its way.
        clock.observe(Moment(1_001), zero + seconds(10));
        assert_eq!(clock.at(zero + seconds(10)), Moment(1_010));
        // A clock that is put on is believed at once.
        clock.observe(Moment(2_000), zero + seconds(20));
        assert_eq!(clock.at(zero + seconds(30)), Moment(2_010));
        // One that is put back when what it said before is old.
        for (second, wanted) in [(61, 2_041), (100, 2_080), (122, 522), (200, 600)] {
            clock.observe(Moment(400 + i64::try_from(second).unwrap()), zero + seconds(second));
            assert_eq!(clock.at(zero + seconds(second)), Moment(wanted), "{second}");
        }
    }
}
