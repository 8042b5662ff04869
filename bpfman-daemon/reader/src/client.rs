use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bpfmand_engine::{EbpfObject, EngineError, KernelTypes, LinkAhead, LinkPrograms, ReadObjects};
use bpfmand_frames::{SMALL, wrong};
use bpfmand_object::{
    BtfFeatures, LinkedProgram, MAX_INSTRUCTIONS, MAX_OBJECT_BYTES, ObjectError, SharedBytes,
};
use serde::de::DeserializeOwned;

use crate::connection::ReaderConnection;
use crate::memory_limit::{MemoryPool, MemoryShare};
use crate::sent::{ReaderQuestion, cut};
use crate::sent_facts::SentFacts;
use crate::sent_program::SentProgram;
use crate::timeouts::{ReaderTimeouts, StartPatience};

/// No object is read faster.
const MIN_TIMEOUT: Duration = Duration::from_millis(20);
/// Mostly names of functions and variables.
const FACTS: usize = 4 << 20;
/// Zeroed variables take no space in the file.
const CONTENTS: usize = 96 << 20;
pub(crate) const PROGRAM: usize = 1 << 20;
/// Instructions, and a line for each.
const LISTS: usize = MAX_INSTRUCTIONS * 32;

/// Handle of a reader.
#[derive(Debug)]
pub struct ReaderLink {
    /// Socket to the reader.
    pub stream: UnixStream,
    /// Descriptor that ends the reader when it is closed. `None`: closing the socket suffices.
    pub life: Option<OwnedFd>,
}

/// Starter of readers.
pub trait StartReader: fmt::Debug + Send + Sync {
    /// Starts a reader for one object. Must wait for nothing but the kernel.
    fn start_reader(&self) -> io::Result<ReaderLink>;

    /// Starts the next reader in advance. Called after an object was read; `used_types`: it needed the kernel's types.
    fn make_ready(&self, _used_types: bool) {}

    /// Returns the index of the kernel's types ([`crate::write_types_index`]), created at first use.
    fn kernel_types(&self) -> Option<SharedBytes> {
        None
    }

    /// Returns `false` once readers can no longer be started.
    fn is_able(&self) -> bool {
        true
    }
}

/// Client that lets reader processes read objects.
#[derive(Debug)]
pub struct ReaderClient {
    start: Arc<dyn StartReader>,
    patience: Arc<ReaderTimeouts>,
    room: Arc<MemoryPool>,
}

impl ReaderClient {
    /// Creates a client with this starter.
    #[must_use]
    pub fn new(start: Arc<dyn StartReader>) -> Self {
        Self { start, patience: Arc::default(), room: Arc::default() }
    }

    /// Sets the timeout for all questions to a reader; the default is 30 seconds.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience: Arc::new(ReaderTimeouts::new(patience, None)), ..self }
    }

    /// Applies shorter timeouts until [`Self::mark_started`].
    #[must_use]
    pub fn starting(self, start: StartPatience) -> Self {
        Self { patience: Arc::new(ReaderTimeouts::new(self.patience.usual(), Some(start))), ..self }
    }

    /// Sets the memory limit for all objects; the default is 1 GiB.
    #[must_use]
    pub fn with_room(self, bytes: usize) -> Self {
        Self { room: Arc::new(MemoryPool::new(bytes)), ..self }
    }

    /// Ends the shorter timeouts: the daemon has started.
    pub fn mark_started(&self) {
        self.patience.mark_started();
    }

    fn read_within(
        &self,
        bytes: &[u8],
        time: Duration,
        charged: Option<Arc<ReaderTimeouts>>,
        ahead: Option<&LinkAhead>,
    ) -> Result<EbpfObject, EngineError> {
        if bytes.len() > MAX_OBJECT_BYTES {
            return Err(ObjectError::TooLarge { bytes: bytes.len(), limit: MAX_OBJECT_BYTES }.into());
        }
        let ReaderLink { stream, life } = self.start.start_reader().map_err(failed)?;
        let room = Arc::new(MemoryShare::of(&self.room));
        let asked = Asked {
            at_work: Mutex::new(Some(BusyReader {
                connection: ReaderConnection::new(stream, life, Arc::clone(&room)),
                start: Arc::clone(&self.start),
                used_types: false,
            })),
            left: Mutex::new(time),
            charged,
        };
        let question = match ahead {
            None => ReaderQuestion::Read,
            Some(LinkAhead { programs, features }) => {
                ReaderQuestion::ReadAhead { programs: programs.clone(), features: (*features).into() }
            }
        };
        let read = asked.ask(|connection| {
            connection.send_with(&question, bytes)?;
            let sent: SentFacts = match connection.hear(FACTS)? {
                Ok(sent) => sent,
                Err(why) => return Ok(Err(why)),
            };
            let size = sent.contents();
            if size > CONTENTS {
                return Err(wrong(format!("it announces {size} bytes of variables")));
            }
            let facts = sent.with(&connection.take_exactly(size)?);
            Ok(Ok((facts, ahead.map(|ahead| ReaderState::receive(ahead, connection)).transpose()?)))
        })?;
        let (facts, state) = read.map_err(told)?;
        let state = Mutex::new(state.unwrap_or_default());
        EbpfObject::new(Arc::new(facts), Box::new(ReaderLinker { asked, state, _room: room }))
    }
}

