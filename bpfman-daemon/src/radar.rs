//! The radar: eBPF programs that observe how other processes use eBPF (examples/radar, docs/radar.md). A thread loads
//! them like any other programs, reads their events, identifies the processes and writes audit entries.

mod activity;
mod calibrate;
mod counts;
mod creators;
mod event;
mod fetch;
mod holder;
mod identification;
mod ids;
mod observation;
mod own_objects;
mod programs;
mod settings;
mod short_lived;
mod sources;
mod switching;
mod tally;
mod watch;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bpfman_model::BytecodeSource;
use bpfmand_api::{Gate, RadarControl, RadarRefusal, RadarState};
use bpfmand_engine::{Engine, Images};
use bpfmand_journal::Journal;
use bpfmand_kernel::linux::LinuxKernel;

pub use settings::{RadarObject, RadarTable};

use holder::RadarHolder;
use watch::RadarWatch;

const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(300);
enum RadarCommand {
    Start(RadarObject, Sender<Result<(), RadarRefusal>>),
    Stop(Sender<Result<(), RadarRefusal>>),
    /// Continue; wakes the thread.
    Nothing,
    End,
}

pub struct RadarThread {
    seat: Arc<RadarHolder>,
    ended: Receiver<()>,
    standing: Arc<RadarState>,
}

pub struct RadarParts {
    pub settings: Option<RadarObject>,
    pub engine: Arc<Engine<LinuxKernel>>,
    pub kernel: Arc<LinuxKernel>,
    pub images: Arc<dyn Images>,
    pub journal: Arc<Journal>,
    pub changes: Arc<Gate>,
}

impl RadarThread {
    /// Starts the radar. It loads nothing while break-glass is in effect.
    pub fn start(parts: RadarParts) -> std::io::Result<Self> {
        let (tell, ended) = channel();
        let standing = Arc::<RadarState>::default();
        let watch = RadarWatch::new(parts, Arc::clone(&standing));
        let seat = Arc::new(RadarHolder::new(watch, tell));
        // Programs of an earlier daemon may be attached.
        seat.send(RadarCommand::Nothing)?;
        Ok(Self { seat, ended, standing })
    }

    pub fn standing(&self) -> Arc<RadarState> {
        Arc::clone(&self.standing)
    }

    pub fn control(&self) -> Arc<dyn RadarControl> {
        Arc::new(RadarSwitch(Arc::clone(&self.seat)))
    }

    /// Stops the thread. The programs stay attached, and their events wait in the ring buffer.
    pub fn end(self) {
        if self.seat.end() {
            let _late = self.ended.recv_timeout(SHUTDOWN_TIMEOUT);
        }
    }
}

struct RadarSwitch(Arc<RadarHolder>);

impl RadarSwitch {
    fn tell(
        &self,
        command: impl FnOnce(Sender<Result<(), RadarRefusal>>) -> RadarCommand,
    ) -> Result<(), RadarRefusal> {
        let (answer, answered) = channel();
        self.0.send(command(answer)).map_err(|error| RadarRefusal::Failed(error.to_string()))?;
        answered.recv().map_err(|_| RadarRefusal::Failed(holder::ENDING.to_owned()))?
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
