//! The daemon's access to a verifier. Its answers are trusted for one load only; digests are computed here.

use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use bpfman_image_format::{Descriptor, Digest, ELF_LIMIT, Endian, Hasher, ImageReference};
use tokio::sync::OnceCell;

use super::link::{ExchangeError, Worker, failed};
use super::sent_error::SentError;
use super::sent_verify::{ConfigAnswer, DocumentAnswer, SentSignatures, SourceQuestion, VerifyQuestion};
use super::{StartWorker, WorkerRole};
use crate::blocking::blocking;
use crate::cache::storage;
use crate::found_signatures::FoundSignatures;
use crate::signature::Signature;
use crate::signature_place::{SignaturePlace, may_continue_search};
use crate::signature_source::SignatureSource;
use crate::signers::CountedSigners;
use crate::{ImageError, Limits, Revoked, Signers, TooFewSigners};
use bpfman_image_format::layer::FoundObject;
use bpfmand_frames::{PIECE, SMALL, WorkerConnection, wrong};

/// Maximum number of a verifier's questions: more than any search at one place needs.
const QUESTIONS: usize = 2048;

#[derive(Debug)]
pub(crate) struct VerifierClient {
    workers: Arc<dyn StartWorker>,
    worker: OnceCell<Worker>,
}

/// Maximum size of a parsed document, in bytes: the input has at most one MiB, and nothing is duplicated.
const DOCUMENT: usize = 8 << 20;
const COUNT: usize = 1 << 20;
/// Maximum size of a list of signatures, in bytes, if each control character is escaped as six bytes.
const FOUND: usize = 64 << 20;

pub(crate) struct Unpacked {
    pub(crate) object: FoundObject,
    pub(crate) object_digest: Digest,
}

pub(crate) enum Checked<T> {
    Whole(Result<T, ImageError>),
    Damaged,
}

impl VerifierClient {
    pub(crate) fn new(workers: Arc<dyn StartWorker>) -> Self {
        Self { workers, worker: OnceCell::new() }
    }

    async fn ask<T>(
        &self,
        talk: impl AsyncFnOnce(&mut WorkerConnection) -> Result<T, ExchangeError>,
    ) -> Result<T, ImageError> {
        let start = async || {
            let link = self.workers.start(WorkerRole::Verifier);
            Worker::new(WorkerRole::Verifier, link.map_err(|error| failed(WorkerRole::Verifier, error))?)
        };
        self.worker.get_or_try_init(start).await?.ask(talk).await
    }

    pub(crate) async fn manifest(&self, content: &[u8]) -> Result<DocumentAnswer, ImageError> {
        self.ask(async |connection| {
            connection.say(&VerifyQuestion::Manifest).await?;
            connection.give(content).await?;
            Ok(connection.hear(DOCUMENT).await?)
        })
        .await
    }

    pub(crate) async fn config(&self, content: &[u8]) -> Result<ConfigAnswer, ImageError> {
        self.ask(async |connection| {
            connection.say(&VerifyQuestion::Config).await?;
            connection.give(content).await?;
            Ok(connection.hear(DOCUMENT).await?)
        })
        .await
    }

    pub(crate) async fn count(
        &self,
        signatures: &[Signature],
        image: &ImageReference,
        digest: Digest,
        rule: &Signers,
        revoked: &Revoked,
    ) -> Result<Result<CountedSigners, TooFewSigners>, ImageError> {
        let question = VerifyQuestion::Count {
            signatures: signatures.to_vec(),
            image: image.to_string(),
            digest,
            rule: Box::new(rule.clone()),
            revoked: revoked.clone(),
        };
        self.ask(async |connection| {
            connection.say(&question).await?;
            let counted: Result<CountedSigners, TooFewSigners> = connection.hear(COUNT).await?;
            if let Ok(counted) = &counted
                && let Some(why) = counted.contradicts(rule, image, revoked, signatures.len())
            {
                return Err(ExchangeError::Broken(wrong(format!("it counts {why}"))));
            }
            Ok(counted)
        })
        .await
    }

    pub(crate) async fn find_all_signatures<S: SignatureSource>(
        &self,
        source: &S,
        digest: Digest,
        limits: &Limits,
    ) -> Result<FoundSignatures, ImageError> {
        let mut found = FoundSignatures::default();
        for place in SignaturePlace::ALL {
            let (limits, layers) = found.rest(limits);
            found.add(self.find_signatures(source, digest, &limits, place, layers).await?);
        }
        Ok(found)
    }

