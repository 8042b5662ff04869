//! The fetcher process: serves requests about one repository, one after the other.

mod challenge;
mod endpoint;
mod endpoints;
mod pace;
mod private;
mod reach;
mod redirect;
mod refusal;
mod resolver;
mod retry;

use std::io;
use std::os::unix::net::UnixStream;

use bpfmand_frames::{Answering, PIECE, wrong};
use bpfmand_image::messages::{BlobEvent, FetchAnswer, FetchQuestion, SentError, Sink};
use bpfmand_image::{ImageError, Limits};

use self::endpoints::RegistryEndpoints;

pub(crate) fn serve(stream: UnixStream) -> io::Result<()> {
    let mut served = Answering::new(stream);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()?;
    let Some(first) = served.question()? else { return Ok(()) };
    let FetchQuestion::Open { name, places, limits } = first else {
        return Err(wrong("it was asked for something before it was configured".to_owned()));
    };
    let (endpoints, answer) = match RegistryEndpoints::new(name, places, limits) {
        Ok(endpoints) => (Some(endpoints), Ok(())),
        Err(error) => (None, Err(SentError::from(error))),
    };
    served.say(&FetchAnswer { used_password: false, silent: Vec::new(), result: answer })?;
    let Some(endpoints) = endpoints else { return Ok(()) };
    let done = Working { served, endpoints, limits, runtime: &runtime }.work();
    // Do not wait for a name lookup that never ends.
    runtime.shutdown_background();
    done
}

struct Working<'a> {
    served: Answering,
    endpoints: RegistryEndpoints,
    limits: Limits,
    runtime: &'a tokio::runtime::Runtime,
}

impl Working<'_> {
    fn work(&mut self) -> io::Result<()> {
        while let Some(question) = self.served.question()? {
            self.answer(question)?;
        }
        Ok(())
    }

    /// Waits at most as long as a load may take: by then the daemon has given up.
    fn wait<T>(&self, what: impl Future<Output = Result<T, ImageError>>) -> Result<T, ImageError> {
        let limit = self.limits.overall_timeout;
        let late = || ImageError::Unreachable {
            registry: "that was asked".to_owned(),
            what: "what is needed".to_owned(),
            tls: None,
            source: format!("nothing came of it in {} s", limit.as_secs()).into(),
        };
        let waited = self.runtime.block_on(async { tokio::time::timeout(limit, what).await });
        waited.unwrap_or_else(|_| Err(late()))
    }

    fn answer(&mut self, question: FetchQuestion) -> io::Result<()> {
        let endpoints = &self.endpoints;
        match question {
            FetchQuestion::Open { .. } => Err(wrong("it is open already".to_owned())),
            FetchQuestion::Manifest { target, limit } => {
                match self.wait(endpoints.manifest(&target, limit)) {
                    Ok(content) => {
                        self.tell(Ok(()))?;
                        self.served.give(&content)
                    }
                    Err(error) => self.tell::<()>(Err(error)),
                }
            }
            FetchQuestion::HasManifest { digest } => {
                let has = self.wait(endpoints.check_manifest(digest));
                self.tell(has)
            }
            FetchQuestion::HasBlob { descriptor } => {
                let has = self.wait(endpoints.check_blob(&descriptor));
                self.tell(has)
            }
            FetchQuestion::Referrers { digest } => match self.wait(endpoints.pages(digest, &self.limits)) {
                Ok(Some(pages)) => {
                    self.tell(Ok(Some(pages.len())))?;
                    pages.iter().try_for_each(|page| self.served.give(page))
                }
                Ok(None) => self.tell(Ok(None::<usize>)),
                Err(error) => self.tell::<Option<usize>>(Err(error)),
            },
            FetchQuestion::Blob { descriptor, limit } => {
                let mut sink = SinkOfAsker { served: &mut self.served, broken: None };
                let result = self.runtime.block_on(endpoints.blob(&descriptor, limit, &mut sink));
                if let Some(broken) = sink.broken {
                    return Err(broken);
                }
                let answer = self.answer_with(result);
                self.served.say(&BlobEvent::End(answer))
            }
        }
    }

    fn tell<T: serde::Serialize>(&mut self, result: Result<T, ImageError>) -> io::Result<()> {
        let answer = self.answer_with(result);
        self.served.say(&answer)
    }

    fn answer_with<T>(&self, result: Result<T, ImageError>) -> FetchAnswer<T> {
        let (used_password, silent) = (self.endpoints.used_password(), self.endpoints.silent_mirrors());
        FetchAnswer { used_password, silent, result: result.map_err(SentError::from) }
    }
}

struct SinkOfAsker<'a> {
    served: &'a mut Answering,
    broken: Option<io::Error>,
}

impl SinkOfAsker<'_> {
    fn told(&mut self, told: io::Result<()>) -> Result<(), ImageError> {
        told.map_err(|error| {
            let kind = error.kind();
            self.broken = Some(error);
            // A local failure ends the transfer: no mirror is tried.
            ImageError::Storage { path: "the one who asked".into(), source: kind.into() }
        })
    }
}

impl Sink for SinkOfAsker<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), ImageError> {
        let told = bytes.chunks(PIECE).try_for_each(|piece| self.served.give_piece(piece));
        self.told(told)
    }

    fn restart(&mut self) -> Result<(), ImageError> {
        let told = self.served.say(&BlobEvent::Restart);
        self.told(told)
    }
}
