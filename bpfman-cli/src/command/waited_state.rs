//! State of an object that is waited for, as observed in the kernel and not only recorded.

use bpfman_client::{Client, Error, Reason};
use bpfman_proto::ext::v1 as ext;

use super::program_name::of_name;
use crate::args::object_name::ObjectName;
use crate::args::wait::{WaitCondition, WaitFor, WaitKind};
use crate::show::standing::state_text;
use crate::show::waited::Waited;

#[derive(Debug)]
pub enum WaitedState {
    So(Waited),
    /// The condition is not met; text of the state.
    NotYet(String),
    /// The condition cannot be met any more: ids are never reused.
    Never(Error),
}

#[derive(Debug, Default)]
struct Found {
    programs: Vec<ext::Program>,
    links: Vec<ext::Link>,
    missing: Option<Error>,
}

pub async fn look(client: &Client, command: &WaitFor) -> Result<WaitedState, Error> {
    let found = match (command.kind, &command.target) {
        (WaitKind::Link, ObjectName::Id(id)) => link(client, *id).await?,
        (WaitKind::Program, ObjectName::Id(id)) => program(client, *id).await?,
        (_, ObjectName::Name(name)) => programs(client, name).await?,
    };
    Ok(evaluate(command, found))
}

async fn link(client: &Client, link_id: u32) -> Result<Found, Error> {
    match client.services().ext.get_link(ext::GetLinkRequest { link_id }).await.map_err(Error::from) {
        Ok(answer) => Ok(Found { links: answer.into_inner().link.into_iter().collect(), ..Found::default() }),
        Err(error) => missing(error),
    }
}

async fn program(client: &Client, id: u32) -> Result<Found, Error> {
    match client.services().ext.get_program(ext::GetProgramRequest { id }).await.map_err(Error::from) {
        Ok(answer) => {
            // Third-party programs have no info.
            let program = answer.into_inner().program.filter(|program| program.info.is_some());
            let links = program.as_ref().map(|program| program.links.clone()).unwrap_or_default();
            Ok(Found { programs: program.into_iter().collect(), links, missing: None })
        }
        Err(error) => missing(error),
    }
}

fn missing(error: Error) -> Result<Found, Error> {
    match error.reason() {
        Some(Reason::NotFound) => Ok(Found { missing: Some(error), ..Found::default() }),
        _ => Err(error),
    }
}

async fn programs(client: &Client, name: &str) -> Result<Found, Error> {
    let mut services = client.services();
    let programs = of_name(&mut services, name).await?;
    if programs.is_empty() {
        return Ok(Found::default());
    }
    let mut links = services.ext.list_links(ext::ListLinksRequest::default()).await?.into_inner().links;
    links.retain(|link| programs.iter().any(|program| program_id(program) == link.program_id));
    Ok(Found { programs, links, missing: None })
}

fn program_id(program: &ext::Program) -> u32 {
    program.kernel_info.as_ref().map_or(0, |info| info.id)
}

fn evaluate(command: &WaitFor, found: Found) -> WaitedState {
    let Found { programs, links, missing } = found;
    let has_any = match command.kind {
        WaitKind::Program => !programs.is_empty(),
        WaitKind::Link => !links.is_empty(),
    };
    let otherwise = match command.condition {
        WaitCondition::Attached | WaitCondition::Loaded if !has_any => match (missing, command.kind) {
            (Some(error), _) => return WaitedState::Never(error),
            (None, WaitKind::Program) => Some("bpfman has no such program".to_owned()),
            (None, WaitKind::Link) => Some("there is no such link".to_owned()),
        },
        WaitCondition::Loaded => programs.iter().find_map(program_differs),
        WaitCondition::Attached if links.is_empty() => Some("it has no link".to_owned()),
        WaitCondition::Attached => programs
            .iter()
            .find(|program| !links.iter().any(|link| link.program_id == program_id(program)))
            .filter(|_| command.kind == WaitKind::Program)
            .map(|program| format!("program {} has no link", program_id(program)))
            .or_else(|| programs.iter().find_map(program_differs))
            .or_else(|| links.iter().find_map(link_differs)),
        WaitCondition::Detached => (!links.is_empty()).then(|| match command.kind {
            WaitKind::Link => "it is there".to_owned(),
            WaitKind::Program => format!("it has link {}", listed(links.iter().map(|link| link.id))),
        }),
        WaitCondition::Unloaded | WaitCondition::Gone => has_any.then(|| match command.kind {
            WaitKind::Link => "it is there".to_owned(),
            WaitKind::Program => {
                format!("bpfman has program {}", listed(programs.iter().map(program_id)))
            }
        }),
    };
    match otherwise {
        Some(how) => WaitedState::NotYet(how),
        None => WaitedState::So(Waited {
            kind: command.kind.name(),
            target: command.target.to_string(),
            condition: command.condition.name(),
            program_ids: programs.iter().map(program_id).collect(),
            link_ids: links.iter().map(|link| link.id).collect(),
        }),
    }
}

