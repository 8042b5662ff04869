use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bpfmand_engine::{EbpfObject, EngineError, LinkAhead, ReadObjects};
use bpfmand_frames::WorkerLink;
use bpfmand_object::{MAX_OBJECT_BYTES, ObjectError, SharedBytes};

use crate::connection::ReaderConnection;
use crate::first_answer::FirstAnswer;
use crate::linker::{Asked, BusyReader, ReaderLinker, failed};
use crate::memory_limit::{MemoryPool, MemoryShare};
use crate::recent::RecentAnswers;
use crate::timeouts::{ReaderTimeouts, StartPatience};

/// Minimum timeout of a reader: no object is read faster.
const MIN_TIMEOUT: Duration = Duration::from_millis(20);

/// Starter of readers.
pub trait StartReader: fmt::Debug + Send + Sync {
    /// Starts a reader for one object. Must wait for nothing but the kernel.
    fn start_reader(&self) -> io::Result<WorkerLink>;

    /// Ends a reader, and may start the next in advance; must not delay the caller. `used_types`: its object needed the
    /// kernel's types.
    fn end_reader(self: Arc<Self>, _reader: WorkerLink, _used_types: bool) {}

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
#[derive(Clone, Debug)]
pub struct ReaderClient {
    start: Arc<dyn StartReader>,
    patience: Arc<ReaderTimeouts>,
    room: Arc<MemoryPool>,
    recent: Arc<RecentAnswers>,
}

impl ReaderClient {
    /// Creates a client with this starter.
    #[must_use]
    pub fn new(start: Arc<dyn StartReader>) -> Self {
        Self { start, patience: Arc::default(), room: Arc::default(), recent: Arc::default() }
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

    pub(crate) fn start(&self, share: Arc<MemoryShare>) -> Result<BusyReader, EngineError> {
        let link = self.start.start_reader().map_err(failed)?;
        let connection = ReaderConnection::new(link, share);
        Ok(BusyReader { connection, start: Arc::clone(&self.start), used_types: false })
    }

    fn share(&self) -> Arc<MemoryShare> {
        Arc::new(MemoryShare::of(&self.room))
    }

    fn read_within(
        &self,
        bytes: Arc<[u8]>,
        time: Duration,
        charged: Option<Arc<ReaderTimeouts>>,
        ahead: Option<&LinkAhead>,
    ) -> Result<EbpfObject, EngineError> {
        if bytes.len() > MAX_OBJECT_BYTES {
            return Err(ObjectError::TooLarge { bytes: bytes.len(), limit: MAX_OBJECT_BYTES }.into());
        }
        let later = self.share();
        let asked = Asked::of(self.start(Arc::clone(&later))?, time, charged, later);
        let first = Arc::new(asked.ask_first(&bytes, ahead, self.share())?);
        let object = object(Arc::clone(&first), asked)?;
        if let Some(ahead) = ahead {
            self.recent.add(bytes, ahead, first);
        }
        Ok(object)
    }
}

fn object(first: Arc<FirstAnswer>, asked: Asked) -> Result<EbpfObject, EngineError> {
    let facts = Arc::clone(&first.facts);
    EbpfObject::new(facts, Box::new(ReaderLinker { first, asked, later: Mutex::default() }))
}

impl ReadObjects for ReaderClient {
    fn is_able(&self) -> bool {
        self.start.is_able()
    }

    fn kernel_types(&self) -> Option<SharedBytes> {
        self.start.kernel_types()
    }

    fn read(&self, bytes: Arc<[u8]>) -> Result<EbpfObject, EngineError> {
        self.read_within(bytes, self.patience.of_one(), None, None)
    }

    fn read_ahead(&self, bytes: Arc<[u8]>, ahead: &LinkAhead) -> Result<EbpfObject, EngineError> {
        let time = self.patience.of_one();
        if let Some(first) = self.recent.find(&bytes, ahead) {
            return object(first, Asked::unneeded(self.clone(), bytes, time, self.share()));
        }
        self.read_within(bytes, time, None, Some(ahead))
    }

    fn read_again(&self, bytes: Arc<[u8]>) -> Result<EbpfObject, EngineError> {
        let time = self.patience.of_one_again();
        if time < MIN_TIMEOUT {
            let why = "others took all the time that this start has for those that failed before";
            return Err(EngineError::Reader(why.to_owned()));
        }
        self.read_within(bytes, time, Some(Arc::clone(&self.patience)), None)
    }
}
