//! `bpfman list` and `bpfman get`.

use std::collections::HashSet;

use bpfman_client::Services;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;

use super::program_name::program_id;
use super::{connect, sessions};
use crate::args::Global;
use crate::args::list::{GetCommand, ListCommand, ListLinks, ListPrograms, Select};
use crate::args::value::to_map;
use crate::error::CliError;
use crate::kernel_type::TypeFilter;
use crate::show;
use crate::show::applications::ApplicationList;
use crate::show::json::{LinkJson, ProgramJson};
use crate::show::link::LinkList;
use crate::show::matching::{MatchingJson, MatchingList};
use crate::show::program::ProgramList;

pub async fn list(global: &Global, command: ListCommand) -> Result<(), CliError> {
    match command {
        ListCommand::Programs(command) => programs(global, command).await,
        ListCommand::Links(command) => links(global, command).await,
        ListCommand::Applications => {
            show::answer(global, &applications_of(&mut connect(global).await?).await?)
        }
        ListCommand::Matches => matches(global).await,
        ListCommand::Sessions => sessions::list(global).await,
    }
}

pub async fn get(global: &Global, command: GetCommand) -> Result<(), CliError> {
    if let GetCommand::Session { name } = &command {
        return sessions::get(global, name).await;
    }
    let mut client = connect(global).await?;
    match command {
        GetCommand::Session { .. } => Ok(()),
        GetCommand::Program { program } => {
            let request = ext::GetProgramRequest { id: program_id(&mut client, &program).await? };
            let answer = client.ext.get_program(request).await?.into_inner();
            let program =
                answer.program.ok_or(CliError::Incomplete { call: "GetProgram", part: "the program" })?;
            super::load::warn_of(&program);
            show::answer(global, &ProgramJson::new(&program))
        }
        GetCommand::Link { link_id } => {
            let answer = client.ext.get_link(ext::GetLinkRequest { link_id }).await?.into_inner();
            let link = answer.link.ok_or(CliError::Incomplete { call: "GetLink", part: "the link" })?;
            warn_of(&link);
            show::answer(global, &LinkJson::new(&link))
        }
    }
}

fn warn_of(link: &ext::Link) {
    link.warnings.iter().for_each(|text| show::warn(&format!("link {}: {text}", link.id)));
}

async fn programs(global: &Global, command: ListPrograms) -> Result<(), CliError> {
    let mut client = connect(global).await?;
    let answer = client.ext.list_programs(programs_request(&command)).await?.into_inner();
    let programs = answer.programs.iter().map(ProgramJson::listed);
    let programs = programs.filter(|program| is_wanted(&command, program)).collect();
    show::answer(global, &ProgramList { programs })
}

/// Returns whether the client selects a program. Third-party ones are neither attached nor unattached.
fn is_wanted(command: &ListPrograms, program: &ProgramJson) -> bool {
    let select = &command.select;
    let attached = program.managed && !program.link_ids.is_empty();
    let unattached = program.managed && program.link_ids.is_empty();
    (select.application.is_none() || program.application == select.application)
        && (!command.attached || attached)
        && (!command.unattached || unattached)
        && is_labelled(select, program)
}

fn is_labelled(select: &Select, program: &ProgramJson) -> bool {
    select.selector.as_ref().is_none_or(|wanted| program.managed && wanted.selects(&program.metadata))
}

/// Returns the request by type and metadata. The client selects the application, which has two possible keys.
fn programs_request(command: &ListPrograms) -> ext::ListProgramsRequest {
    let (kernel, exact) = match &command.select.program_type {
        Some(TypeFilter::Kernel(number)) => (Some(*number), ""),
        Some(TypeFilter::Exact(known)) => (None, known.name()),
        None => (None, ""),
    };
    let select = v1::ListRequest {
        program_type: kernel,
        bpfman_programs_only: Some(!command.all),
        match_metadata: to_map(&command.select.metadata_selector),
    };
    ext::ListProgramsRequest { select: Some(select), program_type: exact.to_owned() }
}

