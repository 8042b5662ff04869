//! Threads of their own for all that registries and images say: they write to the image cache, and nowhere else.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use bpfmand_cage::{Landlock, WritableFolders};
use bpfmand_engine::{ImageFailure, ImageFailureKind};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// For files, names and signatures of the pulls in progress.
const MOST_THREADS: usize = 32;
/// The stack of each.
const STACK: usize = 1 << 20;

/// Time without work after which the threads end.
const REST: Duration = Duration::from_secs(5);

/// The runtime of images: one thread that waits for registries, and some that work on what came. They are started for the
/// first work, and end some seconds after the last.
pub struct ImageRuntime {
    folders: Option<WritableFolders>,
    seat: Arc<Seat>,
}

/// The runtime, while there is one.
#[derive(Default)]
struct Seat(Mutex<Option<Arc<Running>>>);

/// A runtime. Work holds it.
struct Running {
    handle: Handle,
    _end: oneshot::Sender<()>,
}

impl Seat {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Running>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once nothing was worked on for a while: new work has a new runtime then.
    async fn rest(&self) {
        loop {
            tokio::time::sleep(REST).await;
            let mut seated = self.lock();
            // Work is given out under this lock: what only the seat holds, no work can hold later.
            if seated.as_ref().is_none_or(|running| Arc::strong_count(running) == 1) {
                *seated = None;
                return;
            }
        }
    }
}

impl ImageRuntime {
    /// Starts no thread that stays. With folders, its threads write there only; the answer tells whether the kernel holds
    /// them to that.
    ///
    /// # Errors
    /// A thread cannot be confined, or the kernel has none left.
    pub fn new(folders: Option<WritableFolders>) -> anyhow::Result<(Self, Option<Landlock>)> {
        let landlock = folders.as_ref().map(confine_once).transpose()?;
        Ok((Self { folders, seat: Arc::default() }, landlock))
    }

    /// The runtime, started if there is none.
    fn running(&self) -> Result<Arc<Running>, ImageFailure> {
        let mut seated = self.seat.lock();
        if let Some(running) = &*seated {
            return Ok(Arc::clone(running));
        }
        let running = self.start().map_err(|error| ImageFailure {
            kind: ImageFailureKind::Internal,
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
            .max_blocking_threads(MOST_THREADS)
            .thread_name("image")
            .thread_stack_size(STACK)
            .thread_keep_alive(Duration::from_secs(1));
        let folders = self.folders.clone();
        if let Some(folders) = folders.clone() {
            builder.on_thread_start(move || {
                if let Err(error) = folders.confine_thread() {
                    // It could write anywhere, and was not to: as bad as a system call that is none of the daemon's.
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

    /// Has it done there. Whoever stops waiting ends it.
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
                    kind: ImageFailureKind::Internal,
                    message: "the daemon is ending".to_owned(),
                    hint: None,
                }),
            },
        }
    }

    /// The same for threads that may block.
    pub fn wait_for<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, ImageFailure> {
        self.running()?.handle.block_on(self.run(work))
    }

    /// Waits on this thread, which may block, for what has work done there.
    pub fn wait<T>(&self, waiting: impl Future<Output = Result<T, ImageFailure>>) -> Result<T, ImageFailure> {
        self.running()?.handle.block_on(waiting)
    }

    /// Has it done there, beside other work.
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

/// Confines a thread that ends then, to see what the kernel holds it to.
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

/// Work that ends when nobody waits for it any more.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
