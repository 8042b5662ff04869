//! The radar's state between two threads: a daemon without a radar has no thread for one.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

use super::RadarCommand;
use super::watch::RadarWatch;

/// Programs are loaded on this thread, as for requests.
const STACK: usize = 1 << 20;
/// Reason of a refused command.
pub(super) const ENDING: &str = "the daemon is ending";

/// Seat of the radar: at rest, or on a thread.
pub(super) struct RadarSeat {
    state: Mutex<Seated>,
    /// A thread that was told to end has ended.
    tell_end: Sender<()>,
}

struct Seated {
    /// None while a thread has it, and once the daemon ends.
    resting: Option<RadarWatch>,
    /// Leads to the thread, if there is one.
    commands: Option<Sender<RadarCommand>>,
}

impl RadarSeat {
    /// At rest.
    pub fn new(watch: RadarWatch, tell_end: Sender<()>) -> Self {
        Self { state: Mutex::new(Seated { resting: Some(watch), commands: None }), tell_end }
    }

    fn lock(&self) -> MutexGuard<'_, Seated> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the thread a command, and starts one if there is none.
    ///
    /// # Errors
    /// The kernel has no thread left, or the daemon ends. The command is dropped.
    pub fn send(self: &Arc<Self>, command: RadarCommand) -> io::Result<()> {
        let mut seated = self.lock();
        if let Some(commands) = &seated.commands {
            return commands.send(command).map_err(|_| io::Error::other(ENDING));
        }
        if seated.resting.is_none() {
            return Err(io::Error::other(ENDING));
        }
        let (commands, received) = channel();
        let seat = Arc::clone(self);
        Builder::new().name("radar".to_owned()).stack_size(STACK).spawn(move || seat.work(&received))?;
        let sent = commands.send(command).map_err(|_| io::Error::other(ENDING));
        seated.commands = Some(commands);
        sent
    }

    /// The thread: works until there is nothing to do.
    fn work(&self, commands: &Receiver<RadarCommand>) {
        let taken = self.lock().resting.take();
        let Some(mut watch) = taken else {
            // The daemon ends already.
            let _nobody_waits = self.tell_end.send(());
            return;
        };
        while watch.run(commands) {
            let mut seated = self.lock();
            // A command that came meanwhile is there: commands are sent under this lock.
            match commands.try_recv() {
                Ok(command) => {
                    drop(seated);
                    if !watch.obey(command) {
                        break;
                    }
                }
                Err(_) => {
                    *seated = Seated { resting: Some(watch), commands: None };
                    return;
                }
            }
        }
        watch.end();
        let _nobody_waits = self.tell_end.send(());
    }

    /// Ends it for good. Returns whether a thread is there to be waited for.
    pub fn end(&self) -> bool {
        let mut seated = self.lock();
        seated.resting = None;
        seated.commands.take().is_some_and(|commands| commands.send(RadarCommand::End).is_ok())
    }
}
