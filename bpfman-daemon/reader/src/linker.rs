//! Linking of an object's programs by its reader.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bpfmand_engine::{EngineError, KernelTypes, LinkAhead, LinkPrograms};
use bpfmand_frames::SMALL;
use bpfmand_object::{BtfFeatures, LinkedProgram, ObjectError};
use serde::de::DeserializeOwned;

use crate::client::{ReaderClient, StartReader};
use crate::connection::ReaderConnection;
use crate::first_answer::{FirstAnswer, receive_btf, receive_program};
use crate::memory_limit::MemoryShare;
use crate::sent::{ReaderQuestion, cut};
use crate::timeouts::ReaderTimeouts;

#[derive(Debug)]
pub(crate) struct ReaderLinker {
    pub first: Arc<FirstAnswer>,
    pub asked: Asked,
    pub later: Mutex<LaterAnswers>,
}

#[derive(Debug, Default)]
pub(crate) struct LaterAnswers {
    /// BTF that all programs of a load share.
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

    fn give_modules(&self, types: &KernelTypes<'_>) -> Result<(), EngineError> {
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        if later.has_modules || types.modules().is_empty() {
            return Ok(());
        }
        later.has_modules = true;
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
        if let Some(btf) = self.first.btf(features) {
            return Ok(btf);
        }
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, btf)) = &later.btf
            && *of == features
        {
            return Ok(btf.clone());
        }
        let btf = self.asked.ask(|connection| {
            connection.say(&ReaderQuestion::Btf(features.into()))?;
            receive_btf(connection)
        })?;
        later.btf = Some((features, btf.clone()));
        Ok(btf)
    }

    fn needs_kernel_types(&self, program: &str) -> Result<bool, EngineError> {
        let ask = || self.request_answer(&ReaderQuestion::NeedsKernelTypes { program: program.to_owned() });
        self.first.needs_kernel_types(program).map_or_else(ask, Ok)
    }

    fn needs_module_types(&self, program: &str, types: &KernelTypes<'_>) -> Result<bool, EngineError> {
        if self.first.needs_kernel_types(program) == Some(false) {
            return Ok(false);
        }
        self.asked.uses_types();
        let needs_modules: Result<bool, String> =
            self.request_answer(&ReaderQuestion::NeedsModuleTypes { program: program.to_owned() })?;
        needs_modules.or_else(|why| {
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
        if let Some(linked) = self.first.linked(program, features) {
            return linked.map_err(told);
        }
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
            receive_program(connection)
        });
        let (sent, lists) = linked?.map_err(told)?;
        Ok(sent.with(&lists, self.btf(features)?))
    }

    fn finish(&self) {
        self.asked.finish();
    }
}

#[derive(Debug)]
pub(crate) struct BusyReader {
    pub connection: ReaderConnection,
    pub start: Arc<dyn StartReader>,
    pub used_types: bool,
}

#[derive(Debug)]
enum ReaderState {
    /// The first answer is of an earlier reader: another one starts for the first question beyond it.
    Unneeded(ReaderClient, Arc<[u8]>),
    Busy(BusyReader),
    /// After the last question, or after a failed one: later messages would be ambiguous.
    Ended,
}

impl ReaderState {
    fn end(&mut self) {
        if let Self::Busy(reader) = std::mem::replace(self, Self::Ended) {
            reader.start.end_reader(reader.connection.into_link(), reader.used_types);
        }
    }
}

/// Reader of one object, with the time that is left for questions.
#[derive(Debug)]
pub(crate) struct Asked {
    reader: Mutex<ReaderState>,
    left: Mutex<Duration>,
    charged: Option<Arc<ReaderTimeouts>>,
    /// Memory of all answers but the first, which later loads may use.
    later: Arc<MemoryShare>,
}

impl Asked {
    pub fn of(
        reader: BusyReader,
        time: Duration,
        charged: Option<Arc<ReaderTimeouts>>,
        later: Arc<MemoryShare>,
    ) -> Self {
        Self { reader: Mutex::new(ReaderState::Busy(reader)), left: Mutex::new(time), charged, later }
    }

    pub fn unneeded(client: ReaderClient, bytes: Arc<[u8]>, time: Duration, later: Arc<MemoryShare>) -> Self {
        let reader = Mutex::new(ReaderState::Unneeded(client, bytes));
        Self { reader, left: Mutex::new(time), charged: None, later }
    }

    /// Requests the first answer, and charges its memory to `share`.
    pub fn ask_first(
        &self,
        bytes: &[u8],
        ahead: Option<&LinkAhead>,
        share: Arc<MemoryShare>,
    ) -> Result<FirstAnswer, EngineError> {
        let first = self.ask(|connection| {
            connection.charge_to(share);
            let first = FirstAnswer::ask(connection, bytes, ahead);
            connection.charge_to(Arc::clone(&self.later));
            first
        });
        first?.map_err(told)
    }

    fn uses_types(&self) {
        if let ReaderState::Busy(reader) = &mut *self.reader.lock().unwrap_or_else(PoisonError::into_inner) {
            reader.used_types = true;
        }
    }

    fn finish(&self) {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).end();
    }

    pub fn ask<T>(
        &self,
        talk: impl FnOnce(&mut ReaderConnection) -> io::Result<T>,
    ) -> Result<T, EngineError> {
        let mut held = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unread = None;
        if let ReaderState::Unneeded(client, bytes) = &*held {
            let started = client.start(Arc::clone(&self.later))?;
            unread = Some(Arc::clone(bytes));
            *held = ReaderState::Busy(started);
        }
        let ReaderState::Busy(reader) = &mut *held else {
            return Err(EngineError::Reader("it was given up".to_owned()));
        };
        let connection = &mut reader.connection;
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = Instant::now();
        connection.begin(*left);
        let read = unread.map_or(Ok(Ok(())), |bytes| {
            FirstAnswer::ask(connection, &bytes, None).map(|read| read.map(|_same_as_before| ()))
        });
        let answer = match read {
            Ok(Ok(())) => talk(connection).map(Ok),
            Ok(Err(why)) => Ok(Err(why)),
            Err(error) => Err(error),
        };
        let took = begun.elapsed();
        *left = left.saturating_sub(took);
        if let Some(charged) = &self.charged {
            charged.charge(took);
        }
        let answer = answer.map_err(|error| {
            held.end();
            failed(error)
        });
        answer?.map_err(told)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.reader.get_mut().unwrap_or_else(PoisonError::into_inner).end();
    }
}

pub(crate) fn failed(error: io::Error) -> EngineError {
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

pub(crate) fn told(why: String) -> EngineError {
    ObjectError::Reported(cut(why)).into()
}
