//! The gate in front of the kernel's loader: programs of ours, of type LSM, that refuse everybody's programs but the daemon's
//! and those of named exceptions (packaging/gate, docs/gate.md). A thread puts it up, tells it who may pass, and keeps it
//! closed: it opens by itself when nothing is heard of the daemon any more.

mod contents;
mod gate;
mod refusals;
mod settings;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use bpfmand_api::Gate;

pub use gate::LoadGate;
pub use settings::{GateSettings, GateTable};

/// How long the end of the daemon waits for the gate to open. It takes milliseconds, but on an emulated or busy machine more
/// than a tenth of a second; only a gate whose image is being fetched takes all of it.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often exceptions are looked up, and the clock is wound.
const TURN: Duration = Duration::from_secs(1);
/// Programs are loaded on this thread, as for requests.
const STACK: usize = 1 << 20;

/// The thread that keeps the gate. Without one to keep, it ends once the gate of an earlier configuration is removed.
pub struct GateKeeper {
    stop: Sender<()>,
    opened: Receiver<()>,
}

impl GateKeeper {
    /// Starts it. Nothing is put up while the way out is open.
    ///
    /// # Errors
    /// The kernel has no thread left.
    pub fn start(mut gate: LoadGate, changes: Arc<Gate>) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let (tell, opened) = channel();
        let run = move || {
            loop {
                // Registries may be slow, and whoever opens the way out waits for all that is inside.
                gate.fetch();
                match changes.enter() {
                    Ok(_inside) => {
                        gate.turn();
                        if !gate.is_wanted() {
                            break;
                        }
                    }
                    Err(_) => gate.is_gone(),
                }
                if !matches!(stopped.recv_timeout(TURN), Err(RecvTimeoutError::Timeout)) {
                    break;
                }
            }
            gate.open();
            let _nobody_waits = tell.send(());
        };
        Builder::new().name("gate".to_owned()).stack_size(STACK).spawn(run)?;
        Ok(Self { stop, opened })
    }

    /// Opens the gate: a daemon that ends is not to be waited for. One that is just being put up opens by itself, later.
    pub fn end(self) {
        let _ended = self.stop.send(());
        let _late = self.opened.recv_timeout(FAREWELL);
    }
}

/// Waits until this process may load programs: after an upgrade the gate of a daemon that was killed does not know the
/// new executable, and opens by itself. What the kernel can do is found out by loading programs.
pub fn wait_until_open(settings: &GateSettings) {
    let since = Instant::now();
    while !bpfmand_kernel::linux::may_load() && since.elapsed() < settings.fail_open + TURN {
        tracing::warn!("an older daemon's gate refuses this one's programs, until it opens by itself");
        std::thread::sleep(TURN);
    }
}
