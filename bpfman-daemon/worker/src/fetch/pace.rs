//! Minimum transfer rate: a registry that sends a byte now and then must not occupy a pull slot.

use std::time::{Duration, Instant};

use bpfmand_image::Limits;

pub(crate) struct TransferPace {
    least_bytes: u64,
    least_time: Duration,
    begin: Instant,
    came: u64,
}

impl TransferPace {
    pub(crate) fn new(limits: &Limits) -> Self {
        let (least_bytes, least_time) = (limits.least_bytes, limits.least_time);
        Self { least_bytes, least_time, begin: Instant::now(), came: 0 }
    }

    pub(crate) fn keeps_up(&mut self, bytes: usize) -> bool {
        self.came += bytes as u64;
        if self.begin.elapsed() < self.least_time {
            return true;
        }
        let enough = self.came >= self.least_bytes;
        (self.begin, self.came) = (Instant::now(), 0);
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_has_to_come_in_each_span_of_time() {
        let with = |least_bytes, least_time| {
            TransferPace::new(&Limits { least_bytes, least_time, ..Limits::default() })
        };
        let mut ended = with(10, Duration::ZERO);
        assert!(ended.keeps_up(10) && !ended.keeps_up(9) && ended.keeps_up(10));
        let mut running = with(10, Duration::from_secs(3600));
        assert!(running.keeps_up(1) && running.keeps_up(0));
    }
}
