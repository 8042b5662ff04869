use std::collections::HashMap;

use bpfman_client::Services;
use bpfman_model::Hint;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfman_proto::v1::bytecode_location::Location;
use bpfman_proto::{ACTUAL_TYPE_PREFIX, APPLICATION_KEY, MAP_EXPORTS_KEY, MapExports};

use super::{ambiguous_digits, connect, image, progress};
use crate::args::Global;
use crate::args::load::{LoadCommand, LoadFile, LoadImage, LoadWhat};
use crate::args::value::{absolute, load_values, to_map};
use crate::error::CliError;
use crate::show;
use crate::show::json::ProgramJson;
use crate::show::program::LoadedPrograms;

pub async fn run(global: &Global, command: LoadCommand) -> Result<(), CliError> {
    let (LoadCommand::File(LoadFile { what, .. }) | LoadCommand::Image(LoadImage { what, .. })) = &command;
    // Report errors of the command line before a pull.
    let values = load_values(&what.global, &what.map_size)?;
    let (mut client, location, what);
    match command {
        LoadCommand::File(file) => {
            client = connect(global).await?;
            location = Location::File(absolute(file.object.path()));
            what = file.what;
        }
        LoadCommand::Image(command) => {
            client = connect(global).await?;
            let wanted = image::pulled_where_watched(global, &mut client, &command.image).await?;
            location = Location::Image(wanted);
            what = command.what;
        }
    }
    if what.dry_run {
        let load = request(location, &what);
        return super::dry_run::run(global, &mut client, load, (&what, values)).await;
    }
    let request = request(location, &what);
    let (loaded, logs) =
        progress::while_waiting(global, "loading", load(&mut client, request, (&what, values))).await?;
    let mut programs = Vec::with_capacity(loaded.len());
    for (index, id) in loaded.into_iter().enumerate() {
        let answer = client.ext.get_program(ext::GetProgramRequest { id }).await?.into_inner();
        let program =
            answer.program.ok_or(CliError::Incomplete { call: "GetProgram", part: "the program" })?;
        warn_of(&program);
        let verifier_log = logs.get(index).cloned();
        programs.push(ProgramJson { verifier_log, ..ProgramJson::new(&program) });
    }
    if let Some(first) = programs.first() {
        ambiguous_digits::warn(&what.global, &first.global_data);
    }
    show::answer(global, &LoadedPrograms { programs })
}

/// Prints the warnings of a load, for example about parts that it left out.
pub fn warn_of(program: &ext::Program) {
    let name = program.info.as_ref().map_or("", |info| info.name.as_str());
    program.warnings.iter().for_each(|text| progress::warn(&format!("program \"{name}\": {text}")));
}

/// Returns the kernel ids of the new programs, and requested verifier logs, in the order of the request.
async fn load(
    client: &mut Services,
    request: v1::LoadRequest,
    (what, values): (&LoadWhat, Option<ext::LoadValues>),
) -> Result<(Vec<u32>, Vec<String>), CliError> {
    let sets_values = values.is_some();
    let (response, logs) = if what.verifier_log || what.is_limited() || sets_values {
        let request = ext::ExtLoadRequest {
            request: Some(request),
            verifier_log: what.verifier_log,
            cpu_limit: what.cpu_limit.clone().unwrap_or_default(),
            over_cpu: what.cpu_limit.as_ref().map(|_| what.over_cpu.name().to_owned()).unwrap_or_default(),
            ttl_seconds: what.ttl.map(|ttl| ttl.as_secs()),
            values,
            lease: None,
        };
        let answer = client.ext.load(request).await?.into_inner();
        if let Some(failure) = answer.failure {
            let log = answer.verifier_logs.join("\n");
            return Err(CliError::Load { failure: Box::new(failure), log });
        }
        let response = answer.response.unwrap_or_default();
        if what.is_limited() && !answer.budget_kept {
            return Err(not_known(client, &response, "neither --cpu-limit nor --ttl").await);
        }
        if sets_values && !answer.values_set {
            return Err(
                not_known(client, &response, "neither values of --global by type nor --map-size").await
            );
        }
        (response, answer.verifier_logs)
    } else {
        (client.v1.load(request).await?.into_inner(), Vec::new())
    };
    let lacking = CliError::Incomplete { call: "Load", part: "the kernel's information" };
    let ids = response.programs.iter().map(|program| program.kernel_info.as_ref().map(|kernel| kernel.id));
    Ok((ids.collect::<Option<_>>().ok_or(lacking)?, logs))
}

