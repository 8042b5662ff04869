//! First answer of a reader: the facts of an object, and its programs as far as they can be linked without the kernel's types.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bpfmand_engine::LinkAhead;
use bpfmand_frames::{SMALL, wrong};
use bpfmand_object::{BtfFeatures, LinkedProgram, MAX_INSTRUCTIONS, MAX_OBJECT_BYTES, ObjectFacts};

use crate::connection::ReaderConnection;
use crate::memory_limit::MemoryShare;
use crate::sent::ReaderQuestion;
use crate::sent_facts::SentFacts;
use crate::sent_program::SentProgram;

/// Maximum size of the facts, in bytes: mostly names of functions and variables.
const FACTS: usize = 4 << 20;
/// Maximum size of all contents, in bytes. Zeroed variables count, but take no space in the file.
const CONTENTS: usize = 96 << 20;
pub(crate) const PROGRAM: usize = 1 << 20;
/// Maximum size of a program's lists, in bytes: instructions, and a line for each.
const LISTS: usize = MAX_INSTRUCTIONS * 32;

/// Result, or the error of the object.
pub(crate) type Answer<T> = Result<T, String>;

#[derive(Debug)]
pub(crate) struct FirstAnswer {
    pub facts: Arc<ObjectFacts>,
    ahead: Option<LinkedAhead>,
    share: Arc<MemoryShare>,
}

#[derive(Debug)]
struct LinkedAhead {
    features: BtfFeatures,
    btf: Option<Arc<[u8]>>,
    /// `None`: the program needs the kernel's types.
    programs: BTreeMap<String, Option<Answer<LinkedProgram>>>,
}

impl FirstAnswer {
    /// Sends an object to a reader, and receives the first answer.
    pub fn ask(
        connection: &mut ReaderConnection,
        bytes: &[u8],
        ahead: Option<&LinkAhead>,
    ) -> io::Result<Answer<Self>> {
        let question = match ahead {
            None => ReaderQuestion::Read,
            Some(LinkAhead { programs, features }) => {
                ReaderQuestion::ReadAhead { programs: programs.clone(), features: (*features).into() }
            }
        };
        connection.send_with(&question, bytes)?;
        let sent: SentFacts = match connection.hear(FACTS)? {
            Ok(sent) => sent,
            Err(why) => return Ok(Err(why)),
        };
        let size = sent.contents();
        if size > CONTENTS {
            return Err(wrong(format!("it announces {size} bytes of variables")));
        }
        let facts = Arc::new(sent.with(&connection.take_exactly(size)?));
        let ahead = ahead.map(|ahead| LinkedAhead::receive(ahead, connection)).transpose()?;
        Ok(Ok(Self { facts, ahead, share: connection.share() }))
    }

    /// Returns its charged memory, in bytes.
    pub fn memory(&self) -> usize {
        self.share.held()
    }

    /// Returns whether all its programs were linked.
    pub fn is_complete(&self) -> bool {
        let is_linked = |program: &Option<Answer<_>>| matches!(program, Some(Ok(_)));
        self.ahead.as_ref().is_some_and(|ahead| ahead.programs.values().all(is_linked))
    }

    /// Returns the object's BTF for a kernel with these features, if the answer has it.
    pub fn btf(&self, features: BtfFeatures) -> Option<Option<Arc<[u8]>>> {
        self.for_features(features).map(|ahead| ahead.btf.clone())
    }

    /// Returns whether a program needs the kernel's types; `None` if the answer has no such program.
    pub fn needs_kernel_types(&self, program: &str) -> Option<bool> {
        Some(self.ahead.as_ref()?.programs.get(program)?.is_none())
    }

    /// Returns a program for a kernel with these features, if it was linked.
    pub fn linked(&self, program: &str, features: BtfFeatures) -> Option<Answer<LinkedProgram>> {
        self.for_features(features)?.programs.get(program)?.clone()
    }

    fn for_features(&self, features: BtfFeatures) -> Option<&LinkedAhead> {
        self.ahead.as_ref().filter(|ahead| ahead.features == features)
    }
}

impl LinkedAhead {
    fn receive(ahead: &LinkAhead, connection: &mut ReaderConnection) -> io::Result<Self> {
        let btf = receive_btf(connection)?;
        let mut programs = BTreeMap::new();
        for program in &ahead.programs {
            let needs_kernel: bool = connection.hear(SMALL)?;
            let linked = (!needs_kernel).then(|| receive_program(connection)).transpose()?;
            let linked = linked.map(|linked| linked.map(|(sent, lists)| sent.with(&lists, btf.clone())));
            programs.insert(program.clone(), linked);
        }
        Ok(Self { features: ahead.features, btf, programs })
    }
}

/// Receives an object's BTF, if it has any.
pub(crate) fn receive_btf(connection: &mut ReaderConnection) -> io::Result<Option<Arc<[u8]>>> {
    let is_some: bool = connection.hear(SMALL)?;
    is_some.then(|| connection.take(MAX_OBJECT_BYTES).map(Arc::from)).transpose()
}

pub(crate) fn receive_program(
    connection: &mut ReaderConnection,
) -> io::Result<Answer<(SentProgram, Vec<u8>)>> {
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
