//! `bpfman update`, `bpfman replace` and `bpfman adopt`.

use std::collections::HashMap;

use bpfman_model::{Hint, ProgramId};
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfman_proto::v1::bytecode_location::Location;

use super::program_name::program_id;
use super::progress::{warn, while_waiting};
use super::{ambiguous_digits, connect, image};
use crate::args::Global;
use crate::args::change::{Adopt, KernelLink, Replace, ReplaceBy, ReplaceHow, UpdateCommand, UpdateLink};
use crate::args::value::{absolute, load_values, to_map};
use crate::error::CliError;
use crate::show;
use crate::show::changed::{Replaced, Updated};
use crate::show::json::LinkJson;

pub async fn update(global: &Global, command: UpdateCommand) -> Result<(), CliError> {
    let UpdateCommand::Link(command) = command;
    let request = update_request(command);
    let answer = connect(global).await?.chains.update_link(request).await?.into_inner();
    let link = answer.link.ok_or(CliError::Incomplete { call: "UpdateLink", part: "the link" })?;
    link.warnings.iter().for_each(|text| warn(text));
    show::answer(global, &Updated { outcome: answer.outcome, link: LinkJson::new(&link) })
}

fn update_request(command: UpdateLink) -> ext::UpdateLinkRequest {
    let forget = command.no_order.then(ext::Order::default);
    ext::UpdateLinkRequest {
        link_id: command.link_id,
        priority: command.priority,
        set_proceed_on: command.proceed_on.is_some(),
        proceed_on: command.proceed_on.unwrap_or_default(),
        order: command.order.on_the_wire().or(forget),
        isolated: command.isolated,
        position: command.position,
        shadow: command.shadow,
    }
}

pub async fn replace(global: &Global, command: Replace) -> Result<(), CliError> {
    let mut globals = Vec::new();
    let answer = match (command.rollback, command.by) {
        (true, None) => {
            let mut daemon = connect(global).await?;
            let program_id = program_id(&mut daemon, &command.program).await?;
            let request = ext::RollbackProgramRequest { program_id };
            while_waiting(global, "replacing", daemon.chains.rollback_program(request)).await?
        }
        (false, Some(by)) => {
            globals.clone_from(&by.how().global);
            let mut request = replace_request(by)?;
            let sets_values = request.values.is_some();
            let mut daemon = connect(global).await?;
            request.program_id = program_id(&mut daemon, &command.program).await?;
            let replaced = ProgramId(request.program_id);
            let answer = while_waiting(global, "replacing", daemon.chains.replace_program(request)).await?;
            if sets_values && !answer.get_ref().values_set {
                return Err(CliError::Invalid {
                    what: format!(
                        "this daemon knows neither values of --global by type nor --map-size: program {} was replaced without",
                        command.program
                    ),
                    hint: Some(Hint::Rollback(replaced)),
                });
            }
            answer
        }
        (true, Some(_)) => {
            return Err(CliError::Usage(
                "--rollback puts an old version back and takes no new one".to_owned(),
            ));
        }
        (false, None) => {
            let what = "the new version is missing: `file`, `image`, or --rollback for the old one";
            return Err(CliError::Usage(what.to_owned()));
        }
    };
    let lacking = CliError::Incomplete { call: "ReplaceProgram", part: "the program" };
    let replaced = Replaced::new(&answer.into_inner()).ok_or(lacking)?;
    ambiguous_digits::warn(&globals, &replaced.program.global_data);
    show::answer(global, &replaced)
}

fn replace_request(by: ReplaceBy) -> Result<ext::ReplaceProgramRequest, CliError> {
    let (location, how) = match by {
        ReplaceBy::File { object, how } => (Location::File(absolute(object.path())), how),
        ReplaceBy::Image { image, how } => (Location::Image(image::on_the_wire(&image)), how),
    };
    let ReplaceHow { name, global, map_size, maps, forget_old } = how;
    Ok(ext::ReplaceProgramRequest {
        program_id: 0,
        bytecode: Some(v1::BytecodeLocation { location: Some(location) }),
        name: name.unwrap_or_default(),
        global_data: HashMap::new(),
        values: load_values(&global, &map_size)?,
        maps: maps.on_the_wire(),
        forget_old,
    })
}

