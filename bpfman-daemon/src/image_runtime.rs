//! Threads of their own for all that registries and images say: they write to the image cache, and nowhere else.

use std::future::Future;
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

/// The runtime of images: one thread that waits for registries, and some that work on what came. It ends with this value.
pub struct ImageRuntime {
    handle: Handle,
    _end: oneshot::Sender<()>,
}

impl ImageRuntime {
    /// Starts it. With folders, its threads write there only; the answer says whether the kernel holds them to that.
    pub fn start(folders: Option<WritableFolders>) -> anyhow::Result<(Self, Option<Landlock>)> {
        let mut builder = Builder::new_current_thread();
        builder
            .enable_all()
            .max_blocking_threads(MOST_THREADS)
            .thread_name("image")
            .thread_stack_size(STACK)
            .thread_keep_alive(Duration::from_secs(1));
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
        let run = move || {
            let begun = folders.map(|folders| folders.confine_thread()).transpose();
            let runtime = begun.map_err(anyhow::Error::from).and_then(|landlock| {
                let runtime = builder.build().context("cannot start the runtime of images")?;
                Ok((runtime, landlock))
            });
            match runtime {
                Ok((runtime, landlock)) => {
                    let _waited_for = started.send(Ok((runtime.handle().clone(), landlock)));
                    let _dropped = runtime.block_on(ended);
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
        let (handle, landlock) = starts.recv().context("the thread for images ended")??;
        Ok((Self { handle, _end: end }, landlock))
    }

    /// Has it done there. Whoever stops waiting ends it.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, ImageFailure> {
        let mut task = Task(self.handle.spawn(work));
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
        self.handle.block_on(self.run(work))
    }

    /// Waits on this thread, which may block, for what has work done there.
    pub fn wait<T>(&self, waiting: impl Future<Output = T>) -> T {
        self.handle.block_on(waiting)
    }

    /// Has it done there, beside other work.
    pub fn begin(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.handle.spawn(work));
    }
}

/// Work that ends when nobody waits for it any more.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
