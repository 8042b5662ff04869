//! Access to a registry through a fetcher. Content counts only when its digest was computed here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bpfman_image_format::{Descriptor, Digest, Hasher, TransferProgress};
use serde::de::DeserializeOwned;

use super::link::{ExchangeError, Worker, failed};
use super::sent_fetch::{BlobEvent, FetchAnswer, FetchQuestion};
use super::{StartWorker, WorkerRole};
use crate::settings::RepositoryPlace;
use crate::signature_source::SignatureSource;
use crate::sink::Sink;
use crate::unresponsive_mirrors::UnresponsiveMirrors;
use crate::{ImageError, Limits};
use bpfmand_frames::{Frame, SMALL, WorkerConnection, understood, wrong};

const PAGES: usize = 64;
const RESTARTS: usize = 64;

pub(crate) struct RegistryClient {
    name: String,
    limits: Limits,
    worker: Worker,
    used_password: AtomicBool,
    mirrors: Vec<String>,
    silent: Arc<UnresponsiveMirrors>,
}

impl RegistryClient {
    pub(crate) async fn open(
        workers: &dyn StartWorker,
        name: String,
        mut places: Vec<RepositoryPlace>,
        limits: Limits,
        silent: &Arc<UnresponsiveMirrors>,
    ) -> Result<Self, ImageError> {
        silent.leave_out(&mut places);
        let mirrors = places.iter().filter(|place| place.mirror).map(|place| place.host.clone()).collect();
        let role = WorkerRole::Fetcher;
        let link = workers.start(role).map_err(|error| failed(role, error))?;
        let worker = Worker::new(role, link)?;
        let (used_password, silent) = (AtomicBool::new(false), Arc::clone(silent));
        let client = Self { name: name.clone(), limits, worker, used_password, mirrors, silent };
        client.ask(FetchQuestion::Open { name, places, limits }).await?;
        Ok(client)
    }

    async fn ask(&self, question: FetchQuestion) -> Result<(), ImageError> {
        self.worker
            .ask(async |connection| {
                connection.say(&question).await?;
                self.heard::<()>(connection).await
            })
            .await?
    }

    async fn heard<T: DeserializeOwned>(
        &self,
        connection: &mut WorkerConnection,
    ) -> Result<Result<T, ImageError>, ExchangeError> {
        Ok(self.noted(connection.hear(SMALL).await?))
    }

    fn noted<T>(&self, answer: FetchAnswer<T>) -> Result<T, ImageError> {
        self.used_password.fetch_or(answer.used_password, Ordering::Relaxed);
        self.silent.note(answer.silent.iter().filter(|host| self.mirrors.contains(host)));
        answer.result.map_err(Into::into)
    }

    pub(crate) async fn manifest(&self, target: &str, limit: u64) -> Result<(Vec<u8>, Digest), ImageError> {
        let question = FetchQuestion::Manifest { target: target.to_owned(), limit };
        let content = self
            .worker
            .ask(async |connection| {
                connection.say(&question).await?;
                match self.heard::<()>(connection).await? {
                    Ok(()) => Ok(Ok(connection.take(limit).await?)),
                    Err(error) => Ok(Err(error)),
                }
            })
            .await??;
        let found = Digest::of(&content);
        if let Ok(expected) = target.parse::<Digest>()
            && expected != found
        {
            let what = format!("the manifest {}:{target}", self.name);
            return Err(ImageError::WrongDigest { what, expected, found });
        }
        Ok((content, found))
    }

    pub(crate) fn used_password(&self) -> bool {
        self.used_password.load(Ordering::Relaxed)
    }

    pub(crate) async fn check_manifest(&self, digest: Digest) -> Result<(), ImageError> {
        self.ask(FetchQuestion::HasManifest { digest }).await
    }

    pub(crate) async fn check_blob(&self, descriptor: &Descriptor) -> Result<(), ImageError> {
        self.ask(FetchQuestion::HasBlob { descriptor: descriptor.clone() }).await
    }

    pub(crate) async fn blob(
        &self,
        descriptor: &Descriptor,
        limit: u64,
        sink: &mut dyn Sink,
        progress: Option<TransferProgress<'_>>,
    ) -> Result<(), ImageError> {
        let what = format!("the blob {} of {}", descriptor.digest, self.name);
        let (size, expected) = (descriptor.size, descriptor.digest);
        if size > limit {
            return Err(ImageError::TooLarge { what, size: Some(size), limit });
        }
        let question = FetchQuestion::Blob { descriptor: descriptor.clone(), limit };
        let found = self
            .worker
            .ask(async |connection| {
                connection.say(&question).await?;
                let (mut hasher, mut done, mut restarts) = (Hasher::default(), 0, 0);
                loop {
                    match connection.next(SMALL).await? {
                        Frame::Piece(piece) => {
                            done += piece.len() as u64;
                            if done > size {
                                return Err(ExchangeError::Broken(wrong(format!(
                                    "more than {size} bytes came"
                                ))));
                            }
                            hasher.update(&piece);
                            sink.write(&piece)?;
                            if let Some(progress) = progress {
                                progress(done, size);
                            }
                        }
                        Frame::Message(message) => match understood(&message)? {
                            BlobEvent::Restart if restarts == RESTARTS => {
                                return Err(ExchangeError::Broken(wrong(
                                    "a blob comes again and again".to_owned(),
                                )));
                            }
                            BlobEvent::Restart => {
                                restarts += 1;
                                sink.restart()?;
                                (hasher, done) = (Hasher::default(), 0);
                            }
                            BlobEvent::End(answer) => {
                                return Ok(self.noted(answer).map(|()| hasher.finish()));
                            }
                        },
                    }
                }
            })
            .await??;
        if found != expected {
            return Err(ImageError::WrongDigest { what, expected, found });
        }
        Ok(())
    }
}