pub async fn adopt(global: &Global, command: Adopt) -> Result<(), CliError> {
    let request = adopt_request(command);
    let answer = connect(global).await?.chains.adopt(request).await?.into_inner();
    let link = answer.link.ok_or(CliError::Incomplete { call: "Adopt", part: "the link" })?;
    show::answer(global, &LinkJson::new(&link))
}

fn adopt_request(command: Adopt) -> ext::AdoptRequest {
    let what = match command.what {
        KernelLink::Id(id) => ext::adopt_request::What::KernelLinkId(id),
        KernelLink::Pin(path) => ext::adopt_request::What::PinPath(absolute(&path)),
    };
    ext::AdoptRequest {
        what: Some(what),
        priority: command.priority,
        proceed_on: command.proceed_on,
        order: command.order.on_the_wire(),
        metadata: to_map(&command.metadata),
        iface: command.iface.unwrap_or_default(),
        netns: command.netns.as_deref().map(absolute).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, CliCommand};

    fn command(line: &str) -> CliCommand {
        Cli::try_parse_from(line.split_whitespace()).unwrap().command
    }

    fn update(flags: &str) -> ext::UpdateLinkRequest {
        match command(&format!("bpfman update link 90 {flags}")) {
            CliCommand::Update(UpdateCommand::Link(update)) => update_request(update),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_update_sends_only_what_changes() {
        let expected =
            ext::UpdateLinkRequest { link_id: 90, priority: Some(0), ..ext::UpdateLinkRequest::default() };
        assert_eq!(update("-p 0"), expected);
        let request = update("--proceed-on drop pass --isolated false --position 2");
        assert_eq!((request.set_proceed_on, request.proceed_on), (true, vec!["drop".into(), "pass".into()]));
        assert_eq!((request.isolated, request.position, request.order), (Some(false), Some(2), None));
    }

    #[test]
    fn intents_are_replaced_or_forgotten() {
        let order = update("--before 8 --role wall").order.unwrap();
        assert_eq!(
            (order.role.as_str(), &order.before[..], order.after.len()),
            ("wall", &["8".to_owned()][..], 0)
        );
        assert_eq!(update("--no-order").order, Some(ext::Order::default()));
    }

    #[test]
    fn a_replacement_carries_every_flag() {
        let CliCommand::Replace(replace) =
            command("bpfman replace 7 file -p /x.o --name new -g a=0102 --maps fresh --forget-old")
        else {
            panic!()
        };
        let request = replace_request(replace.by.unwrap()).unwrap();
        assert_eq!(request.bytecode.unwrap().location, Some(Location::File("/x.o".into())));
        assert_eq!((request.name.as_str(), request.values.unwrap().globals["a"].as_str()), ("new", "0102"));
        assert_eq!((request.maps, request.forget_old), (ext::MapPolicy::Fresh as i32, true));
    }

    #[test]
    fn adopt_accepts_id_or_path() {
        let adopt = |line: &str| match command(line) {
            CliCommand::Adopt(adopt) => adopt_request(adopt),
            other => panic!("{other:?}"),
        };
        let request = adopt("bpfman adopt 12 -p 5 --proceed-on pass -m a=b --after role=lb -i eth0 -n /n");
        assert_eq!((request.iface.as_str(), request.netns.as_str()), ("eth0", "/n"));
        assert_eq!(request.what, Some(ext::adopt_request::What::KernelLinkId(12)));
        assert_eq!((request.priority, request.order.unwrap().after), (5, vec!["role=lb".to_owned()]));
        let here = std::env::current_dir().unwrap().join("pins/a").display().to_string();
        assert_eq!(adopt("bpfman adopt pins/a -p 5").what, Some(ext::adopt_request::What::PinPath(here)));
    }
}
