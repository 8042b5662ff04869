//! `bpfman image pull`: the daemon fetches and verifies.

use bpfman_client::Services;
use bpfman_model::PullPolicy;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use serde::Serialize;

use crate::args::Global;
use crate::args::load::ImageSource;
use crate::command::progress::{self, ProgressLine};
use crate::error::CliError;
use crate::show::CommandOutput;

pub fn on_the_wire(image: &ImageSource) -> v1::BytecodeImage {
    let auth = image.registry_auth.as_ref();
    v1::BytecodeImage {
        url: image.name.url().to_owned(),
        image_pull_policy: image.pull_policy.number(),
        username: auth.map(|auth| auth.user().to_owned()),
        password: auth.map(|auth| auth.password().to_owned()),
    }
}

/// Returns the image for a call that cannot report the progress of a pull. If progress is shown, pulls the
/// image first: the call, which keeps the requested pull policy, then downloads nothing.
pub async fn pulled_where_watched(
    global: &Global,
    client: &mut Services,
    image: &ImageSource,
) -> Result<v1::BytecodeImage, CliError> {
    let wanted = on_the_wire(image);
    if progress::is_shown(global) && image.pull_policy != PullPolicy::Never {
        pull(global, client, wanted.clone()).await?;
    }
    Ok(wanted)
}

/// Result of `image pull`: no output in tables, as in v0.6.0.
#[derive(Clone, Serialize)]
pub struct Pulled {
    image_url: String,
    digest: String,
    bytes: u64,
    verified_by: Option<String>,
}

pub async fn pull(
    global: &Global,
    client: &mut Services,
    image: v1::BytecodeImage,
) -> Result<Pulled, CliError> {
    let mut progress = ProgressLine::new(global, &format!("pulling {}", image.url));
    let image_url = image.url.clone();
    let mut events =
        client.ext.pull(ext::PullRequest { image: Some(image), want_object: false }).await?.into_inner();
    let mut last = ext::PullEvent::default();
    while let Some(event) = events.message().await? {
        progress.at(event.bytes, event.total);
        last = event;
    }
    if last.digest.is_empty() {
        return Err(CliError::Incomplete { call: "Pull", part: "the digest" });
    }
    let verified_by = (!last.verified_by.is_empty()).then_some(last.verified_by);
    Ok(Pulled { image_url, digest: last.digest, bytes: last.bytes, verified_by })
}

impl CommandOutput for Pulled {
    fn ids(&self) -> Vec<String> {
        vec![self.digest.clone()]
    }
}
