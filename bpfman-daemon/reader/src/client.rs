//! Client of object readers: one reader process per object.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bpfmand_engine::{EbpfObject, EngineError, KernelTypes, LinkPrograms, ReadObjects};
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

/// Minimum remaining time for another object: none is read faster.
const MIN_TIMEOUT: Duration = Duration::from_millis(20);
/// Maximum size of an object's facts, in bytes: mostly names of functions and variables.
const FACTS: usize = 4 << 20;
/// Maximum size of its maps' contents, in bytes: zeroed variables take no space in the file.
const CONTENTS: usize = 96 << 20;
/// Maximum size of the message about a program, without its lists, in bytes.
pub(crate) const PROGRAM: usize = 1 << 20;
/// Maximum size of a program's lists, in bytes: instructions, and a line for each.
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
    /// Starts a reader for one object. Must wait for nothing but the kernel. Fails if the kernel refuses, or if the
    /// process that starts readers has ended.
    fn start_reader(&self) -> io::Result<ReaderLink>;

    /// Starts the next reader in advance. Called after an object was read; `used_types`: it needed the kernel's types.
    fn make_ready(&self, _used_types: bool) {}

    /// Returns the index of the kernel's types ([`crate::write_types_index`]), created at first use; `None` if it
    /// cannot be created.
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
    ) -> Result<EbpfObject, EngineError> {
        // The reader would refuse it anyway.
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
        let facts = asked.ask(|connection| {
            connection.send_with(&ReaderQuestion::Read, bytes)?;
            let sent: SentFacts = match connection.hear(FACTS)? {
                Ok(sent) => sent,
                Err(why) => return Ok(Err(why)),
            };
            let size = sent.contents();
            if size > CONTENTS {
                return Err(wrong(format!("it announces {size} bytes of variables")));
            }
            Ok(Ok(sent.with(&connection.take_exactly(size)?)))
        })?;
        let facts = facts.map_err(told)?;
        EbpfObject::new(
            Arc::new(facts),
            Box::new(ReaderLinker { asked, state: Mutex::default(), _room: room }),
        )
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
        self.read_within(&bytes, self.patience.of_one(), None)
    }

    fn read_again(&self, bytes: Arc<[u8]>) -> Result<EbpfObject, EngineError> {
        let time = self.patience.of_one_again();
        if time < MIN_TIMEOUT {
            let why = "others took all the time that this start has for those that failed before";
            return Err(EngineError::Reader(why.to_owned()));
        }
        self.read_within(&bytes, time, Some(Arc::clone(&self.patience)))
    }
}

/// Linker that uses a reader holding the object.
#[derive(Debug)]
struct ReaderLinker {
    asked: Asked,
    /// Memory of the reader's answers, released on drop.
    _room: Arc<MemoryShare>,
    state: Mutex<ReaderState>,
}

/// Cached answers, and data already sent.
#[derive(Debug, Default)]
struct ReaderState {
    /// Last BTF: all programs of a load share it.
    btf: Option<(BtfFeatures, Option<Arc<[u8]>>)>,
    has_modules: bool,
}

impl ReaderLinker {
    fn request_answer<T: DeserializeOwned>(&self, question: &ReaderQuestion) -> Result<T, EngineError> {
        self.asked.ask(|connection| {
            connection.say(question)?;
            connection.hear(SMALL)
        })
    }

    /// Sends the types of modules to the reader, once.
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
            let is_some: bool = connection.hear(SMALL)?;
            is_some.then(|| connection.take(MAX_OBJECT_BYTES).map(Arc::from)).transpose()
        })?;
        state.btf = Some((features, btf.clone()));
        Ok(btf)
    }

    fn needs_kernel_types(&self, program: &str) -> Result<bool, EngineError> {
        self.request_answer(&ReaderQuestion::NeedsKernelTypes { program: program.to_owned() })
    }

    fn exceeds(&self, program: &str, types: &KernelTypes<'_>) -> Result<bool, EngineError> {
        self.asked.uses_types();
        let exceeds: Result<bool, String> =
            self.request_answer(&ReaderQuestion::Exceeds { program: program.to_owned() })?;
        exceeds.or_else(|why| {
            // If the kernel has no types, that error is the better one.
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
        if let Some(types) = types {
            self.asked.uses_types();
            self.give_modules(types)?;
        }
        let question = ReaderQuestion::Link {
            program: program.to_owned(),
            with_kernel: types.is_some(),
            features: features.into(),
        };
        let linked = self.asked.ask(|connection| {
            connection.say(&question)?;
            let sent: SentProgram = match connection.hear(PROGRAM)? {
                Ok(sent) => sent,
                Err(why) => return Ok(Err(why)),
            };
            let size = sent.lists();
            if size > LISTS {
                return Err(wrong(format!("it announces {size} bytes of a program")));
            }
            Ok(Ok((sent, connection.take_exactly(size)?)))
        })?;
        let (sent, lists) = linked.map_err(told)?;
        Ok(sent.with(&lists, self.btf(features)?))
    }

    fn finish(&self) {
        self.asked.at_work.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// Reader that is working on an object. The next reader is started on drop, not earlier, since it would compete for a
/// CPU.
#[derive(Debug)]
struct BusyReader {
    connection: ReaderConnection,
    start: Arc<dyn StartReader>,
    /// Set if a question needed the kernel's types.
    used_types: bool,
}

impl Drop for BusyReader {
    fn drop(&mut self) {
        self.start.make_ready(self.used_types);
    }
}

/// Reader with one question at a time.
#[derive(Debug)]
struct Asked {
    /// `None` after a question failed: later messages would be ambiguous, and the reader is terminated.
    at_work: Mutex<Option<BusyReader>>,
    /// Remaining time for all questions.
    left: Mutex<Duration>,
    /// Common time limit that is charged as well, if any.
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

/// Returns the error that a reader reported about the object.
fn told(why: String) -> EngineError {
    ObjectError::Told(cut(why)).into()
}
