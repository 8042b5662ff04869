use std::io;
use std::os::unix::net::UnixStream;

use bpfmand_frames::{Answering, Writing, wrong};
use bpfmand_object::{BtfFeatures, KernelBtf, ObjectFile, SharedBytes, TextOptions};

use crate::sent::{ReaderQuestion, cut};
use crate::sent_facts::SentFacts;
use crate::sent_program::SentProgram;

/// Kernel types for a reader.
pub enum ReaderTypes {
    Blob(Vec<u8>),
    /// Index from [`write_types_index`].
    Index(SharedBytes),
}

/// Writes an index of the kernel's BTF, which saves parsing all of it.
pub fn write_types_index(btf: Vec<u8>, to: &mut impl io::Write) -> io::Result<()> {
    KernelBtf::parse(btf).map_err(io::Error::other)?.write_index(to)
}

/// Serves questions about one object until the connection is closed; fails if the other end violates the protocol.
pub fn serve(stream: UnixStream, kernel_types: impl FnOnce() -> io::Result<ReaderTypes>) -> io::Result<()> {
    let mut served = Answering::new(stream);
    let Some(first) = served.question()? else { return Ok(()) };
    let (programs, features) = match first {
        ReaderQuestion::Read => (Vec::new(), None),
        ReaderQuestion::ReadAhead { programs, features } => (programs, Some(BtfFeatures::from(features))),
        _ => return Err(wrong("it was asked for something before it was given an object".to_owned())),
    };
    let object = match ObjectFile::parse(served.take()?) {
        Ok(object) => object,
        Err(error) => return served.say(&Err::<SentFacts, _>(cut(error.to_string()))),
    };
    // Written together: each write wakes the daemon.
    let mut answers = served.writing();
    add_facts(&mut answers, &object)?;
    if let Some(features) = features {
        add_linked(&mut answers, &object, features, &programs)?;
    }
    answers.send()?;
    let mut types = Types { read: Some(kernel_types), kernel: None };
    while let Some(question) = served.question()? {
        match question {
            ReaderQuestion::Read | ReaderQuestion::ReadAhead { .. } => {
                return Err(wrong("it was given a second object".to_owned()));
            }
            ReaderQuestion::Btf(features) => {
                let mut answers = served.writing();
                add_btf(&mut answers, &object, features.into())?;
                answers.send()?;
            }
            ReaderQuestion::NeedsKernelTypes { program } => served.say(&object.needs_kernel_btf(&program))?,
            ReaderQuestion::NeedsModuleTypes { program } => {
                let needs_modules = types.kernel().map(|kernel| object.needs_module_types(&program, kernel));
                served.say(&needs_modules.map_err(|error| cut(error.to_string())))?;
            }
            ReaderQuestion::Modules { count } => {
                for _ in 0..count {
                    let name: String = served.hear()?;
                    let bytes = served.take()?;
                    // Invalid types of a module are ignored, as in the daemon, which logs them.
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
                let options = TextOptions { kernel_btf, features: features.into() };
                let mut answers = served.writing();
                add_program(&mut answers, &object, &program, &options)?;
                answers.send()?;
            }
        }
    }
    Ok(())
}

/// Adds the answer of [`ReaderQuestion::Read`].
pub fn add_facts<W: io::Write>(answers: &mut Writing<'_, W>, object: &ObjectFile) -> io::Result<()> {
    let (facts, contents) = SentFacts::of(object.facts());
    answers.message(&Ok::<_, String>(facts))?;
    answers.content(&contents)
}

/// Adds the rest of the answer of [`ReaderQuestion::ReadAhead`]: BTF, and linked programs.
pub fn add_linked<W: io::Write>(
    answers: &mut Writing<'_, W>,
    object: &ObjectFile,
    features: BtfFeatures,
    programs: &[String],
) -> io::Result<()> {
    add_btf(answers, object, features)?;
    for program in programs {
        let needs_kernel = object.needs_kernel_btf(program);
        answers.message(&needs_kernel)?;
        if !needs_kernel {
            add_program(answers, object, program, &TextOptions { kernel_btf: None, features })?;
        }
    }
    Ok(())
}

fn add_btf<W: io::Write>(
    answers: &mut Writing<'_, W>,
    object: &ObjectFile,
    features: BtfFeatures,
) -> io::Result<()> {
    let btf = object.btf(features);
    answers.message(&btf.is_some())?;
    btf.map_or(Ok(()), |btf| answers.content(&btf))
}

fn add_program<W: io::Write>(
    answers: &mut Writing<'_, W>,
    object: &ObjectFile,
    program: &str,
    options: &TextOptions<'_>,
) -> io::Result<()> {
    match object.link(program, options) {
        Ok(linked) => {
            let (sent, lists) = SentProgram::of(&linked);
            answers.message(&Ok::<_, String>(sent))?;
            answers.content(&lists)
        }
        Err(error) => answers.message(&Err::<SentProgram, _>(cut(error.to_string()))),
    }
}

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