fn listed(ids: impl Iterator<Item = u32>) -> String {
    ids.map(|id| id.to_string()).collect::<Vec<_>>().join(", ")
}

fn program_differs(program: &ext::Program) -> Option<String> {
    differs("program", program_id(program), program.standing(), &program.state)
}

fn link_differs(link: &ext::Link) -> Option<String> {
    differs("link", link.id, link.standing(), &link.state)
}

fn differs(what: &str, id: u32, standing: ext::Standing, state: &str) -> Option<String> {
    match standing {
        ext::Standing::Running => None,
        ext::Standing::Unspecified => {
            Some(format!("the daemon does not say how {what} {id} stands: it is older than this client"))
        }
        _ => Some(format!("{what} {id}: {}", state_text(state))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bpfman_proto::v1;

    use super::*;

    fn link(id: u32, standing: ext::Standing) -> ext::Link {
        ext::Link {
            id,
            program_id: 7,
            standing: standing.into(),
            state: "its interface is away".to_owned(),
            ..Default::default()
        }
    }

    fn program(id: u32) -> ext::Program {
        let kernel_info = Some(v1::KernelProgramInfo { id, ..Default::default() });
        ext::Program { kernel_info, standing: ext::Standing::Running.into(), ..Default::default() }
    }

    fn told(kind: WaitKind, condition: WaitCondition, found: Found) -> String {
        let target = ObjectName::Name("x".to_owned());
        match evaluate(&WaitFor { kind, target, condition, timeout: Duration::ZERO }, found) {
            WaitedState::So(waited) => format!("so {:?} {:?}", waited.program_ids, waited.link_ids),
            WaitedState::NotYet(how) => how,
            WaitedState::Never(error) => format!("never: {error}"),
        }
    }

    #[test]
    fn attached_is_what_runs_and_not_what_is_recorded() {
        use WaitCondition::{Attached, Detached};
        use ext::Standing::{Running, Unspecified, Waiting};
        let links = |standings: &[ext::Standing]| Found {
            programs: vec![program(7)],
            links: (12..).zip(standings).map(|(id, standing)| link(id, *standing)).collect(),
            missing: None,
        };
        for (kind, standings, expected) in [
            (WaitKind::Link, &[Running][..], "so [7] [12]"),
            (WaitKind::Link, &[Waiting], "link 12: its interface is away"),
            (
                WaitKind::Link,
                &[Unspecified],
                "the daemon does not say how link 12 stands: it is older than this client",
            ),
            (WaitKind::Program, &[Running, Running], "so [7] [12, 13]"),
            (WaitKind::Program, &[Running, Waiting], "link 13: its interface is away"),
            (WaitKind::Program, &[], "it has no link"),
        ] {
            assert_eq!(told(kind, Attached, links(standings)), expected);
        }
        let two = Found { programs: vec![program(7), program(8)], ..links(&[Running]) };
        assert_eq!(told(WaitKind::Program, Attached, two), "program 8 has no link");
        assert_eq!(told(WaitKind::Program, Detached, links(&[Waiting, Running])), "it has link 12, 13");
        assert_eq!(told(WaitKind::Link, Detached, links(&[Waiting])), "it is there");
        assert_eq!(told(WaitKind::Program, Detached, links(&[])), "so [7] []");
    }

    #[test]
    fn missing_object_is_gone_and_its_id_never_returns() {
        use WaitCondition::{Attached, Detached, Gone, Loaded, Unloaded};
        for condition in [Detached, Gone, Unloaded] {
            assert_eq!(told(WaitKind::Program, condition, Found::default()), "so [] []");
        }
        assert_eq!(told(WaitKind::Program, Loaded, Found::default()), "bpfman has no such program");
        for condition in [Attached, Loaded] {
            let missing = Some(Error::Incomplete { call: "GetLink", part: "link 12" });
            let told = told(WaitKind::Link, condition, Found { missing, ..Found::default() });
            assert!(told.starts_with("never: "), "{told}");
        }
        let lost = ext::Program {
            standing: ext::Standing::Lost.into(),
            state: "it is gone".to_owned(),
            ..program(7)
        };
        let there = |program| Found { programs: vec![program], ..Found::default() };
        assert_eq!(told(WaitKind::Program, Loaded, there(lost)), "program 7: it is gone");
        assert_eq!(told(WaitKind::Program, Loaded, there(program(7))), "so [7] []");
        assert_eq!(told(WaitKind::Program, Gone, there(program(7))), "bpfman has program 7");
    }
}
