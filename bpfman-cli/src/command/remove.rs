//! `bpfman unload` and `bpfman detach`: silent on success, as in v0.6.0.

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use serde::Serialize;

use super::connect;
use crate::args::Global;
use crate::args::detach::{Detach, DetachWhat};
use crate::error::CliError;
use crate::show;
use crate::show::Answer;
use crate::show::changed::MatchingEnded;
use crate::show::screen::Screen;

/// Detaches a program everywhere and unloads it.
pub async fn unload(global: &Global, program_id: u32) -> Result<(), CliError> {
    connect(global).await?.v1.unload(v1::UnloadRequest { id: program_id }).await?;
    show::answer(global, &Unloaded { program_id, outcome: "unloaded" })
}

/// Removes one attachment, or one by pattern.
pub async fn detach(global: &Global, command: Detach) -> Result<(), CliError> {
    match (command.link_id, command.what) {
        (_, Some(DetachWhat::Match { match_id })) => {
            let request = ext::DetachMatchingRequest { id: match_id };
            let answer = connect(global).await?.chains.detach_matching(request).await?.into_inner();
            let links_ended = answer.links_ended;
            show::answer(global, &MatchingEnded { match_id, links_ended, outcome: "detached" })
        }
        (Some(link_id), None) => {
            connect(global).await?.v1.detach(v1::DetachRequest { link_id }).await?;
            show::answer(global, &Detached { link_id, outcome: "detached" })
        }
        (None, None) => Err(CliError::Usage("the id of a link is missing".to_owned())),
    }
}

/// The answer to `unload`.
#[derive(Clone, Serialize)]
struct Unloaded {
    program_id: u32,
    outcome: &'static str,
}

/// The answer to `detach`.
#[derive(Clone, Serialize)]
struct Detached {
    link_id: u32,
    outcome: &'static str,
}

impl Answer for Unloaded {
    type Record = Self;

    fn record(&self) -> Self {
        self.clone()
    }

    fn table(&self, _: Screen) -> String {
        String::new()
    }

    fn ids(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Answer for Detached {
    type Record = Self;

    fn record(&self) -> Self {
        self.clone()
    }

    fn table(&self, _: Screen) -> String {
        String::new()
    }

    fn ids(&self) -> Vec<String> {
        Vec::new()
    }
}