impl ReadObjects for ReaderClient {
    fn is_able(&self) -> bool {
        self.start.is_able()
    }

    fn kernel_types(&self) -> Option<SharedBytes> {
        self.start.kernel_types()
    }

    fn read(&self, bytes: Arc<[u8]>) -> Result<EbpfObject, EngineError> {
        self.read_within(&bytes, self.patience.of_one(), None, None)
    }

    fn read_ahead(&self, bytes: Arc<[u8]>, ahead: &LinkAhead) -> Result<EbpfObject, EngineError> {
        self.read_within(&bytes, self.patience.of_one(), None, Some(ahead))
    }

    fn read_again(&self, bytes: Arc<[u8]>) -> Result<EbpfObject, EngineError> {
        let time = self.patience.of_one_again();
        if time < MIN_TIMEOUT {
            let why = "others took all the time that this start has for those that failed before";
            return Err(EngineError::Reader(why.to_owned()));
        }
        self.read_within(&bytes, time, Some(Arc::clone(&self.patience)), None)
    }
}

#[derive(Debug)]
struct ReaderLinker {
    asked: Asked,
    _room: Arc<MemoryShare>,
    state: Mutex<ReaderState>,
}

#[derive(Debug, Default)]
struct ReaderState {
    /// All programs of a load share it.
    btf: Option<(BtfFeatures, Option<Arc<[u8]>>)>,
    /// Programs of the first answer, for the features of `btf`.
    ahead: BTreeMap<String, AheadProgram>,
    has_modules: bool,
}

/// Program of which a reader said all it could with its first answer.
#[derive(Debug)]
struct AheadProgram {
    needs_kernel: bool,
    /// `None` if the program needs the kernel's types, or after its first use.
    linked: Option<LinkAnswer>,
}

/// Linked program with its lists, or the error of the object.
type LinkAnswer = Result<(SentProgram, Vec<u8>), String>;

impl ReaderState {
    /// Receives what a reader linked with the first answer.
    fn receive(ahead: &LinkAhead, connection: &mut ReaderConnection) -> io::Result<Self> {
        let mut state = Self { btf: Some((ahead.features, receive_btf(connection)?)), ..Self::default() };
        for program in &ahead.programs {
            let needs_kernel: bool = connection.hear(SMALL)?;
            let linked = (!needs_kernel).then(|| receive_program(connection)).transpose()?;
            state.ahead.insert(program.clone(), AheadProgram { needs_kernel, linked });
        }
        Ok(state)
    }

    /// Returns the answer for a program that was linked ahead for these features, once.
    fn linked_ahead(&mut self, program: &str, features: BtfFeatures) -> Option<LinkAnswer> {
        let is_for = self.btf.as_ref().is_some_and(|(of, _)| *of == features);
        if is_for { self.ahead.get_mut(program)?.linked.take() } else { None }
    }
}

/// Receives an object's BTF, if it has any.
fn receive_btf(connection: &mut ReaderConnection) -> io::Result<Option<Arc<[u8]>>> {
    let is_some: bool = connection.hear(SMALL)?;
    is_some.then(|| connection.take(MAX_OBJECT_BYTES).map(Arc::from)).transpose()
}

fn receive_program(connection: &mut ReaderConnection) -> io::Result<LinkAnswer> {
    let sent: SentProgram = match connection.hear(PROGRAM)? {
        Ok(sent) => sent,
        Err(why) => return Ok(Err(why)),
    };
    let size = sent.lists();
    if size > LISTS {
        return Err(wrong(format!("it announces {size} bytes of a program")));
    }
    Ok(Ok((sent, connection.take_exactly(size)?)))
}

impl ReaderLinker {
    fn request_answer<T: DeserializeOwned>(&self, question: &ReaderQuestion) -> Result<T, EngineError> {
        self.asked.ask(|connection| {
            connection.say(question)?;
            connection.hear(SMALL)
        })
    }