/// Returns the applications of the daemon's programs.
pub async fn applications_of(client: &mut Services) -> Result<ApplicationList, CliError> {
    let ours = v1::ListRequest { bpfman_programs_only: Some(true), ..Default::default() };
    let request = ext::ListProgramsRequest { select: Some(ours), program_type: String::new() };
    let answer = client.ext.list_programs(request).await?.into_inner();
    let programs: Vec<ProgramJson> = answer.programs.iter().map(ProgramJson::listed).collect();
    Ok(ApplicationList::of_programs(&programs))
}

async fn matches(global: &Global) -> Result<(), CliError> {
    let answer = connect(global).await?.chains.list_matching(ext::ListMatchingRequest {}).await?.into_inner();
    let matches = answer.matchings.iter().map(MatchingJson::new).collect();
    show::answer(global, &MatchingList { matches })
}

async fn links(global: &Global, command: ListLinks) -> Result<(), CliError> {
    let mut client = connect(global).await?;
    let answer = client.ext.list_links(links_request(&command)).await?.into_inner();
    let select = &command.select;
    // Labels belong to programs; links do not carry them.
    let labelled: Option<HashSet<u32>> = match &select.selector {
        Some(_) => {
            let all = ext::ListProgramsRequest {
                select: Some(v1::ListRequest { bpfman_programs_only: Some(true), ..Default::default() }),
                program_type: String::new(),
            };
            let answer = client.ext.list_programs(all).await?.into_inner();
            let programs = answer.programs.iter().map(ProgramJson::listed);
            Some(programs.filter(|program| is_labelled(select, program)).map(|p| p.program_id).collect())
        }
        None => None,
    };
    let links: Vec<LinkJson> = answer
        .links
        .iter()
        .map(LinkJson::new)
        .filter(|link| select.program_type.as_ref().is_none_or(|filter| filter.selects(&link.program_type)))
        .filter(|link| select.application.is_none() || link.application == select.application)
        .filter(|link| labelled.as_ref().is_none_or(|programs| programs.contains(&link.program_id)))
        .filter(|link| command.program_id.is_empty() || command.program_id.contains(&link.program_id))
        .filter(|link| {
            command.kind.is_empty() || command.kind.iter().any(|kind| kind.name() == link.program_type)
        })
        .collect();
    let shown: HashSet<u32> = links.iter().map(|link| link.link_id).collect();
    answer.links.iter().filter(|link| shown.contains(&link.id)).for_each(warn_of);
    show::answer(global, &LinkList { links })
}

/// Returns the request by exact type. The client selects by a kernel type, which covers several exact types.
fn links_request(command: &ListLinks) -> ext::ListLinksRequest {
    let exact = match &command.select.program_type {
        Some(TypeFilter::Exact(known)) => known.name(),
        Some(TypeFilter::Kernel(_)) | None => "",
    };
    ext::ListLinksRequest {
        program_type: exact.to_owned(),
        match_metadata: to_map(&command.select.metadata_selector),
        program_id: None,
        others: command.all,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, CliCommand};

    fn command(line: &str) -> ListCommand {
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            CliCommand::List(list) => list.command,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn programs_are_ours_unless_all_are_wanted() {
        let only = |line| match command(line) {
            ListCommand::Programs(command) => programs_request(&command).select.unwrap().bpfman_programs_only,
            _ => panic!(),
        };
        assert_eq!(only("bpfman list programs"), Some(true));
        assert_eq!(only("bpfman list programs --all"), Some(false));
    }

    #[test]
    fn kernel_types_and_exact_types_go_into_their_own_fields() {
        let ListCommand::Programs(kernel) = command("bpfman list programs -p probe") else { panic!() };
        let request = programs_request(&kernel);
        assert_eq!((request.select.unwrap().program_type, request.program_type.as_str()), (Some(2), ""));
        let ListCommand::Programs(exact) = command("bpfman list programs -p uretprobe") else { panic!() };
        let request = programs_request(&exact);
        assert_eq!(
            (request.select.unwrap().program_type, request.program_type.as_str()),
            (None, "uretprobe")
        );
        let ListCommand::Links(links) = command("bpfman list links -p tc -m a=b") else { panic!() };
        let request = links_request(&links);
        assert_eq!((request.program_type.as_str(), request.match_metadata["a"].as_str()), ("", "b"));
    }
}
