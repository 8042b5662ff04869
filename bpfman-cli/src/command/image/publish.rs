//! `bpfman image push` and `sign`: this process talks to the registry, without the daemon.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Mutex, PoisonError};

use bpfman_image_format::OciLayout;
use bpfman_registry::{SignOutcome, SignStep, SigningKey, sign_in_steps};
use serde::Serialize;

use super::build::{layout_folder, tagged};
use super::cosign_password::cosign_password;
use super::reach;
use crate::args::Global;
use crate::args::image::{Push, Sign};
use crate::command::progress::{CurrentStep, ProgressLine, while_stepping};
use crate::error::CliError;
use crate::image_error::LocalImageError;
use crate::show;
use crate::show::CommandOutput;
use crate::show::screen::Screen;

pub async fn push(global: &Global, command: Push) -> Result<(), CliError> {
    let reference = tagged(&command.image)?;
    let layout = OciLayout::open(&layout_folder(&command.layout)?).map_err(LocalImageError::from)?;
    let name = reference.to_string();
    let progress = Mutex::new(ProgressLine::new(global, &format!("pushing {name}")));
    let show_progress =
        |bytes, total| progress.lock().unwrap_or_else(PoisonError::into_inner).at(bytes, total);
    let access = reach::of(&reference, command.registry)?;
    let pushed = bpfman_registry::push(&layout, &name, &reference, &access, Some(&show_progress)).await;
    // Clear the progress line before the answer or the error.
    drop(progress);
    let digest = pushed.map_err(LocalImageError::from)?.to_string();
    show::answer(global, &Pushed { image: name, digest })
}

pub async fn sign(global: &Global, command: Sign) -> Result<(), CliError> {
    let pem = fs::read_to_string(&command.key)
        .map_err(|source| CliError::File { path: command.key.clone(), source })?;
    let ask = || cosign_password(&command.key);
    let key = SigningKey::from_pem_or_cosign(&pem, ask).map_err(LocalImageError::from)?;
    let access = reach::of(&command.image, command.registry)?;
    let annotations: BTreeMap<String, String> = command.annotations.into_iter().collect();
    let step = Mutex::new(SignStep::Resolve);
    let begin = |next| *step.lock().unwrap_or_else(PoisonError::into_inner) = next;
    let now = || current(*step.lock().unwrap_or_else(PoisonError::into_inner));
    let signed = sign_in_steps(&command.image, &key, &annotations, &access, &begin);
    let signed = while_stepping(global, &format!("signing {}", command.image), now, signed).await;
    let signed = signed.map_err(LocalImageError::from)?;
    let outcome = match signed.outcome {
        SignOutcome::Created => "created",
        SignOutcome::Unchanged => "unchanged",
    };
    let answer = Signed {
        image: command.image.name(),
        digest: signed.digest.to_string(),
        signature_tag: signed.tag,
        key: signed.key.to_string(),
        outcome,
    };
    show::answer(global, &answer)
}

fn current(step: SignStep) -> CurrentStep {
    let what = match step {
        SignStep::Resolve => "asking for the image".to_owned(),
        SignStep::ReadSignatures => "reading signatures".to_owned(),
        SignStep::Push { bytes } => format!("pushing {} KiB", bytes.div_ceil(1024)),
    };
    CurrentStep { what, number: step.number(), all: SignStep::COUNT }
}

#[derive(Clone, Serialize)]
struct Pushed {
    image: String,
    digest: String,
}

impl CommandOutput for Pushed {
    fn table(&self, _: Screen) -> String {
        format!("{}@{}\n", self.image, self.digest)
    }

    fn ids(&self) -> Vec<String> {
        vec![self.digest.clone()]
    }
}

#[derive(Clone, Serialize)]
struct Signed {
    image: String,
    digest: String,
    signature_tag: String,
    key: String,
    outcome: &'static str,
}

impl CommandOutput for Signed {
    fn table(&self, _: Screen) -> String {
        let what = if self.outcome == "created" { "signed" } else { "was signed before by" };
        let with = if self.outcome == "created" { " with" } else { "" };
        format!("{}@{} {what}{with} key {}\n", self.image, self.digest, self.key)
    }

    fn ids(&self) -> Vec<String> {
        vec![self.digest.clone()]
    }
}
