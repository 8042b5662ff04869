//! Who asks a reader: one for each object.

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
use crate::patience::{Patience, StartPatience};
use crate::room::{AllRoom, Room};
use crate::sent::{ReaderQuestion, cut};
use crate::sent_facts::SentFacts;
use crate::sent_program::SentProgram;

/// Below that, one more object is not begun with: no object is read so fast.
const LEAST_PATIENCE: Duration = Duration::from_millis(20);
/// Bytes of the facts of an object: names of its functions and variables, above all.
const FACTS: usize = 4 << 20;
/// Bytes of contents of its maps: zeroed variables take no room in the file.
const CONTENTS: usize = 96 << 20;
/// Bytes of what is said of a program besides its lists.
pub(crate) const PROGRAM: usize = 1 << 20;
/// Bytes of a program's lists: instructions, and a line for each.
const LISTS: usize = MAX_INSTRUCTIONS * 32;

/// One reader, as the one who asks has it.
#[derive(Debug)]
pub struct ReaderLink {
    /// Leads to it.
    pub stream: UnixStream,
    /// Whoever runs it ends it when this is closed, whatever it does. None: closing the stream has to do.
    pub life: Option<OwnedFd>,
}

/// Starts readers.
pub trait StartReader: fmt::Debug + Send + Sync {
    /// Starts one, for one object. Must not wait for anything but the kernel.
    ///
    /// # Errors
    /// The kernel refuses, or nobody is left to start any.
    fn start_reader(&self) -> io::Result<ReaderLink>;

    /// Starts one ahead, for the next object. Called once an object was read; `used_types`: it needed the kernel's types.
    fn make_ready(&self, _used_types: bool) {}

    /// The index of the kernel's types ([`crate::write_types_index`]), made if there is none yet; none: it cannot be made.
    fn kernel_types(&self) -> Option<SharedBytes> {
        None
    }

    /// False once nobody is left to start any.
    fn is_able(&self) -> bool {
        true
    }
}

/// Has objects read by readers.
#[derive(Debug)]
pub struct ReaderClient {
    start: Arc<dyn StartReader>,
    patience: Arc<Patience>,
    room: Arc<AllRoom>,
}

impl ReaderClient {
    /// By those that are started so.
    #[must_use]
    pub fn new(start: Arc<dyn StartReader>) -> Self {
        Self { start, patience: Arc::default(), room: Arc::default() }
    }

    /// With another time for all questions to a reader than 30 seconds.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience: Arc::new(Patience::new(patience, None)), ..self }
    }

    /// Has less patience until [`Self::has_started`].
    #[must_use]
    pub fn starting(self, start: StartPatience) -> Self {
        Self { patience: Arc::new(Patience::new(self.patience.usual(), Some(start))), ..self }
    }

    /// With other room for all objects than 1 GiB.
    #[must_use]
    pub fn with_room(self, bytes: usize) -> Self {
        Self { room: Arc::new(AllRoom::new(bytes)), ..self }
    }

    /// The daemon has started.
    pub fn has_started(&self) {
        self.patience.has_started();
    }

    /// Reads one within this time.
    fn read_within(
        &self,
        bytes: &[u8],
        time: Duration,
        charged: Option<Arc<Patience>>,
    ) -> Result<EbpfObject, EngineError> {
        // It would be refused in the end, and no reader has to be asked for that.
        if bytes.len() > MAX_OBJECT_BYTES {
            return Err(ObjectError::TooLarge { bytes: bytes.len(), limit: MAX_OBJECT_BYTES }.into());
        }
        let ReaderLink { stream, life } = self.start.start_reader().map_err(failed)?;
        let room = Arc::new(Room::of(&self.room));
        let asked = Asked {
            at_work: Mutex::new(Some(AtWork {
                connection: ReaderConnection::new(stream, life, Arc::clone(&room)),
                start: Arc::clone(&self.start),
                used_types: false,
            })),
            left: Mutex::new(time),
            charged,
        };
        let facts = asked.ask(|connection| {
            connection.say_with(&ReaderQuestion::Read, bytes)?;
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
        if time < LEAST_PATIENCE {
            let why = "others took all the time that this start has for those that failed before";
            return Err(EngineError::Reader(why.to_owned()));
        }
        self.read_within(&bytes, time, Some(Arc::clone(&self.patience)))
    }
}

/// A reader that has an object.
#[derive(Debug)]
struct ReaderLinker {
    asked: Asked,
    /// As long as what it said is held.
    _room: Arc<Room>,
    state: Mutex<ReaderState>,
}

/// What a reader said or was told already.
#[derive(Debug, Default)]
struct ReaderState {
    /// The last BTF: all programs of a load share it.
    btf: Option<(BtfFeatures, Option<Arc<[u8]>>)>,
    has_modules: bool,
}

impl ReaderLinker {
    fn ask_for<T: DeserializeOwned>(&self, question: &ReaderQuestion) -> Result<T, EngineError> {
        self.asked.ask(|connection| {
            connection.say(question)?;
            connection.hear(SMALL)
        })
    }

    /// Gives the reader what modules have, once.
    fn give_modules(&self, types: &KernelTypes<'_>) -> Result<(), EngineError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.has_modules || types.modules().is_empty() {
            return Ok(());
        }
        state.has_modules = true;
        self.asked.ask(|connection| {
            connection.say(&ReaderQuestion::Modules { count: types.modules().len() })?;
            for (name, bytes) in types.modules() {
                connection.say_with(name, bytes)?;
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
        self.ask_for(&ReaderQuestion::NeedsKernelTypes { program: program.to_owned() })
    }

    fn exceeds(&self, program: &str, types: &KernelTypes<'_>) -> Result<bool, EngineError> {
        self.asked.uses_types();
        let exceeds: Result<bool, String> =
            self.ask_for(&ReaderQuestion::Exceeds { program: program.to_owned() })?;
        exceeds.or_else(|why| {
            // A kernel that has none says so better itself.
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

/// A reader that reads an object. When it is dropped, the next one is started: not before, since it would take a processor
/// from this one.
#[derive(Debug)]
struct AtWork {
    connection: ReaderConnection,
    start: Arc<dyn StartReader>,
    /// It was asked for what takes the kernel's types.
    used_types: bool,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.start.make_ready(self.used_types);
    }
}

/// A reader, one question at a time.
#[derive(Debug)]
struct Asked {
    /// None once a question failed: nobody knows what comes next, and the reader is ended.
    at_work: Mutex<Option<AtWork>>,
    /// How long all that is still to be asked may take.
    left: Mutex<Duration>,
    /// Whose time this takes besides, if anybody's.
    charged: Option<Arc<Patience>>,
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

/// A reader that does not do its work.
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

/// What it says is wrong with the object.
fn told(why: String) -> EngineError {
    ObjectError::Told(cut(why)).into()
}
