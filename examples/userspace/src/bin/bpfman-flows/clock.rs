use rustix::time::{ClockId, clock_gettime};

const NANOSECONDS: i128 = 1_000_000_000;

#[derive(Clone, Copy, Debug)]
pub struct Clock {
    since_boot: i128,
    since_1970: i128,
}

impl Clock {
    pub fn now() -> Self {
        let read = |clock| {
            let time = clock_gettime(clock);
            i128::from(time.tv_sec) * NANOSECONDS + i128::from(time.tv_nsec)
        };
        Self { since_boot: read(ClockId::Boottime), since_1970: read(ClockId::Realtime) }
    }

    pub fn unix_seconds(self, boot_nanoseconds: u64) -> f64 {
        let moment = self.since_1970 - self.since_boot + i128::from(boot_nanoseconds);
        (moment / 1_000_000) as f64 / 1000.0
    }

    pub fn seconds_ago(self, boot_nanoseconds: u64) -> i128 {
        (self.since_boot - i128::from(boot_nanoseconds)).max(0) / NANOSECONDS
    }
}
