//! Replacement of a whole load: request and answer.

use bpfman_model::{LoadRequest, ProgramId};
use bpfman_proto::ext::v1 as wire;
use bpfmand_engine::{LoadOutcome, ReplaceLoadRequest, ReplaceOutcome};
use bpfmand_kernel::Kernel;
use tonic::Status;

use crate::server::{Api, fail};
use crate::status::invalid;
use crate::{audit, chains_parse, chains_show, parse};

impl<K: Kernel> Api<K> {
    pub(crate) async fn replace_whole_load(
        &self,
        request: wire::ReplaceLoadRequest,
        caller_uid: u32,
    ) -> Result<wire::ReplaceLoadResponse, Status> {
        let mut request = replace_load(request, caller_uid)?;
        if let [program] = request.programs[..] {
            audit::about_program(self.engine.summary_of_program(program));
        }
        audit::replacement(&request.programs, &request.load.source);
        let (permit, places) = self.authorize_load_replacing(&mut request.load, &request.programs).await?;
        request.places = Some(places);
        let image = self.prepare(&permit, &request.load.source).await;
        let outcome = self
            .change_with(&permit, image, move |api| api.engine.replace_load(&request).map_err(fail))
            .await?;
        audit::programs(&outcome.programs);
        Ok(self.load_replaced(outcome))
    }

    fn load_replaced(&self, outcome: ReplaceOutcome) -> wire::ReplaceLoadResponse {
        let ReplaceOutcome { programs, maps, links_switched, programs_removed, .. } = outcome;
        wire::ReplaceLoadResponse {
            load: Some(self.load_response(&LoadOutcome { programs, logs: Vec::new() })),
            maps: maps.into_iter().map(chains_show::map_outcome).collect(),
            links_switched: links_switched as u32,
            programs_removed: programs_removed as u32,
        }
    }
}

fn replace_load(request: wire::ReplaceLoadRequest, caller_uid: u32) -> Result<ReplaceLoadRequest, Status> {
    let maps = chains_parse::map_policy(request.maps)?;
    let load = request.load.ok_or_else(|| {
        invalid(format!("the replacement of {} programs names no new version", request.program_ids.len()))
    })?;
    Ok(ReplaceLoadRequest {
        programs: request.program_ids.into_iter().map(ProgramId).collect(),
        load: LoadRequest { values: parse::values(request.values), ..parse::load(load, caller_uid, false)? },
        maps,
        places: None,
    })
}

#[cfg(test)]
mod tests {
    use bpfman_proto::v1;
    use bpfmand_engine::MapPolicy;

    use super::*;

    fn version(path: &str) -> Option<v1::LoadRequest> {
        Some(v1::LoadRequest {
            bytecode: Some(v1::BytecodeLocation {
                location: Some(v1::bytecode_location::Location::File(path.to_owned())),
            }),
            info: vec![v1::LoadInfo { name: "wall".to_owned(), ..Default::default() }],
            ..Default::default()
        })
    }

    #[test]
    fn load_replacement_has_programs_source_and_valid_policy() {
        let of = |load, maps| {
            replace_load(
                wire::ReplaceLoadRequest { program_ids: vec![7, 9], load, maps, ..Default::default() },
                1000,
            )
        };
        let request = of(version("/x.o"), 1).unwrap();
        assert_eq!(request.programs, [ProgramId(7), ProgramId(9)]);
        assert_eq!((request.maps, request.load.caller_uid), (MapPolicy::ReuseOnly, 1000));
        assert_eq!(request.load.programs[0].name, "wall");
        for (load, maps, says) in [
            (None, 0, "the replacement of 2 programs names no new version"),
            (version("/x.o"), 3, "map policy 3 does not exist"),
            (Some(v1::LoadRequest::default()), 0, "names no bytecode"),
        ] {
            let status = of(load, maps).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(status.message().contains(says), "{}", status.message());
        }
    }
}
