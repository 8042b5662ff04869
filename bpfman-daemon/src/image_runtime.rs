//! Threads that handle data of registries and images; they can write only to the image cache.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bpfman_model::Reason;
use bpfmand_cage::{Landlock, WritableFolders};
use bpfmand_engine::ImageFailure;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Maximum number of blocking threads, for files, names and signatures of the pulls in progress.
const MAX_THREADS: usize = 32;
const STACK: usize = 1 << 20;

const REST: Duration = Duration::from_secs(5);

/// Runtime for images: one thread that waits for registries, and blocking ones for their data, which exit when idle.
pub struct ImageRuntime {
    folders: Option<WritableFolders>,
    seat: Arc<Seat>,
}

#[derive(Default)]
struct Seat(Mutex<Option<Arc<Running>>>);

struct Running {
    handle: Handle,
    _end: oneshot::Sender<()>,
}

impl Seat {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Running>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes after an idle period and empties the slot, so that new work starts a new runtime.
    async fn rest(&self) {
        loop {
            tokio::time::sleep(REST).await;
            let mut seated = self.lock();
            // References are handed out under this lock: if only the slot has one, no work can obtain another.
            if seated.as_ref().is_none_or(|running| Arc::strong_count(running) == 1) {
                *seated = None;
                return;
            }
        }
    }
}

impl ImageRuntime {
    /// With `folders`, the threads can write there only; returns the level of Landlock that the kernel supports.
    pub fn new(folders: Option<WritableFolders>) -> anyhow::Result<(Self, Option<Landlock>)> {
        let landlock = folders.as_ref().map(confine_once).transpose()?;
        Ok((Self { folders, seat: Arc::default() }, landlock))
    }

    fn running(&self) -> Result<Arc<Running>, ImageFailure> {
        let mut seated = self.seat.lock();
        if let Some(running) = &*seated {
            return Ok(Arc::clone(running));
        }
        let running = self.start().map_err(|error| ImageFailure {
            kind: Reason::Internal,
            message: format!("no thread for images can be started: {error:#}"),
            hint: None,
        })?;
        let running = Arc::new(running);
        *seated = Some(Arc::clone(&running));
        Ok(running)
    }

    fn start(&self) -> anyhow::Result<Running> {
        let mut builder = Builder::new_current_thread();
        builder
            .enable_all()
            .max_blocking_threads(MAX_THREADS)
            .thread_name("image")
            .thread_stack_size(STACK)
            .thread_keep_alive(Duration::from_secs(1));
        let folders = self.folders.clone();
        if let Some(folders) = folders.clone() {
            builder.on_thread_start(move || {
                if let Err(error) = folders.confine_thread() {
                    // Abort: an unconfined thread could write anywhere, which is as severe as a forbidden system call.
                    tracing::error!(%error, "a thread for images could not be confined; ending");
                    std::process::abort();
                }
            });
        }
        let (started, starts) = std::sync::mpsc::channel();
        let (end, ended) = oneshot::channel::<()>();
        let seat = Arc::clone(&self.seat);
        let run = move || {
            let begun = folders.map(|folders| folders.confine_thread()).transpose();
            let runtime = begun
                .map_err(anyhow::Error::from)
                .and_then(|_landlock| builder.build().context("cannot start the runtime of images"));
            match runtime {
                Ok(runtime) => {
                    let _waited_for = started.send(Ok(runtime.handle().clone()));
                    runtime.block_on(async {
                        tokio::select! {
                            _dropped = ended => {}
                            () = seat.rest() => {}
                        }
                    });
                    runtime.shutdown_background();
                }
                Err(error) => {
                    let _waited_for = started.send(Err(error));
                }
            }
        };
        std::thread::Builder::new()
            .name("images".to_owned())
            .stack_size(STACK)
            .spawn(run)
            .context("cannot start the thread for images")?;
        let handle = starts.recv().context("the thread for images ended")??;
        Ok(Running { handle, _end: end })
    }

    /// Runs `work` on the runtime. Dropping the future cancels it.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, ImageFailure> {
        let running = self.running()?;
        let mut task = Task(running.handle.spawn(work));
        match (&mut task.0).await {
            Ok(done) => Ok(done),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_cancelled) => Err(ImageFailure {
                    kind: Reason::Internal,
                    message: "the daemon is ending".to_owned(),
                    hint: None,
                }),
            },
        }
    }

    pub fn wait_for<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, ImageFailure> {
        self.running()?.handle.block_on(self.run(work))
    }

    pub fn wait<T>(&self, waiting: impl Future<Output = Result<T, ImageFailure>>) -> Result<T, ImageFailure> {
        self.running()?.handle.block_on(waiting)
    }

    pub fn begin(&self, work: impl Future<Output = ()> + Send + 'static) {
        match self.running() {
            Ok(running) => {
                let held = Arc::clone(&running);
                drop(running.handle.spawn(async move {
                    work.await;
                    drop(held);
                }));
            }
            Err(failure) => tracing::warn!("{}", failure.message),
        }
    }
}

impl Drop for ImageRuntime {
    fn drop(&mut self) {
        drop(self.seat.lock().take());
    }
}

/// Confines a short-lived thread, to find out what the kernel enforces.
fn confine_once(folders: &WritableFolders) -> anyhow::Result<Landlock> {
    let thread = std::thread::Builder::new().name("images".to_owned()).stack_size(STACK);
    std::thread::scope(|scope| {
        let confined = thread.spawn_scoped(scope, || folders.confine_thread());
        match confined.context("cannot start a thread for images")?.join() {
            Ok(landlock) => Ok(landlock?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