impl SignatureSource for RegistryClient {
    fn name(&self) -> &str {
        &self.name
    }

    async fn manifest(&self, target: &str, limit: u64) -> Result<Option<Vec<u8>>, ImageError> {
        match Self::manifest(self, target, limit).await {
            Ok((bytes, _)) => Ok(Some(bytes)),
            Err(ImageError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn referrers(&self, digest: Digest) -> Result<Option<Vec<Vec<u8>>>, ImageError> {
        let limit = self.limits.manifest;
        self.worker
            .ask(async |connection| {
                connection.say(&FetchQuestion::Referrers { digest }).await?;
                let pages: usize = match self.heard::<Option<usize>>(connection).await? {
                    Ok(Some(pages)) if pages > PAGES => {
                        return Err(ExchangeError::Broken(wrong(format!("{pages} pages of referrers"))));
                    }
                    Ok(Some(pages)) => pages,
                    Ok(None) => return Ok(Ok(None)),
                    Err(error) => return Ok(Err(error)),
                };
                let mut all = Vec::new();
                for _ in 0..pages {
                    all.push(connection.take(limit).await?);
                }
                Ok(Ok(Some(all)))
            })
            .await?
    }

    async fn blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, ImageError> {
        let mut content = Vec::new();
        Self::blob(self, descriptor, limit, &mut content, None).await?;
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;

    use bpfmand_frames::{Answering, WorkerLink};

    use super::*;

    type Act = fn(&mut Answering) -> io::Result<()>;

    #[derive(Debug)]
    struct Hostile(Mutex<Option<Act>>);

    impl StartWorker for Hostile {
        fn start(&self, _: WorkerRole) -> io::Result<WorkerLink> {
            let (stream, other) = std::os::unix::net::UnixStream::pair()?;
            let act = self.0.lock().unwrap().take().unwrap();
            std::thread::spawn(move || {
                let mut served = Answering::new(other);
                let _opened: FetchQuestion = served.hear()?;
                served.say(&FetchAnswer { used_password: false, silent: Vec::new(), result: Ok(()) })?;
                let _asked: FetchQuestion = served.hear()?;
                act(&mut served)
            });
            Ok(WorkerLink { stream, life: None })
        }
    }

    async fn open(act: Act) -> RegistryClient {
        let workers = Hostile(Mutex::new(Some(act)));
        let (name, limits) = ("quay.io/a".to_owned(), Limits::default());
        RegistryClient::open(&workers, name, Vec::new(), limits, &Arc::default()).await.unwrap()
    }

    fn done<T>(result: Result<T, crate::worker::sent_error::SentError>) -> FetchAnswer<T> {
        FetchAnswer { used_password: false, silent: Vec::new(), result }
    }

    #[tokio::test]
    async fn content_that_a_fetcher_made_up_does_not_count() {
        let digest = Digest::of(b"content");
        let client = open(|served| {
            served.say(&done(Ok(())))?;
            served.give(b"other")
        })
        .await;
        let error = client.manifest(&digest.to_string(), 100).await.unwrap_err();
        assert!(matches!(error, ImageError::WrongDigest { expected, .. } if expected == digest), "{error}");
        let client = open(|served| {
            served.give_piece(b"another")?;
            served.say(&BlobEvent::End(done(Ok(()))))
        })
        .await;
        let mut sink = Vec::new();
        let descriptor = Descriptor::of("", b"content");
        let error = client.blob(&descriptor, 100, &mut sink, None).await.unwrap_err();
        assert!(matches!(error, ImageError::WrongDigest { .. }), "{error}");
    }

    #[tokio::test]
    async fn fetcher_that_sends_too_much_is_abandoned() {
        let client = open(|served| {
            served.say(&done(Ok(())))?;
            served.give(&[0; 200])
        })
        .await;
        let error = client.manifest("latest", 100).await.unwrap_err();
        assert!(error.to_string().contains("more than 100 bytes came"), "{error}");
        let client = open(|served| served.give(&[0; 8])).await;
        let descriptor = Descriptor::of("", b"content");
        let error = client.blob(&descriptor, 100, &mut Vec::new(), None).await.unwrap_err();
        assert!(error.to_string().contains("more than 7 bytes came"), "{error}");
        let client = open(|served| served.say(&done(Ok(Some(u32::MAX))))).await;
        assert!(client.referrers(Digest::of(b"")).await.is_err());
    }

    #[tokio::test]
    async fn fetcher_with_wrong_answer_is_abandoned() {
        let acts: [Act; 3] = [
            |_| Ok(()),
            |served| served.say(&"something else"),
            |served| {
                served.say(&done(Ok(())))?;
                served.say(&done(Ok(())))
            },
        ];
        for act in acts {
            let client = open(act).await;
            let error = client.manifest("latest", 100).await.unwrap_err();
            assert!(matches!(error, ImageError::Worker { role: WorkerRole::Fetcher, .. }), "{error}");
            // The connection cannot be used again: the next message would be ambiguous.
            assert!(client.check_manifest(Digest::of(b"")).await.is_err());
        }
    }
}