    pub(crate) async fn find_signatures<S: SignatureSource>(
        &self,
        source: &S,
        digest: Digest,
        limits: &Limits,
        place: SignaturePlace,
        layers: usize,
    ) -> Result<FoundSignatures, ImageError> {
        let name = source.name().to_owned();
        let question = VerifyQuestion::FindSignatures { name, digest, limits: *limits, place, layers };
        let found = self.ask(async |connection| {
            connection.say(&question).await?;
            for _ in 0..QUESTIONS {
                match connection.hear(FOUND).await? {
                    SourceQuestion::Manifest { target, limit } => {
                        let limit = limit.min(limits.manifest.max(limits.signature_manifest));
                        let content = tellable(source.manifest(&target, limit).await)?;
                        connection.say(&content.as_ref().map(Option::is_some)).await?;
                        if let Ok(Some(content)) = content {
                            connection.give(&content).await?;
                        }
                    }
                    SourceQuestion::Referrers => {
                        let pages = tellable(source.referrers(digest).await)?;
                        connection.say(&pages.as_ref().map(|pages| pages.as_ref().map(Vec::len))).await?;
                        for page in pages.into_iter().flatten().flatten() {
                            connection.give(&page).await?;
                        }
                    }
                    SourceQuestion::Blob { descriptor, limit } => {
                        let limit = limit.min(limits.signature);
                        let content = tellable(source.blob(&descriptor, limit).await)?;
                        connection.say(&content.as_ref().map(|_| ())).await?;
                        if let Ok(content) = content {
                            connection.give(&content).await?;
                        }
                    }
                    SourceQuestion::Found(found) => return Ok(found),
                }
            }
            Err(ExchangeError::Broken(wrong("it asks for more than signatures need".to_owned())))
        });
        let found: Result<SentSignatures, SentError> = found.await?;
        found.map(Into::into).map_err(Into::into)
    }

    pub(crate) async fn unpack(
        &self,
        file: File,
        layer: &Descriptor,
        image: &ImageReference,
        expected: Endian,
    ) -> Result<Checked<Unpacked>, ImageError> {
        let question = VerifyQuestion::Unpack {
            layer: layer.clone(),
            image: image.to_string(),
            big_endian: expected == Endian::Big,
        };
        let (found, digest, size) = self
            .ask(async |connection| {
                connection.say(&question).await?;
                let (digest, size) = give_file(connection, file, layer.digest).await?;
                let found = match connection.hear::<Result<Option<String>, SentError>>(SMALL).await? {
                    Ok(name) => Ok(FoundObject { name, bytes: connection.take(ELF_LIMIT).await? }),
                    Err(error) => Err(ImageError::from(error)),
                };
                Ok((found, digest, size))
            })
            .await?;
        if digest != layer.digest {
            return Ok(Checked::Damaged);
        }
        if size != layer.size {
            let what = format!("the layer {} of {}", layer.digest, image.name());
            let source = format!("it has {size} bytes, and the manifest states {}", layer.size).into();
            return Err(ImageError::Malformed { what, source });
        }
        Ok(Checked::Whole(found.map(|object| {
            let object_digest = Digest::of(&object.bytes);
            Unpacked { object, object_digest }
        })))
    }
}

async fn give_file(
    connection: &mut WorkerConnection,
    file: File,
    named: Digest,
) -> Result<(Digest, u64), ExchangeError> {
    let (mut file, mut hasher, mut size) = (file, Hasher::default(), 0);
    loop {
        let piece;
        (file, hasher, piece) = blocking(move || {
            let mut piece = Vec::new();
            let read = (&mut file).take(PIECE as u64).read_to_end(&mut piece);
            read.map_err(storage(std::path::Path::new(&named.hex())))?;
            hasher.update(&piece);
            Ok((file, hasher, piece))
        })
        .await?;
        size += piece.len() as u64;
        connection.give_piece(&piece).await?;
        if piece.is_empty() {
            return Ok((hasher.finish(), size));
        }
    }
}

/// Returns an error to the worker if the search can continue after it; other errors end the load.
fn tellable<T>(result: Result<T, ImageError>) -> Result<Result<T, SentError>, ImageError> {
    match result {
        Ok(found) => Ok(Ok(found)),
        Err(error) if may_continue_search(&error) => Ok(Err(error.into())),
        Err(error) => Err(error),
    }
}
