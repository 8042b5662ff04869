//! LSM load gate: LSM programs that deny eBPF program loads to all processes but the daemon and configured exceptions
//! (packaging/gate, docs/gate.md). A thread attaches the gate, writes the exceptions to its maps and renews its timer.
//! The gate opens by itself when the timer is no longer renewed.

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

/// Maximum wait for the gate to open when the daemon ends. Only a thread that fetches an image takes this long.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Stack of the thread, as large as for requests, since it loads programs.
const STACK: usize = 1 << 20;

/// Thread that maintains the gate. If none is configured, it removes the gate of an earlier configuration.
pub struct GateThread {
    stop: Sender<()>,
    opened: Receiver<()>,
}

impl GateThread {
    /// Starts the thread. It attaches nothing while break-glass is in effect.
    pub fn start(mut gate: LoadGate, changes: Arc<Gate>) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let (tell, opened) = channel();
        let run = move || {
            loop {
                // Fetch outside the change gate: registries may be slow, and break-glass waits for changes in progress.
                gate.fetch();
                match changes.enter() {
                    Ok(_inside) => {
                        gate.turn();
                        if !gate.is_wanted() {
                            break;
                        }
                    }
                    Err(_) => gate.forget(),
                }
                if !matches!(stopped.recv_timeout(CHECK_INTERVAL), Err(RecvTimeoutError::Timeout)) {
                    break;
                }
            }
            gate.open();
            let _nobody_waits = tell.send(());
        };
        Builder::new().name("gate".to_owned()).stack_size(STACK).spawn(run)?;
        Ok(Self { stop, opened })
    }

    /// Opens the gate and stops the thread. A gate that is just being attached opens later, when its timer expires.
    pub fn end(self) {
        let _ended = self.stop.send(());
        let _late = self.opened.recv_timeout(SHUTDOWN_TIMEOUT);
    }
}

/// Waits until this process may load: the gate of a killed daemon denies the new executable until its timer expires.
pub fn wait_until_open(settings: &GateSettings) {
    let since = Instant::now();
    while !bpfmand_kernel::linux::may_load() && since.elapsed() < settings.fail_open + CHECK_INTERVAL {
        tracing::warn!("an older daemon's gate refuses this one's programs, until it opens by itself");
        std::thread::sleep(CHECK_INTERVAL);
    }
}
