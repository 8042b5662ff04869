//! Owner of the radar's state, so that a daemon without a radar needs no thread for one.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

use super::RadarCommand;
use super::watch::RadarWatch;

/// Stack of the thread, as large as for requests, since it loads programs.
const STACK: usize = 1 << 20;
pub(super) const ENDING: &str = "the daemon is ending";

pub(super) struct RadarHolder {
    state: Mutex<Seated>,
    tell_end: Sender<()>,
}

struct Seated {
    /// `None` while the thread runs it, and after shutdown.
    resting: Option<RadarWatch>,
    commands: Option<Sender<RadarCommand>>,
}

impl RadarHolder {
    pub fn new(watch: RadarWatch, tell_end: Sender<()>) -> Self {
        Self { state: Mutex::new(Seated { resting: Some(watch), commands: None }), tell_end }
    }

    fn lock(&self) -> MutexGuard<'_, Seated> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns an error, and drops the command, if no thread can be started, or during shutdown.
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

    fn work(&self, commands: &Receiver<RadarCommand>) {
        let taken = self.lock().resting.take();
        let Some(mut watch) = taken else {
            let _nobody_waits = self.tell_end.send(());
            return;
        };
        while watch.run(commands) {
            let mut seated = self.lock();
            // Commands are sent under this lock, so that none can arrive after this check.
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

    /// Stops the radar for good. Returns whether there is a thread to wait for.
    pub fn end(&self) -> bool {
        let mut seated = self.lock();
        seated.resting = None;
        seated.commands.take().is_some_and(|commands| commands.send(RadarCommand::End).is_ok())
    }
}
