//! `bpfman unload` and `bpfman detach`: silent on success, as in v0.6.0.

use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;

use super::connect;
use crate::args::Global;
use crate::args::detach::{Detach, DetachWhat};
use crate::args::unload::Unload;
use crate::error::CliError;
use crate::exit::Exit;
use crate::show;
use crate::show::removed::{Removal, RemovalOutcome, RemovalSubject, Removed};

/// Detaches programs everywhere and unloads them.
pub async fn unload(global: &Global, command: Unload) -> Result<(), CliError> {
    let client = connect(global).await?.v1;
    let each = async |id| client.clone().unload(v1::UnloadRequest { id }).await.map(|_| None);
    remove(global, RemovalSubject::Program, &command.program_ids, command.ignore_missing, each).await
}

/// Removes attachments, or those by pattern.
pub async fn detach(global: &Global, command: Detach) -> Result<(), CliError> {
    let client = connect(global).await?;
    match command.what {
        Some(DetachWhat::Match { match_ids, ignore_missing }) => {
            let each = async |id| {
                let answer = client.chains.clone().detach_matching(ext::DetachMatchingRequest { id }).await;
                answer.map(|answer| Some(answer.into_inner().links_ended))
            };
            remove(global, RemovalSubject::Match, &match_ids, ignore_missing, each).await
        }
        None => {
            let each =
                async |link_id| client.v1.clone().detach(v1::DetachRequest { link_id }).await.map(|_| None);
            remove(global, RemovalSubject::Link, &command.link_ids, command.ignore_missing, each).await
        }
    }
}

/// Removes one after the other, whatever comes of each, and tells it. One that cannot be removed is told at once.
async fn remove(
    global: &Global,
    subject: RemovalSubject,
    ids: &[u32],
    ignore_missing: bool,
    each: impl AsyncFn(u32) -> Result<Option<u32>, tonic::Status>,
) -> Result<(), CliError> {
    ensure_distinct(subject, ids)?;
    let mut removed = Vec::with_capacity(ids.len());
    let mut first: Option<Exit> = None;
    for id in ids {
        let outcome = match each(*id).await.map_err(CliError::from) {
            Ok(links_ended) => RemovalOutcome::Removed { links_ended },
            Err(error) if ignore_missing && error.exit() == Exit::NotFound => RemovalOutcome::Missing,
            Err(error) if ids.len() == 1 => return Err(error),
            Err(error) => {
                error.report_of(&format!("{} {id}", subject.name()));
                first = first.or(Some(error.exit()));
                RemovalOutcome::Failed(error.to_string())
            }
        };
        removed.push(Removal { subject, id: *id, outcome });
    }
    let failed = removed.iter().filter(|one| matches!(one.outcome, RemovalOutcome::Failed(_))).count();
    show::answer(global, &Removed { subject, all: removed })?;
    match first {
        None => Ok(()),
        Some(exit) => Err(CliError::Several {
            what: format!("{failed} of {} {} could not be {}", ids.len(), subject.plural(), subject.done()),
            exit,
        }),
    }
}

/// A slip that would make the second of both fail, after the first was done.
fn ensure_distinct(subject: RemovalSubject, ids: &[u32]) -> Result<(), CliError> {
    match ids.iter().enumerate().find(|(at, id)| ids[..*at].contains(id)) {
        Some((_, id)) => Err(CliError::Usage(format!("{} {id} is named twice", subject.name()))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_named_twice_is_refused() {
        assert!(ensure_distinct(RemovalSubject::Link, &[7, 8, 9]).is_ok());
        let error = ensure_distinct(RemovalSubject::Link, &[7, 8, 7]).unwrap_err();
        assert_eq!((error.exit(), error.to_string().as_str()), (Exit::Usage, "link 7 is named twice"));
    }
}