    fn give_modules(&self, types: &KernelTypes<'_>) -> Result<(), EngineError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.has_modules || types.modules().is_empty() {
            return Ok(());
        }
        state.has_modules = true;
        self.asked.ask(|connection| {
            connection.say(&ReaderQuestion::Modules { count: types.modules().len() })?;
            for (name, bytes) in types.modules() {
                connection.send_with(name, bytes)?;
            }
            Ok(())
        })
    }
}

impl LinkPrograms for ReaderLinker {
    fn btf(&self, features: BtfFeatures) -> Result<Option<Arc<[u8]>>, EngineError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, btf)) = &state.btf
            && *of == features
        {
            return Ok(btf.clone());
        }
        let btf = self.asked.ask(|connection| {
            connection.say(&ReaderQuestion::Btf(features.into()))?;
            receive_btf(connection)
        })?;
        state.btf = Some((features, btf.clone()));
        Ok(btf)
    }

    fn needs_kernel_types(&self, program: &str) -> Result<bool, EngineError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ahead) = state.ahead.get(program) {
            return Ok(ahead.needs_kernel);
        }
        drop(state);
        self.request_answer(&ReaderQuestion::NeedsKernelTypes { program: program.to_owned() })
    }

    fn exceeds(&self, program: &str, types: &KernelTypes<'_>) -> Result<bool, EngineError> {
        self.asked.uses_types();
        let exceeds: Result<bool, String> =
            self.request_answer(&ReaderQuestion::Exceeds { program: program.to_owned() })?;
        exceeds.or_else(|why| {
            types.btf()?;
            Err(told(why))
        })
    }

    fn link(
        &self,
        program: &str,
        types: Option<&KernelTypes<'_>>,
        features: BtfFeatures,
    ) -> Result<LinkedProgram, EngineError> {
        // A program that needs no types of the kernel is the same with them.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ahead = state.linked_ahead(program, features);
        drop(state);
        if let Some(types) = types.filter(|_| ahead.is_none()) {
            self.asked.uses_types();
            self.give_modules(types)?;
        }
        let question = ReaderQuestion::Link {
            program: program.to_owned(),
            with_kernel: types.is_some(),
            features: features.into(),
        };
        let ask = || {
            self.asked.ask(|connection| {
                connection.say(&question)?;
                receive_program(connection)
            })
        };
        let linked = ahead.map_or_else(ask, Ok)?;
        let (sent, lists) = linked.map_err(told)?;
        Ok(sent.with(&lists, self.btf(features)?))
    }

    fn finish(&self) {
        self.asked.at_work.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// The next reader starts on drop: earlier, it would compete for a CPU.
#[derive(Debug)]
struct BusyReader {
    connection: ReaderConnection,
    start: Arc<dyn StartReader>,
    used_types: bool,
}

impl Drop for BusyReader {
    fn drop(&mut self) {
        self.start.make_ready(self.used_types);
    }
}

#[derive(Debug)]
struct Asked {
    /// `None` after a failed question: later messages would be ambiguous.
    at_work: Mutex<Option<BusyReader>>,
    left: Mutex<Duration>,
    charged: Option<Arc<ReaderTimeouts>>,
}

impl Asked {
    fn uses_types(&self) {
        if let Some(at_work) = &mut *self.at_work.lock().unwrap_or_else(PoisonError::into_inner) {
            at_work.used_types = true;
        }
    }

    fn ask<T>(&self, talk: impl FnOnce(&mut ReaderConnection) -> io::Result<T>) -> Result<T, EngineError> {
        let mut held = self.at_work.lock().unwrap_or_else(PoisonError::into_inner);
        let at_work = held.as_mut().ok_or_else(|| EngineError::Reader("it was given up".to_owned()))?;
        let connection = &mut at_work.connection;
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        connection.begin(*left);
        let answer = talk(connection);
        let took = begun.elapsed();
        *left = left.saturating_sub(took);
        if let Some(charged) = &self.charged {
            charged.charge(took);
        }
        answer.map_err(|error| {
            *held = None;
            failed(error)
        })
    }
}

fn failed(error: io::Error) -> EngineError {
    EngineError::Reader(match error.kind() {
        io::ErrorKind::TimedOut => "it did not answer in time".to_owned(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            if error.get_ref().is_none() =>
        {
            "it ended in the middle of it".to_owned()
        }
        _ => error.to_string(),
    })
}

fn told(why: String) -> EngineError {
    ObjectError::Told(cut(why)).into()
}
