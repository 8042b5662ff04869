//! Fetching of the radar's image on a thread: a registry may be slow, and callers that wait hold the change gate.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::Builder;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bpfman_model::PullPolicy;
use bpfmand_engine::{ImageAsk, Images};

pub struct ImageFetch(Receiver<anyhow::Result<()>>);

impl ImageFetch {
    /// Starts to fetch the image. If the value is dropped, the pull continues in the background.
    pub fn start(images: &Arc<dyn Images>, url: &str) -> anyhow::Result<Self> {
        let (told, fetched) = channel();
        let (images, url) = (Arc::clone(images), url.to_owned());
        let fetch = move || {
            let ask = ImageAsk {
                url: &url,
                pull_policy: PullPolicy::IfNotPresent,
                credentials: None,
                caller_uid: 0,
            };
            let fetched = images.fetch(ask, &|_, _| {});
            let fetched = fetched.map(drop);
            let result = fetched.map_err(|failure| anyhow!("cannot fetch its image: {}", failure.message));
            let _nobody_waits = told.send(result);
        };
        Builder::new().name("radar-image".to_owned()).spawn(fetch).context("no thread to fetch its image")?;
        Ok(Self(fetched))
    }

    pub fn wait(&self, time: Duration) -> Option<anyhow::Result<()>> {
        match self.0.recv_timeout(time) {
            Ok(fetched) => Some(fetched),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                Some(Err(anyhow!("cannot fetch its image: its thread ended")))
            }
        }
    }
}
