//! `bpfman image verify --identity`: signatures verified without the daemon.
//!
//! Certificates and receipts of logs come from outside. As for the daemon, processes without rights read them: this one
//! starts `bpfman-worker`, and checks its answers.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use bpfman_proto::ext::v1 as ext;
use bpfmand_frames::{WorkerLink, environment, worker_program};
use bpfmand_image::{
    Caller, FetchPolicy, ImageError, ImageRequest, ImageStore, LegacySigning, Pattern, Policy, PolicyFile,
    PolicyRule, Requirement, Signers, StartWorker, TrustRoot, TrustedIdentity, VerifiedBy, WorkerRole,
};

use super::cache::{ImageVerification, VerifiedJson};
use super::{credential, reach};
use crate::args::Global;
use crate::args::image::Verify;
use crate::command::progress::while_waiting;
use crate::error::CliError;
use crate::image_error::LocalImageError;
use crate::show;

pub async fn verify(
    global: &Global,
    command: Verify,
    (issuer, subject): (&str, &str),
) -> Result<(), CliError> {
    let Verify { image, plain_http, ca_file, trusted_root, .. } = command;
    let name = image.name.url().to_owned();
    let invalid = |what: String| CliError::Invalid { what, hint: None };
    let reference = reach::reference(&name)?;
    let identity =
        TrustedIdentity::new(issuer, subject).map_err(|error| invalid(format!("--identity: {error}")))?;
    let root = trusted_root.as_deref().map_or(Ok(TrustRoot::PublicGood), read_root)?;
    let settings = reach::settings(&reference, plain_http, ca_file)?;
    let credential = credential::of(&reference, image.registry_auth)?;
    let folder = tempfile::tempdir().map_err(LocalImageError::Folder)?;
    let workers = OwnWorkers::find().map_err(LocalImageError::Worker)?;
    let policy = policy_of(identity.clone(), root);
    let store = ImageStore::new(folder.path().to_owned(), policy, Arc::new(workers)).with_settings(settings);
    let request = ImageRequest {
        image: reference.clone(),
        pull_policy: FetchPolicy::Always,
        credential,
        caller: Caller::Other,
    };
    let loading = store.load(&request, None);
    let loaded = while_waiting(global, &format!("verifying {reference}"), loading).await;
    let loaded = loaded.map_err(|error| failure(error, &identity))?;
    let VerifiedBy::Signers { subject, signers, signed_at, .. } = loaded.verified_by else {
        return Err(invalid(format!("{reference} was not verified")));
    };
    let signers: Vec<String> = signers.iter().map(ToString::to_string).collect();
    let verified = ext::Verified {
        summary: signers.join(", "),
        signers,
        signed_digest: subject.to_string(),
        signed_at,
        ..ext::Verified::default()
    };
    let verified = VerifiedJson::new(&verified);
    show::answer(global, &ImageVerification { image: name, digest: loaded.digest.to_string(), verified })
}

fn read_root(path: &Path) -> Result<TrustRoot, CliError> {
    let text = fs::read_to_string(path).map_err(|source| CliError::File { path: path.to_owned(), source })?;
    TrustRoot::from_json(&text)
        .map_err(|error| CliError::Invalid { what: format!("{}: {error}", path.display()), hint: None })
}

/// Returns a policy that allows an image only with a signature by this identity.
fn policy_of(identity: TrustedIdentity, root: TrustRoot) -> Policy {
    let signers = Signers { identities: vec![identity], minimum: 1, root: Some(root), ..Signers::default() };
    let rule =
        PolicyRule { pattern: Pattern::all(), digests: None, requirement: Requirement::Signed(signers) };
    let file = PolicyFile { rules: vec![rule], ..PolicyFile::default() };
    Policy::resolve(Some(file), LegacySigning::default())
}

/// Names the identity where the daemon's message names the rule.
fn failure(error: ImageError, identity: &TrustedIdentity) -> LocalImageError {
    match error {
        ImageError::Unsigned { image, digest, .. } => {
            LocalImageError::Identity(format!("{image} ({digest}) is not signed"))
        }
        ImageError::Untrusted { image, digest, why, .. } => LocalImageError::Identity(format!(
            "no signature of {image} ({digest}) counts for {identity}: {why}"
        )),
        other => LocalImageError::Unverified(Box::new(other)),
    }
}

/// Starter of workers as children of this process.
#[derive(Debug)]
struct OwnWorkers {
    program: PathBuf,
    started: Mutex<Vec<Child>>,
}

impl OwnWorkers {
    fn find() -> io::Result<Self> {
        Ok(Self { program: worker_program::find()?, started: Mutex::default() })
    }
}

impl StartWorker for OwnWorkers {
    fn start(&self, role: WorkerRole) -> io::Result<WorkerLink> {
        let (stream, theirs) = UnixStream::pair()?;
        let mut command = worker_program::command(&self.program);
        if role == WorkerRole::Verifier {
            environment::remove_proxies(&mut command);
        }
        command.args([&role.to_string(), "on", "true"]);
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
        self.started.lock().unwrap_or_else(PoisonError::into_inner).push(command.spawn()?);
        Ok(WorkerLink { stream, life: None })
    }
}

impl Drop for OwnWorkers {
    fn drop(&mut self) {
        for worker in self.started.get_mut().unwrap_or_else(PoisonError::into_inner) {
            let _ended = worker.kill().and_then(|()| worker.wait());
        }
    }
}
