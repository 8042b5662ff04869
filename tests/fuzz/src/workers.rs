//! Answers of compromised fetchers and verifiers.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;

use bpfmand_frames::WorkerLink;
use bpfmand_image::{
    Caller, FetchPolicy, ImageRequest, ImageStore, LegacySigning, Policy, PolicyFile, StartWorker, WorkerRole,
};
use std::sync::{Arc, Mutex, PoisonError};

use crate::world;

/// Fetcher and verifier that send the input whatever the request is, and close the connection; also restarted ones.
#[derive(Debug)]
struct Scripted {
    fetcher: Vec<u8>,
    verifier: Vec<u8>,
    held: Mutex<Vec<UnixStream>>,
}

impl StartWorker for Scripted {
    fn start(&self, role: WorkerRole) -> io::Result<WorkerLink> {
        let (stream, mut other) = UnixStream::pair()?;
        let answers = match role {
            WorkerRole::Fetcher => &self.fetcher,
            WorkerRole::Verifier => &self.verifier,
        };
        // Bytes that exceed the socket buffer are not sent.
        other.set_nonblocking(true)?;
        let _cut = other.write(answers);
        other.shutdown(std::net::Shutdown::Write)?;
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(other);
        Ok(WorkerLink { stream, life: None })
    }
}

/// Loads an image that need not be signed. The input is the length of the fetcher's answer (2 bytes), that answer, and
/// the verifier's answer. Panics if the image is loaded with bytecode that neither process sent.
pub fn run(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return };
    let (fetcher, verifier) = rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()));
    let workers = Scripted { fetcher: fetcher.to_vec(), verifier: verifier.to_vec(), held: Mutex::default() };
    let folder = world::folder();
    let unsigned = "mode = \"enforce\"\n[[images]]\npattern = \"*/**\"\nunsigned = true\n";
    let file = PolicyFile::parse(unsigned, &mut |_| Err(io::ErrorKind::NotFound.into())).expect("a policy");
    let policy = Policy::resolve(Some(file), LegacySigning::default());
    let store = ImageStore::new(folder.path().join("images"), policy, Arc::new(workers));
    let request = ImageRequest {
        image: "localhost:5000/a:1".parse().expect("a reference"),
        pull_policy: FetchPolicy::Always,
        credential: None,
        caller: Caller::Other,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let loaded = runtime.block_on(store.load(&request, None));
    if let Ok(image) = loaded {
        let first = image.bytes.get(..64).unwrap_or(&image.bytes);
        let is_said = |said: &[u8]| said.windows(first.len().max(1)).any(|part| part == first);
        assert!(!first.is_empty() && (is_said(fetcher) || is_said(verifier)), "nobody sent this bytecode");
    }
    runtime.shutdown_background();
}

fn frame(kind: u8, content: &str) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((content.len() as u32).to_le_bytes());
    bytes.extend(content.as_bytes());
    bytes
}

pub fn seeds() -> Vec<Vec<u8>> {
    let well = frame(0, r#"{"used_password":false,"result":{"Ok":null}}"#);
    let manifest = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}"#;
    let fetcher = [well.clone(), well, frame(1, manifest), frame(1, "")].concat();
    let verifier = frame(0, r#"{"Malformed":"it is none"}"#);
    let mut seed = (fetcher.len() as u16).to_le_bytes().to_vec();
    seed.extend(fetcher);
    seed.extend(verifier);
    vec![seed]
}
