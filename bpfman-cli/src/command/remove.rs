//! `bpfman unload` and `bpfman detach`: no output on success, as in v0.6.0.

use bpfman_client::Services;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;

use super::program_name::program_id;
use super::{connect, sessions};
use crate::args::Global;
use crate::args::detach::{Detach, DetachWhat};
use crate::args::unload::Unload;
use crate::error::CliError;
use crate::exit::Exit;
use crate::show;
use crate::show::removed::{Removal, RemovalOutcome, RemovalSubject, Removed};

pub async fn unload(global: &Global, command: Unload) -> Result<(), CliError> {
    let mut client = connect(global).await?;
    let (ids, ignore_missing) = match command.all {
        // A program that ended after it was listed counts as unloaded.
        true => (all_of_caller(&mut client).await?, true),
        false => (ids(&mut client, &command).await?, command.ignore_missing),
    };
    let each = async |id| client.v1.clone().unload(v1::UnloadRequest { id }).await.map(|_| None);
    let named = Wanted::named(RemovalSubject::Program, &ids, ignore_missing);
    let is_list = command.all || command.programs.len() != 1;
    remove(global, Wanted { is_list, is_all: command.all, ..named }, each).await
}

/// Returns the ids of the programs that the command line names. Nothing is unloaded if a name is wrong.
async fn ids(client: &mut Services, command: &Unload) -> Result<Vec<u32>, CliError> {
    let mut ids = Vec::with_capacity(command.programs.len());
    for program in &command.programs {
        match program_id(client, program).await {
            Ok(id) => ids.push(id),
            Err(error) if command.ignore_missing && error.exit() == Exit::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ids)
}

/// Returns all programs that the caller may unload, the newest first: an extension before its program.
async fn all_of_caller(client: &mut Services) -> Result<Vec<u32>, CliError> {
    let select = v1::ListRequest { bpfman_programs_only: Some(true), ..Default::default() };
    let request = ext::ListProgramsRequest { select: Some(select), program_type: String::new() };
    let programs = client.ext.list_programs(request).await?.into_inner().programs;
    let caller = rustix::process::geteuid();
    let owner = format!("user:{}", caller.as_raw());
    let of_caller = programs.iter().filter(|program| caller.is_root() || program.owner == owner);
    let mut ids: Vec<u32> = of_caller.filter_map(|program| Some(program.kernel_info.as_ref()?.id)).collect();
    ids.sort_unstable_by(|one, other| other.cmp(one));
    Ok(ids)
}

pub async fn detach(global: &Global, command: Detach) -> Result<(), CliError> {
    if let Some(DetachWhat::Session { sessions: names }) = &command.what {
        return sessions::remove(global, names).await;
    }
    let client = connect(global).await?;
    match command.what {
        Some(DetachWhat::Match { match_ids, ignore_missing }) => {
            let each = async |id| {
                let answer = client.chains.clone().detach_matching(ext::DetachMatchingRequest { id }).await;
                answer.map(|answer| Some(answer.into_inner().links_ended))
            };
            remove(global, Wanted::named(RemovalSubject::Match, &match_ids, ignore_missing), each).await
        }
        Some(DetachWhat::Session { .. }) | None => {
            let each =
                async |link_id| client.v1.clone().detach(v1::DetachRequest { link_id }).await.map(|_| None);
            let wanted = Wanted::named(RemovalSubject::Link, &command.link_ids, command.ignore_missing);
            remove(global, wanted, each).await
        }
    }
}

struct Wanted<'a> {
    subject: RemovalSubject,
    ids: &'a [u32],
    /// True if the answer is a list, also for one object or none.
    is_list: bool,
    ignore_missing: bool,
    /// True if all objects are to be removed. Refusals are retried, since one object may depend on another.
    is_all: bool,
}

impl<'a> Wanted<'a> {
    const fn named(subject: RemovalSubject, ids: &'a [u32], ignore_missing: bool) -> Self {
        Self { subject, ids, is_list: ids.len() != 1, ignore_missing, is_all: false }
    }
}

