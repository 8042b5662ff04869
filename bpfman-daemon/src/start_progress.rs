//! Progress reports to the service manager: each step of a long start, such as after a reboot, requests more time than
//! the unit allows (90 seconds, systemd's default). A start that hangs makes no step, and is terminated.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bpfmand_engine::{EbpfObject, EngineError, LinkAhead, ReadObjects, StepObserver};
use bpfmand_reader::SharedBytes;
use sd_notify::NotifyState;

/// Time requested for the next step: more than an object reader or the kernel's verifier takes.
const NEXT_STEP: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_secs(5);
const STATUS_INTERVAL: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub struct StartProgress {
    is_over: AtomicBool,
    told: Mutex<LastReports>,
}

#[derive(Debug, Default)]
struct LastReports {
    extended: Option<Instant>,
    status: Option<(&'static str, Instant)>,
}

impl StartProgress {
    fn extend_timeout(&self) {
        if self.is_over.load(Ordering::Relaxed) {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.extended.is_some_and(|told| told.elapsed() < INTERVAL) {
            return;
        }
        told.extended = Some(Instant::now());
        let time = u32::try_from(NEXT_STEP.as_micros()).unwrap_or(u32::MAX);
        if let Err(error) = sd_notify::notify(&[NotifyState::ExtendTimeoutUsec(time)]) {
            tracing::warn!(%error, "systemd was not notified that the start goes on");
        }
    }

    fn report(&self, what: &'static str, done: usize, all: usize) {
        if self.is_over.load(Ordering::Relaxed) || all == 0 {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_early = |(before, when): (&str, Instant)| before == what && when.elapsed() < STATUS_INTERVAL;
        if told.status.is_some_and(is_early) && done < all {
            return;
        }
        told.status = Some((what, Instant::now()));
        let status = format!("starting: {done} of {all} {what}");
        let _untold = sd_notify::notify(&[NotifyState::Status(&status)]);
    }

    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

pub struct StartSteps {
    pub progress: Arc<StartProgress>,
    pub observer: Arc<dyn StepObserver>,
}

impl StepObserver for StartSteps {
    fn before(&self, operation: &'static str, step: &'static str) {
        self.progress.extend_timeout();
        self.observer.before(operation, step);
    }

    fn recovered(&self, what: &'static str, done: usize, all: usize) {
        self.progress.report(what, done, all);
        self.observer.recovered(what, done, all);
    }
}

#[derive(Debug)]
pub struct StartReads {
    pub progress: Arc<StartProgress>,
    pub objects: Arc<dyn ReadObjects>,
}

impl ReadObjects for StartReads {
    fn read(&self, bytes: Arc<[u8]>) -> Result<EbpfObject, EngineError> {
        self.progress.extend_timeout();
        self.objects.read(bytes)
    }

    fn read_ahead(&self, bytes: Arc<[u8]>, ahead: &LinkAhead) -> Result<EbpfObject, EngineError> {
        self.progress.extend_timeout();
        self.objects.read_ahead(bytes, ahead)
    }

    fn read_again(&self, bytes: Arc<[u8]>) -> Result<EbpfObject, EngineError> {
        self.progress.extend_timeout();
        self.objects.read_again(bytes)
    }

    fn is_able(&self) -> bool {
        self.objects.is_able()
    }

    fn kernel_types(&self) -> Option<SharedBytes> {
        self.objects.kernel_types()
    }
}
