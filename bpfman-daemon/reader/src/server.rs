//! A reader at work: one object, one question after the other.

use std::io;
use std::os::unix::net::UnixStream;

use bpfmand_frames::{Answering, wrong};
use bpfmand_object::{BtfFeatures, KernelBtf, ObjectFile, SharedBytes, TextOptions};

use crate::sent::{ReaderQuestion, cut};
use crate::sent_facts::SentFacts;
use crate::sent_program::SentProgram;

/// The kernel's types, as a reader gets them.
pub enum ReaderTypes {
    /// BTF, as the kernel has it.
    Blob(Vec<u8>),
    /// An index, as [`write_types_index`] writes it.
    Index(SharedBytes),
}

/// Writes an index of the kernel's BTF, by which readers and the engine do without reading all of it.
///
/// # Errors
/// The bytes are no BTF; errors of `to`.
pub fn write_types_index(btf: Vec<u8>, to: &mut impl io::Write) -> io::Result<()> {
    KernelBtf::parse(btf).map_err(io::Error::other)?.write_index(to)
}

/// Reads one object until nobody asks any more. `kernel_types` is called when a program needs them.
///
/// # Errors
/// The other end speaks another language, or ended in the middle of a word.
pub fn serve(stream: UnixStream, kernel_types: impl FnOnce() -> io::Result<ReaderTypes>) -> io::Result<()> {
    let mut served = Answering::new(stream);
    let Some(first) = served.question()? else { return Ok(()) };
    let ReaderQuestion::Read = first else {
        return Err(wrong("it was asked for something before it was given an object".to_owned()));
    };
    let object = match ObjectFile::parse(served.take()?) {
        Ok(object) => object,
        Err(error) => return served.say(&Err::<SentFacts, _>(cut(error.to_string()))),
    };
    let (facts, contents) = SentFacts::of(object.facts());
    served.say_with(&Ok::<_, String>(facts), &contents)?;
    drop(contents);
    let mut types = Types { read: Some(kernel_types), kernel: None };
    while let Some(question) = served.question()? {
        match question {
            ReaderQuestion::Read => return Err(wrong("it was given a second object".to_owned())),
            ReaderQuestion::Btf(features) => match object.btf(features.into()) {
                Some(btf) => served.say_with(&true, &btf)?,
                None => served.say(&false)?,
            },
            ReaderQuestion::NeedsKernelTypes { program } => served.say(&object.needs_kernel_btf(&program))?,
            ReaderQuestion::Exceeds { program } => {
                let exceeds = types.kernel().map(|kernel| object.exceeds(&program, kernel));
                served.say(&exceeds.map_err(|error| cut(error.to_string())))?;
            }
            ReaderQuestion::Modules { count } => {
                for _ in 0..count {
                    let name: String = served.hear()?;
                    let bytes = served.take()?;
                    // What is not understood is as if it were not there, as in the daemon, which tells.
                    if let Ok(kernel) = types.kernel() {
                        let _not_understood = kernel.add_module(&name, bytes);
                    }
                }
            }
            ReaderQuestion::Link { program, with_kernel, features } => {
                let kernel_btf = match with_kernel.then(|| types.kernel()).transpose() {
                    Ok(kernel) => kernel.map(|kernel| &*kernel),
                    Err(error) => {
                        served.say(&Err::<SentProgram, _>(cut(error.to_string())))?;
                        continue;
                    }
                };
                let features = BtfFeatures::from(features);
                match object.link(&program, &TextOptions { kernel_btf, features }) {
                    Ok(linked) => {
                        let (sent, lists) = SentProgram::of(&linked);
                        served.say_with(&Ok::<_, String>(sent), &lists)?;
                    }
                    Err(error) => served.say(&Err::<SentProgram, _>(cut(error.to_string())))?,
                }
            }
        }
    }
    Ok(())
}

/// The kernel's types, read once they are needed.
struct Types<R> {
    read: Option<R>,
    kernel: Option<KernelBtf>,
}

impl<R: FnOnce() -> io::Result<ReaderTypes>> Types<R> {
    fn kernel(&mut self) -> io::Result<&mut KernelBtf> {
        if let Some(read) = self.read.take() {
            let kernel = match read()? {
                ReaderTypes::Blob(bytes) => KernelBtf::parse(bytes),
                ReaderTypes::Index(bytes) => KernelBtf::from_index(&bytes),
            };
            self.kernel = Some(kernel.map_err(io::Error::other)?);
        }
        self.kernel.as_mut().ok_or_else(|| io::Error::other("the kernel's types could not be read"))
    }
}