/// Unloads programs that an older daemon loaded without some flags. Returns the error for the flags.
async fn not_known(client: &mut Services, response: &v1::LoadResponse, flags: &str) -> CliError {
    let mut left = Vec::new();
    for kernel in response.programs.iter().filter_map(|program| program.kernel_info.as_ref()) {
        if client.v1.unload(v1::UnloadRequest { id: kernel.id }).await.is_err() {
            left.push(kernel.id.to_string());
        }
    }
    let loaded = match &left[..] {
        [] => "nothing is loaded".to_owned(),
        left => format!("programs {} stay without", left.join(", ")),
    };
    CliError::Invalid { what: format!("this daemon knows {flags}; {loaded}"), hint: Some(Hint::Version) }
}

fn request(location: Location, what: &LoadWhat) -> v1::LoadRequest {
    v1::LoadRequest {
        bytecode: Some(v1::BytecodeLocation { location: Some(location) }),
        metadata: metadata(what),
        global_data: HashMap::new(),
        uuid: None,
        map_owner_id: what.map_owner_id,
        info: what.programs.iter().map(v1::LoadInfo::from).collect(),
    }
}

/// Returns the metadata of the flags, with the application under its key unless the user set that key.
fn metadata(what: &LoadWhat) -> HashMap<String, String> {
    let mut metadata = to_map(&what.metadata);
    for program in &what.programs {
        if let Some(actual) = program.actual_type {
            metadata.insert(format!("{ACTUAL_TYPE_PREFIX}{}", program.function), actual.to_owned());
        }
    }
    if !what.export_map.is_empty() {
        metadata.insert(MAP_EXPORTS_KEY.to_owned(), MapExports(what.export_map.clone()).to_string());
    }
    if let Some(name) = &what.application {
        if let Some(written) = metadata.get(APPLICATION_KEY) {
            progress::warn(&format!(
                "--application {name} is ignored: the metadata already has {APPLICATION_KEY}={written}"
            ));
        } else {
            metadata.insert(APPLICATION_KEY.to_owned(), name.clone());
        }
    }
    metadata
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, CliCommand};

    fn what(line: &str) -> LoadWhat {
        let line = format!("bpfman load file -p x.o --programs xdp:pass {line}");
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            CliCommand::Load(LoadCommand::File(file)) => file.what,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn exported_maps_become_metadata() {
        let metadata = metadata(&what("--export-map hits=web,shop:rw *=monitoring"));
        assert_eq!(metadata[MAP_EXPORTS_KEY], "hits=web,shop:rw;*=monitoring");
        let wrong = Cli::try_parse_from(["bpfman", "load", "file", "--export-map", "hits"]).unwrap_err();
        assert!(wrong.to_string().contains("MAP=NAMESPACE"), "{wrong}");
    }

    #[test]
    fn the_application_becomes_metadata() {
        let metadata = metadata(&what("-a shop -m owner=acme"));
        assert_eq!(metadata[APPLICATION_KEY], "shop");
        assert_eq!(metadata["owner"], "acme");
    }

    #[test]
    fn an_application_in_the_metadata_wins() {
        assert_eq!(metadata(&what("-a shop -m bpfman_application=bank"))[APPLICATION_KEY], "bank");
    }

    #[test]
    fn return_probes_say_that_they_are_ones() {
        let metadata = metadata(&what("uretprobe:left uprobe:entered kretprobe:back"));
        let types: Vec<_> = metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(types.len(), 2, "{types:?}");
        assert!(types.contains(&("bpfman.io/actual-type:left", "uretprobe")), "{types:?}");
        assert!(types.contains(&("bpfman.io/actual-type:back", "kretprobe")), "{types:?}");
    }

    #[test]
    fn the_request_carries_every_flag() {
        let what = what("lsm:check:file_open --map-owner-id 9");
        let request = request(Location::File("/x.o".into()), &what);
        assert_eq!(request.map_owner_id, Some(9));
        let names: Vec<&str> = request.info.iter().map(|info| info.name.as_str()).collect();
        assert_eq!(names, ["pass", "check"]);
    }
}
