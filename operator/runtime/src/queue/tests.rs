use super::*;

const GATHER: Duration = Duration::from_millis(20);

fn key(name: &str) -> String {
    name.to_owned()
}

struct Test {
    plan: Schedule<String>,
    now: Instant,
}

impl Test {
    fn new() -> Self {
        Self { plan: Schedule::new(GATHER, Duration::ZERO), now: Instant::now() }
    }

    fn add(&mut self, name: &str, cause: QueueCause) {
        self.plan.add(self.now, &key(name), cause);
    }

    fn done(&mut self, name: &str) {
        self.plan.done(self.now, &key(name));
    }

    fn failed(&mut self, name: &str) -> f64 {
        self.plan.failed(self.now, &key(name), MAX_DELAY).as_secs_f64()
    }

    /// Returns the key that becomes due, and moves the clock to that moment, or to the end of the time.
    fn within(&mut self, seconds: u64) -> Option<String> {
        let end = self.now + Duration::from_secs(seconds);
        loop {
            if let Some(key) = self.plan.take_one(self.now) {
                return Some(key);
            }
            match self.plan.next() {
                Some(at) if at <= end => self.now = at,
                _ => {
                    self.now = end;
                    return None;
                }
            }
        }
    }
}

fn name(name: &str) -> Option<String> {
    Some(name.to_owned())
}

#[test]
fn events_that_come_together_are_one_look() {
    let mut test = Test::new();
    test.add("a", QueueCause::Changed);
    test.add("a", QueueCause::Maybe);
    assert_eq!(test.within(1), name("a"));
    test.done("a");
    assert_eq!(test.within(1000), None);
}

#[test]
fn queue_with_waiting_or_processed_key_is_not_idle() {
    let mut test = Test::new();
    assert!(test.plan.idle());
    test.add("a", QueueCause::Changed);
    assert!(!test.plan.idle());
    assert_eq!(test.within(1), name("a"));
    assert!(!test.plan.idle());
    test.done("a");
    assert!(test.plan.idle());
}

#[test]
fn nothing_is_looked_at_twice_at_a_time() {
    let mut test = Test::new();
    test.add("a", QueueCause::Changed);
    assert_eq!(test.within(1), name("a"));
    test.add("a", QueueCause::Changed);
    assert_eq!(test.within(1000), None);
    test.done("a");
    assert_eq!(test.within(1), name("a"));
}

#[test]
fn failures_come_back_later_and_later() {
    let mut test = Test::new();
    test.add("a", QueueCause::Changed);
    for failure in 0..12_i32 {
        assert_eq!(test.within(400), name("a"));
        let wait = test.failed("a");
        let wanted = 2_f64.powi(failure).min(300.0);
        assert!((wanted * 0.79..wanted * 1.21).contains(&wait), "{failure}: {wait}");
    }
    assert_eq!(test.within(400), name("a"));
    test.done("a");
    assert_eq!(test.within(1000), None);
}

#[test]
fn a_failure_is_not_the_cause_of_the_next_try_but_a_change_is() {
    let mut test = Test::new();
    test.add("a", QueueCause::Changed);
    for _ in 0..8 {
        assert_eq!(test.within(400), name("a"));
        test.failed("a");
    }
    test.add("a", QueueCause::Maybe);
    assert_eq!(test.within(60), None);
    test.add("a", QueueCause::Changed);
    assert_eq!(test.within(1), name("a"));
}

#[test]
fn event_of_a_failed_attempt_does_not_cause_the_next() {
    let mut test = Test::new();
    test.add("a", QueueCause::Changed);
    for _ in 0..4 {
        assert_eq!(test.within(400), name("a"));
        test.add("a", QueueCause::Maybe);
        test.failed("a");
    }
    assert_eq!(test.within(6), None);
    assert_eq!(test.within(4), name("a"));
    test.add("a", QueueCause::Changed);
    test.failed("a");
    assert_eq!(test.within(1), name("a"));
    test.add("a", QueueCause::Maybe);
    test.done("a");
    assert_eq!(test.within(1), name("a"));
    test.done("a");
    assert_eq!(test.within(1000), None);
}

#[test]
fn other_keys_are_processed_while_one_is_busy() {
    let mut test = Test::new();
    test.add("a", QueueCause::Changed);
    assert_eq!(test.within(1), name("a"));
    test.add("b", QueueCause::Maybe);
    assert_eq!(test.within(1), name("b"));
}

