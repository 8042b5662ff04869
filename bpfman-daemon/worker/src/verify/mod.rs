//! The verifier process: parses bytes and returns their contents. It has no files and no network.

mod bundle;
mod count;
mod find_signatures;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod key;
mod simple_signing;
mod trust_root;
mod unpack;

use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bpfman_image_format::manifest::{self, ImageConfig};
use bpfman_image_format::{Descriptor, Digest, Endian, ImageReference, Labels};
use serde::de::DeserializeOwned;

use bpfmand_frames::{Answering, wrong};
use bpfmand_image::messages::{
    ConfigAnswer, DocumentAnswer, ReadConfig, SentError, SentSignatures, SignaturePlace, SignatureSource,
    SourceQuestion, VerifyQuestion,
};
use bpfmand_image::{ImageError, Limits, SignatureError};

use self::unpack::unpack;

pub(crate) fn serve(stream: UnixStream) -> io::Result<()> {
    let mut served = Answering::new(stream);
    while let Some(question) = served.question()? {
        answer(&mut served, question)?;
    }
    Ok(())
}

fn answer(served: &mut Answering, question: VerifyQuestion) -> io::Result<()> {
    match question {
        VerifyQuestion::Manifest => {
            let content = served.take()?;
            served.say(&match manifest::parse(&content) {
                Ok(document) => DocumentAnswer::Read(document),
                Err(error) if error.is_unsupported() => DocumentAnswer::Unsupported(error.to_string()),
                Err(error) => DocumentAnswer::Malformed(error.to_string()),
            })
        }
        VerifyQuestion::Config => {
            let content = served.take()?;
            served.say(&config(&content))
        }
        VerifyQuestion::FindSignatures { name, digest, limits, place, layers } => {
            find(served, &name, digest, &limits, place, layers)
        }
        VerifyQuestion::Count { signatures, image, digest, rule, revoked } => {
            let image = named(&image)?;
            served.say(&count::count(&signatures, &image, digest, &rule, &revoked))
        }
        VerifyQuestion::Unpack { layer, image, big_endian } => {
            let image = named(&image)?;
            let expected = if big_endian { Endian::Big } else { Endian::Little };
            let mut content = served.content();
            let unpacked = unpack(&mut content, &layer, &image, expected);
            // Drain the layer: bytes that the parser did not need belong to it as well.
            io::copy(&mut content, &mut io::sink())?;
            match unpacked {
                Ok(found) => {
                    served.say(&Ok::<_, SentError>(&found.name))?;
                    served.give(&found.bytes)
                }
                Err(error) => served.say(&Err::<Option<String>, _>(SentError::from(error))),
            }
        }
    }
}

fn malformed<E: fmt::Display>(part: &'static str) -> impl FnOnce(E) -> SignatureError {
    move |error| SignatureError::Malformed { part: part.into(), why: error.to_string() }
}

fn named(image: &str) -> io::Result<ImageReference> {
    image.parse().map_err(|error| wrong(format!("an image's name is none: {error}")))
}

fn config(content: &[u8]) -> ConfigAnswer {
    let config = match ImageConfig::parse(content) {
        Ok(config) => config,
        Err(error) => return ConfigAnswer::Malformed(error.to_string()),
    };
    let architecture = config.architecture.clone();
    match Labels::read(&config.labels()) {
        Ok(labels) => ConfigAnswer::Read(ReadConfig { architecture, labels }),
        Err(error) => ConfigAnswer::Label(error.to_string()),
    }
}

fn find(
    served: &mut Answering,
    name: &str,
    digest: Digest,
    limits: &Limits,
    place: SignaturePlace,
    layers: usize,
) -> io::Result<()> {
    let source = CallerSource { name, served: Mutex::new(served), broken: Mutex::new(None) };
    // The task waits only for the socket, which blocks: the runtime needs no drivers.
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let found = runtime.block_on(find_signatures::find(&source, digest, limits, place, layers));
    if let Some(broken) = source.broken.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(broken);
    }
    let found = found.map(SentSignatures::from).map_err(SentError::from);
    served.say(&SourceQuestion::Found(found))
}

struct CallerSource<'a> {
    name: &'a str,
    served: Mutex<&'a mut Answering>,
    broken: Mutex<Option<io::Error>>,
}

impl CallerSource<'_> {
    fn ask<A: DeserializeOwned, T>(
        &self,
        question: &SourceQuestion,
        take: impl FnOnce(&mut Answering, A) -> io::Result<T>,
    ) -> Result<T, ImageError> {
        let mut served: MutexGuard<'_, _> = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        let talk = || {
            served.say(question)?;
            let answer: Result<A, SentError> = served.hear()?;
            match answer {
                Ok(answer) => take(&mut served, answer).map(Ok),
                Err(error) => Ok(Err(error)),
            }
        };
        match talk() {
            Ok(answer) => answer.map_err(Into::into),
            Err(error) => {
                *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Err(ImageError::Cancelled)
            }
        }
    }
}

impl SignatureSource for CallerSource<'_> {
    fn name(&self) -> &str {
        self.name
    }

    async fn manifest(&self, target: &str, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
        let question = SourceQuestion::Manifest { target: target.to_owned(), limit };
        self.ask(&question, |served, is_there: bool| is_there.then(|| served.take()).transpose())
    }

    async fn referrers(&self, _digest: Digest) -> Result<Option<Vec<Vec<u8>>>, ImageError> {
        self.ask(&SourceQuestion::Referrers, |served, pages: Option<usize>| {
            pages.map(|pages| (0..pages).map(|_| served.take()).collect()).transpose()
        })
    }

    async fn blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, ImageError> {
        let question = SourceQuestion::Blob { descriptor: descriptor.clone(), limit };
        self.ask(&question, |served, ()| served.take())
    }
}
