use std::fmt;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bpfmand_frames::{Answering, WorkerLink};
use bpfmand_reader::{ReaderClient, StartReader};
use serde_json::{Value, json};

type Act = dyn Fn(usize, UnixStream) + Send + Sync;

struct Acting(Arc<Act>, Arc<AtomicUsize>);

impl fmt::Debug for Acting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acting").finish_non_exhaustive()
    }
}

impl StartReader for Acting {
    fn start_reader(&self) -> io::Result<WorkerLink> {
        let (stream, other) = UnixStream::pair()?;
        let (act, number) = (Arc::clone(&self.0), self.1.fetch_add(1, Ordering::Relaxed));
        std::thread::spawn(move || act(number, other));
        Ok(WorkerLink { stream, life: None })
    }
}

pub fn acting(act: impl Fn(usize, UnixStream) + Send + Sync + 'static) -> (ReaderClient, Arc<AtomicUsize>) {
    let started = Arc::new(AtomicUsize::new(0));
    (ReaderClient::new(Arc::new(Acting(Arc::new(act), Arc::clone(&started)))), started)
}

pub fn receive_object(stream: UnixStream) -> Answering {
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
