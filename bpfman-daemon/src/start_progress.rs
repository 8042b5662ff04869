//! A long start that goes on is not a start that hangs: the service manager is told the difference.
//!
//! After a reboot hundreds of programs may have to go through the kernel's verifier, and readers may take their time. With
//! each step, and each object that is read, the service manager is asked for more time than the unit gives a start
//! (90 seconds, systemd's default). A start that hangs makes no step, and is ended. `systemctl status` shows how far it is.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bpfmand_engine::{EbpfObject, EngineError, ReadObjects, StepObserver};
use bpfmand_reader::SharedBytes;
use sd_notify::NotifyState;

/// How long the next step may take: above what a reader may, and a program in the verifier does.
const NEXT_STEP: Duration = Duration::from_secs(60);
/// As often as that it is told.
const INTERVAL: Duration = Duration::from_secs(5);
/// As often as that it is told how far the start is, unless it begins with something else.
const STATUS_INTERVAL: Duration = Duration::from_millis(500);

/// Tells that a start goes on, and how far it is, until it is over.
#[derive(Debug, Default)]
pub struct StartProgress {
    is_over: AtomicBool,
    told: Mutex<Told>,
}

/// What the service manager was told, and when.
#[derive(Debug, Default)]
struct Told {
    goes_on: Option<Instant>,
    status: Option<(&'static str, Instant)>,
}

impl StartProgress {
    fn goes_on(&self) {
        if self.is_over.load(Ordering::Relaxed) {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.goes_on.is_some_and(|told| told.elapsed() < INTERVAL) {
            return;
        }
        told.goes_on = Some(Instant::now());
        let time = u32::try_from(NEXT_STEP.as_micros()).unwrap_or(u32::MAX);
        if let Err(error) = sd_notify::notify(&[NotifyState::ExtendTimeoutUsec(time)]) {
            tracing::warn!(%error, "systemd was not told that the start goes on");
        }
    }

    /// Tells how far it is: `systemctl status` shows it.
    fn is_at(&self, what: &'static str, done: usize, all: usize) {
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
        // That it is not shown is no reason to warn: the start goes on.
        let _untold = sd_notify::notify(&[NotifyState::Status(&status)]);
    }

    /// The start is over: from now on nothing is told.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// An observer of steps, and each is told as well.
pub struct StartSteps {
    /// Where it is told.
    pub progress: Arc<StartProgress>,
    /// Who observes.
    pub observer: Arc<dyn StepObserver>,
}

impl StepObserver for StartSteps {
    fn before(&self, operation: &'static str, step: &'static str) {
        self.progress.goes_on();
        self.observer.before(operation, step);
    }

    fn recovered(&self, what: &'static str, done: usize, all: usize) {
        self.progress.is_at(what, done, all);
        self.observer.recovered(what, done, all);
    }
}

/// Who reads objects, and each is told.
#[derive(Debug)]
pub struct StartReads {
    /// Where it is told.
    pub progress: Arc<StartProgress>,
    /// Who reads.
    pub objects: Arc<dyn ReadObjects>,
}

impl ReadObjects for StartReads {
    fn read(&self, bytes: Arc<[u8]>) -> Result<EbpfObject, EngineError> {
        self.progress.goes_on();
        self.objects.read(bytes)
    }

    fn read_again(&self, bytes: Arc<[u8]>) -> Result<EbpfObject, EngineError> {
        self.progress.goes_on();
        self.objects.read_again(bytes)
    }

    fn is_able(&self) -> bool {
        self.objects.is_able()
    }

    fn kernel_types(&self) -> Option<SharedBytes> {
        self.objects.kernel_types()
    }
}
