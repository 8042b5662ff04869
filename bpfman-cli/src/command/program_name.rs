//! Programs that are given by name.

use bpfman_client::Services;
use bpfman_model::Hint;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;

use crate::args::object_name::ObjectName;
use crate::error::CliError;

pub async fn of_name(client: &mut Services, name: &str) -> Result<Vec<ext::Program>, tonic::Status> {
    let ours = v1::ListRequest { bpfman_programs_only: Some(true), ..v1::ListRequest::default() };
    let request = ext::ListProgramsRequest { select: Some(ours), program_type: String::new() };
    let mut programs = client.ext.list_programs(request).await?.into_inner().programs;
    programs.retain(|program| program.info.as_ref().is_some_and(|info| info.name == name));
    Ok(programs)
}

pub async fn program_id(client: &mut Services, program: &ObjectName) -> Result<u32, CliError> {
    let name = match program {
        ObjectName::Id(id) => return Ok(*id),
        ObjectName::Name(name) => name,
    };
    let programs = of_name(client, name).await?;
    let mut ids: Vec<u32> =
        programs.iter().filter_map(|program| Some(program.kernel_info.as_ref()?.id)).collect();
    ids.sort_unstable();
    match ids[..] {
        [id] => Ok(id),
        [] => Err(CliError::NoEntry {
            what: format!("no program of bpfman has the name {name}"),
            hint: Hint::ListPrograms,
        }),
        _ => {
            let ids: Vec<String> = ids.iter().map(u32::to_string).collect();
            Err(CliError::Invalid {
                what: format!("{} programs have the name {name}: {}", ids.len(), ids.join(", ")),
                hint: Some(Hint::ListPrograms),
            })
        }
    }
}
