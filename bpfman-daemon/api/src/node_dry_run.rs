//! Conversion of `DryRun` between the wire and the engine.

use bpfman_model::{LoadRequest, ProbeReader, ProgramId, Sharing};
use bpfman_proto::attach_point;
use bpfman_proto::ext::v1 as wire;
use bpfmand_engine::{DryRunAttachment, DryRunOutcome, DryRunPart, DryRunRequest};
use tonic::Status;

use crate::{chains_parse, parse, status};

pub(crate) fn request(request: wire::DryRunRequest, caller: u32) -> Result<DryRunRequest, Status> {
    let load = request.load.ok_or_else(|| status::invalid("the trial has no load"))?;
    let attachments = request.attachments.into_iter().map(|attachment| {
        let (point, metadata) =
            attach_point::either(attachment.attach, attachment.point).map_err(status::bad_point)?;
        Ok(DryRunAttachment {
            program: attachment.program,
            point,
            order: chains_parse::order(attachment.order)?.unwrap_or_default(),
            sharing: Sharing { isolated: attachment.isolated, ..Sharing::default() },
            metadata,
            reader: ProbeReader::Unknown,
        })
    });
    Ok(DryRunRequest {
        load: LoadRequest { values: parse::values(request.values), ..parse::load(load, caller, false)? },
        attachments: attachments.collect::<Result<_, Status>>()?,
        group: crate::objects::callers_group(),
        replaces: request.replaces.into_iter().map(ProgramId).collect(),
    })
}

pub(crate) fn response(outcome: &DryRunOutcome, kernel_release: &str) -> wire::DryRunResponse {
    wire::DryRunResponse {
        accepted: outcome.accepted(),
        programs: outcome.programs.iter().map(part).collect(),
        chains: outcome.chains.iter().map(part).collect(),
        image_digest: outcome.image_digest.clone(),
        verified_by: outcome.verified_by.clone(),
        failure: outcome.failure.as_ref().map(status::failure),
        kernel_release: kernel_release.to_owned(),
        composition: outcome.composition.clone(),
    }
}

fn part(part: &DryRunPart) -> wire::DryRunPart {
    let log = part.failure.as_ref().and_then(bpfmand_engine::EngineError::verifier_log);
    wire::DryRunPart {
        name: part.name.clone(),
        failure: part.failure.as_ref().map(status::failure),
        verifier_line: part.verifier_line().to_owned(),
        verifier_log: log.unwrap_or_default().to_owned(),
        verified_insns: part.verified_insns,
        load_nanoseconds: u64::try_from(part.load_time.as_nanos()).unwrap_or(u64::MAX),
        jited_bytes: part.jited_bytes,
        members: part.members as u32,
        strategy: part.strategy.to_owned(),
    }
}
