//! Answers of a compromised object reader.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bpfman_model::{AttachPoint, AttachRequest, Interface, ProceedOn, VerdictFamily};
use bpfmand_frames::WorkerLink;
use bpfmand_reader::{ReaderClient, StartReader, serve};

use crate::world::{self, INTERFACE, World};

/// Reader that sends the input whatever the request is, and closes the connection.
#[derive(Debug)]
struct Scripted {
    answers: Vec<u8>,
    held: Mutex<Vec<UnixStream>>,
}

impl StartReader for Scripted {
    fn start_reader(&self) -> io::Result<WorkerLink> {
        let (stream, mut other) = UnixStream::pair()?;
        // Bytes that exceed the socket buffer are not sent.
        other.set_nonblocking(true)?;
        let _cut = other.write(&self.answers);
        other.shutdown(Shutdown::Write)?;
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(other);
        Ok(WorkerLink { stream, life: None })
    }
}

/// Loads the object that the reader describes, and attaches it twice to one hook, where it is spliced.
pub fn run(bytes: &[u8]) {
    let world = World::new();
    let reader = Scripted { answers: bytes.to_vec(), held: Mutex::default() };
    let client = ReaderClient::new(Arc::new(reader)).with_patience(Duration::from_millis(200));
    let Ok(engine) = world.engine_with(world.store(), Some(Arc::new(client))) else { return };
    for priority in 0..2 {
        let Ok(loaded) = engine.load(&world::load_request()) else { return };
        let Some(program) = loaded.programs.first() else { return };
        let point = AttachPoint::Xdp {
            interface: Interface { name: INTERFACE.to_owned(), netns: None },
            priority,
            proceed_on: ProceedOn::default_for(VerdictFamily::Xdp),
        };
        let _refused = engine.attach(&AttachRequest::new(program.id, point));
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let said = Arc::new(Mutex::new(Vec::new()));
    let world = World::new();
    let client = ReaderClient::new(Arc::new(Listened { said: Arc::clone(&said) }));
    let engine = world.engine_with(world.store(), Some(Arc::new(client))).expect("an empty folder");
    engine.load(&world::load_request()).expect("the object loads");
    drop(engine);
    let said = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert!(!said.is_empty(), "it said nothing");
    vec![said]
}

#[derive(Debug)]
struct Listened {
    said: Arc<Mutex<Vec<u8>>>,
}

impl StartReader for Listened {
    fn start_reader(&self) -> io::Result<WorkerLink> {
        let (stream, ours) = UnixStream::pair()?;
        let (theirs, served) = UnixStream::pair()?;
        std::thread::spawn(move || serve(served, || Err(io::ErrorKind::Unsupported.into())));
        let (mut from, mut to) = (ours.try_clone()?, theirs.try_clone()?);
        std::thread::spawn(move || io::copy(&mut from, &mut to).and_then(|_| to.shutdown(Shutdown::Write)));
        let said = Arc::clone(&self.said);
        let (mut from, mut to) = (theirs, ours);
        std::thread::spawn(move || -> io::Result<()> {
            let mut buffer = [0; 4096];
            loop {
                let count = from.read(&mut buffer)?;
                if count == 0 {
                    return Ok(());
                }
                said.lock().unwrap_or_else(PoisonError::into_inner).extend(&buffer[..count]);
                to.write_all(&buffer[..count])?;
            }
        });
        Ok(WorkerLink { stream, life: None })
    }
}
