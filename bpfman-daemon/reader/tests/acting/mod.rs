//! Readers of tests: threads that act as they like.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bpfmand_frames::Answering;
use bpfmand_reader::{ReaderClient, ReaderLink, StartReader};
use serde_json::{Value, json};

/// Starts threads that act by their number, from zero.
#[derive(Debug)]
pub struct Acting<F>(F, Arc<AtomicUsize>);

pub trait Act: Fn(usize, UnixStream) + Clone + Send + Sync + 'static {}

impl<F: Fn(usize, UnixStream) + Clone + Send + Sync + 'static> Act for F {}

impl<F: Act + std::fmt::Debug> StartReader for Acting<F> {
    fn start_reader(&self) -> io::Result<ReaderLink> {
        let (stream, other) = UnixStream::pair()?;
        let (act, number) = (self.0.clone(), self.1.fetch_add(1, Ordering::Relaxed));
        std::thread::spawn(move || act(number, other));
        Ok(ReaderLink { stream, life: None })
    }
}

/// A client of such, and how many were started.
pub fn client(act: fn(usize, UnixStream)) -> (ReaderClient, Arc<AtomicUsize>) {
    let started = Arc::new(AtomicUsize::new(0));
    (ReaderClient::new(Arc::new(Acting(act, Arc::clone(&started)))), started)
}

/// Hears the question and the object.
pub fn is_given(stream: UnixStream) -> Answering {
    let mut served = Answering::new(stream);
    let _read: Option<Value> = served.question().unwrap();
    let _object = served.take().unwrap();
    served
}

pub fn facts() -> Value {
    json!({
        "programs": [{ "name": "pass", "section": "xdp", "is_static": false }],
        "maps": [], "types": [], "slots": [], "globals": [], "license": "GPL", "kconfig": null,
    })
}
