//! The radar: programs of ours that see what others do with eBPF (examples/radar, docs/radar.md). A thread loads them as any other
//! programs, reads what they say, finds out who it was, and tells the journal.

mod act;
mod calibrate;
mod counts;
mod event;
mod fetch;
mod ids;
mod makers;
mod ours;
mod passed;
mod programs;
mod seat;
mod settings;
mod sight;
mod sources;
mod tally;
mod watch;
mod who;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bpfmand_api::{Gate, RadarControl, RadarRefusal, RadarStanding};
use bpfmand_core::BytecodeSource;
use bpfmand_engine::{Engine, Images};
use bpfmand_journal::Journal;
use bpfmand_kernel::linux::LinuxKernel;

pub use settings::{RadarObject, RadarTable};

use seat::RadarSeat;
use watch::RadarWatch;

/// How long the end of the daemon waits until what was seen is in the journal.
const FAREWELL: Duration = Duration::from_millis(300);
/// What the thread is told.
enum RadarCommand {
    /// Use this object.
    Start(RadarObject, Sender<Result<(), RadarRefusal>>),
    /// Unload all.
    Stop(Sender<Result<(), RadarRefusal>>),
    /// Go on as before.
    Nothing,
    /// The daemon ends.
    End,
}

/// Keeps the radar, on a thread that ends while there is nothing to do.
pub struct RadarKeeper {
    seat: Arc<RadarSeat>,
    ended: Receiver<()>,
    standing: Arc<RadarStanding>,
}

/// What the radar works with.
pub struct RadarParts {
    /// The object that the configuration names.
    pub settings: Option<RadarObject>,
    pub engine: Arc<Engine<LinuxKernel>>,
    pub kernel: Arc<LinuxKernel>,
    pub images: Arc<dyn Images>,
    pub journal: Arc<Journal>,
    /// What all changes go through.
    pub changes: Arc<Gate>,
}

impl RadarKeeper {
    /// Starts it. Nothing is loaded while the way out is open.
    ///
    /// # Errors
    /// The kernel has no thread left.
    pub fn start(parts: RadarParts) -> std::io::Result<Self> {
        let (tell, ended) = channel();
        let standing = Arc::<RadarStanding>::default();
        let watch = RadarWatch::new(parts, Arc::clone(&standing));
        let seat = Arc::new(RadarSeat::new(watch, tell));
        // Programs of an earlier daemon may be at work.
        seat.send(RadarCommand::Nothing)?;
        Ok(Self { seat, ended, standing })
    }

    /// How it stands from now on.
    pub fn standing(&self) -> Arc<RadarStanding> {
        Arc::clone(&self.standing)
    }

    /// Switches it.
    pub fn control(&self) -> Arc<dyn RadarControl> {
        Arc::new(RadarSwitch(Arc::clone(&self.seat)))
    }

    /// Ends the thread. The programs stay, and what they see meanwhile waits in their ring.
    pub fn end(self) {
        if self.seat.end() {
            let _late = self.ended.recv_timeout(FAREWELL);
        }
    }
}

/// Tells the thread, and waits for it.
struct RadarSwitch(Arc<RadarSeat>);

impl RadarSwitch {
    fn tell(
        &self,
        command: impl FnOnce(Sender<Result<(), RadarRefusal>>) -> RadarCommand,
    ) -> Result<(), RadarRefusal> {
        let (answer, answered) = channel();
        self.0.send(command(answer)).map_err(|error| RadarRefusal::Failed(error.to_string()))?;
        answered.recv().map_err(|_| RadarRefusal::Failed(seat::ENDING.to_owned()))?
    }
}

impl RadarControl for RadarSwitch {
    fn start(&self, object: BytecodeSource) -> Result<(), RadarRefusal> {
        self.tell(|answer| RadarCommand::Start(RadarObject::of(&object), answer))
    }

    fn stop(&self) -> Result<(), RadarRefusal> {
        self.tell(RadarCommand::Stop)
    }
}