#[tokio::test]
async fn waiting_worker_is_woken() {
    let queue = Queue::new(GATHER);
    let (next, ()) = tokio::join!(queue.next(), async {
        tokio::task::yield_now().await;
        queue.add(&key("a"), QueueCause::Changed);
    });
    assert_eq!(next, key("a"));
    let longest = Duration::from_millis(3);
    assert!(queue.failed(&next, Some(longest)) <= longest);
    assert_eq!(queue.failing(), 1);
    queue.done(&next);
    assert_eq!(queue.failing(), 0);
}

const SETTLE: Duration = Duration::from_millis(50);
const PAUSE: Duration = Duration::from_secs(1);

fn new() -> (Schedule<&'static str>, Instant) {
    (Schedule::new(SETTLE, PAUSE), Instant::now())
}

#[test]
fn a_burst_costs_one_act_a_pause_and_its_end_is_acted_on() {
    let (mut queue, start) = new();
    let mut acts = Vec::new();
    for millisecond in 0..=5_000u64 {
        let now = start + Duration::from_millis(millisecond);
        if millisecond < 2_500 {
            queue.mark(now, &"a");
        }
        for key in queue.take(now) {
            acts.push(millisecond);
            queue.done(now, &key);
        }
    }
    assert_eq!(acts, [50, 1_050, 2_050, 3_050]);
}

#[test]
fn a_change_while_busy_is_not_forgotten() {
    let (mut queue, start) = new();
    queue.mark(start, &"a");
    assert_eq!(queue.take(start + SETTLE), ["a"]);
    queue.mark(start + SETTLE, &"a");
    assert_eq!(queue.take(start + PAUSE * 10), Vec::<&str>::new());
    queue.done(start + PAUSE * 10, &"a");
    assert_eq!(queue.next(), Some(start + SETTLE + PAUSE));
}

#[test]
fn keys_do_not_wait_for_each_other() {
    let (mut queue, start) = new();
    queue.mark(start, &"a");
    assert_eq!(queue.take(start + SETTLE), ["a"]);
    queue.mark(start + SETTLE, &"b");
    assert_eq!(queue.take(start + SETTLE * 2), ["b"]);
}

#[test]
fn a_timer_is_brought_forward_by_a_change_and_never_put_off() {
    let (mut queue, start) = new();
    queue.mark_at(start + PAUSE * 60, &"a");
    queue.mark(start, &"a");
    queue.mark_at(start + PAUSE * 30, &"a");
    assert_eq!(queue.next(), Some(start + SETTLE));
}

#[test]
fn forgotten_key_is_never_due() {
    let (mut queue, start) = new();
    queue.mark(start, &"a");
    queue.forget(&"a");
    assert_eq!(queue.next(), None);
    queue.done(start, &"a");
    assert_eq!(queue.take(start + PAUSE), Vec::<&str>::new());
}

#[test]
fn keys_of_one_group_leave_workers_to_others() {
    let mut plan = Schedule::new(Duration::ZERO, Duration::ZERO);
    let group = |key: &String| key.split_once('/').map(|(namespace, _)| namespace.to_owned());
    plan.shares = Shares::of(group, 2);
    let now = Instant::now();
    for name in ["evil/a", "evil/b", "evil/c", "shop/d", "wall"] {
        plan.mark(now, &key(name));
    }
    let mut take = || plan.take_one(now);
    assert_eq!(
        [take(), take(), take(), take(), take()],
        [name("evil/a"), name("evil/b"), name("shop/d"), name("wall"), None]
    );
    assert_eq!(plan.next(), None);
    plan.mark(now + Duration::from_millis(1), &key("evil/a"));
    plan.done(now, &key("evil/a"));
    assert_eq!(plan.take_one(now), name("evil/c"));
    plan.failed(now, &key("evil/b"), MAX_DELAY);
    assert_eq!(plan.take_one(now + MAX_DELAY), name("evil/a"));
    assert_eq!(plan.take_one(now + MAX_DELAY), None);
    for name in ["evil/a", "evil/c"] {
        plan.forget(&key(name));
    }
    assert_eq!(plan.take_one(now + MAX_DELAY), name("evil/b"));
}