/// Removes objects one after the other, and continues after a failure. Reports each failure immediately; with `is_all`,
/// retries until no further object can be removed, and then reports the failures that are left.
async fn remove_each(
    wanted: &Wanted<'_>,
    each: impl AsyncFn(u32) -> Result<Option<u32>, tonic::Status>,
) -> Result<(Vec<Removal>, Option<Exit>), CliError> {
    let &Wanted { subject, is_list, ignore_missing, is_all, .. } = wanted;
    let mut removed = Vec::with_capacity(wanted.ids.len());
    let mut left = wanted.ids.to_vec();
    loop {
        let mut refused = Vec::new();
        for id in &left {
            let outcome = match each(*id).await.map_err(CliError::from) {
                Ok(links_ended) => RemovalOutcome::Removed { links_ended },
                Err(error) if ignore_missing && error.exit() == Exit::NotFound => RemovalOutcome::Missing,
                Err(error) if !is_list => return Err(error),
                Err(error) => {
                    if !is_all {
                        error.report_of(&format!("{} {id}", subject.name()));
                    }
                    refused.push((*id, error));
                    continue;
                }
            };
            removed.push(Removal { subject, id: *id, outcome });
        }
        if is_all && !refused.is_empty() && refused.len() < left.len() {
            left = refused.into_iter().map(|(id, _)| id).collect();
            continue;
        }
        let first = refused.first().map(|(_, error)| error.exit());
        for (id, error) in refused {
            if is_all {
                error.report_of(&format!("{} {id}", subject.name()));
            }
            removed.push(Removal { subject, id, outcome: RemovalOutcome::Failed(error.to_string()) });
        }
        let place = |one: &Removal| wanted.ids.iter().position(|id| *id == one.id);
        removed.sort_by_key(place);
        return Ok((removed, first));
    }
}

async fn remove(
    global: &Global,
    wanted: Wanted<'_>,
    each: impl AsyncFn(u32) -> Result<Option<u32>, tonic::Status>,
) -> Result<(), CliError> {
    let Wanted { subject, ids, is_list, .. } = wanted;
    ensure_distinct(subject, ids)?;
    let (removed, first) = remove_each(&wanted, each).await?;
    let failed = removed.iter().filter(|one| matches!(one.outcome, RemovalOutcome::Failed(_))).count();
    show::answer(global, &Removed { subject, is_list, all: removed })?;
    match first {
        None => Ok(()),
        Some(exit) => Err(CliError::Several {
            what: format!("{failed} of {} {} could not be {}", ids.len(), subject.plural(), subject.done()),
            exit,
        }),
    }
}

/// Refuses an id that is named twice: the second removal would fail after the first.
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

    async fn remove_of_structure(ids: &[u32], is_all: bool) -> (Vec<bool>, Option<Exit>) {
        let gone = std::sync::Mutex::new(Vec::new());
        let each = async |id| {
            let mut gone = gone.lock().unwrap();
            if id > 20 && !gone.contains(&20) || id == 9 {
                return Err(tonic::Status::failed_precondition("it is in use"));
            }
            gone.push(id);
            Ok(None)
        };
        let named = Wanted::named(RemovalSubject::Program, ids, true);
        let (removed, exit) = remove_each(&Wanted { is_list: true, is_all, ..named }, each).await.unwrap();
        assert_eq!(removed.iter().map(|one| one.id).collect::<Vec<_>>(), ids);
        let failed = |one: &Removal| matches!(one.outcome, RemovalOutcome::Failed(_));
        (removed.iter().map(failed).collect(), exit)
    }

    #[tokio::test]
    async fn program_refused_until_another_is_gone_is_unloaded() {
        assert_eq!(remove_of_structure(&[22, 21, 20], true).await, (vec![false; 3], None));
        let (failed, exit) = remove_of_structure(&[22, 20, 9], true).await;
        assert_eq!((failed, exit.is_some()), (vec![false, false, true], true));
    }

    #[tokio::test]
    async fn named_programs_are_tried_once_in_their_order() {
        let (failed, exit) = remove_of_structure(&[22, 20], false).await;
        assert_eq!((failed, exit.is_some()), (vec![true, false], true));
    }
}
