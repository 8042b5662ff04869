//! Tests that the client's pages document every exit code and every field of the JSON output.

use std::collections::BTreeSet;

use bpfman_apply::report::Report;
use bpfman_cli::exit::Exit;
use bpfman_cli::finding_class::FindingClass;
use bpfman_cli::show::applied::{AppliedLink, AppliedObject, AppliedProgram, DiffedObject};
use bpfman_cli::show::chain::ChainJson;
use bpfman_cli::show::changed::Replaced;
use bpfman_cli::show::checked::{BootedProgram, BootedTry, CheckedKernel, CheckedObject};
use bpfman_cli::show::diagnosis::Diagnosis;
use bpfman_cli::show::entry::ShownEntry;
use bpfman_cli::show::features::FeatureList;
use bpfman_cli::show::history::HistoryJson;
use bpfman_cli::show::hook_answers::{Explained, HookSwitchesJson};
use bpfman_cli::show::hooks::HookList;
use bpfman_cli::show::journal_event::JournalEventJson;
use bpfman_cli::show::json::ProgramJson;
use bpfman_cli::show::maps::MapList;
use bpfman_cli::show::matching::MatchingJson;
use bpfman_cli::show::radar::RadarJson;
use bpfman_cli::show::traced::{PacketJson, Traced};
use bpfman_cli::show::tried::Tried;
use bpfman_cli::show::value::TypedValue;
use bpfman_cli::show::verified::VerifiedChain;
use bpfman_cli::show::waited::Waited;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfman_proto::v1::bytecode_location::Location;
use bpfmand_requirements::{KernelNeed, Lack, NeedKind, ObjectNeeds};
use serde_json::Value;

const PAGE: &str = concat!(
    include_str!("../../../docs/output.md"),
    include_str!("../../../docs/json.md"),
    include_str!("../../../docs/doctor.md")
);

#[test]
fn every_exit_code_has_its_line() {
    for (exit, meaning) in Exit::ALL {
        let line = format!("| {} | {meaning} |", exit.number());
        assert!(PAGE.contains(&line), "{line}");
    }
}

#[test]
fn every_field_is_described() {
    let link = ext::Link::default();
    let location = Location::File("/x.o".into());
    let info = v1::ProgramInfo {
        bytecode: Some(v1::BytecodeLocation { location: Some(location) }),
        ..Default::default()
    };
    let program = ext::Program {
        info: Some(info),
        kernel_info: Some(v1::KernelProgramInfo::default()),
        maps: vec![ext::Map::default()],
        links: vec![link],
        ..Default::default()
    };
    let record = ProgramJson { verifier_log: Some(String::new()), ..ProgramJson::new(&program) };
    let mut names = BTreeSet::new();
    collect(&serde_json::to_value(record).unwrap(), &mut names);
    chain_shapes(&mut names);
    assert!(names.len() > 50, "{names:?}");
    let missing: Vec<&String> = names.iter().filter(|name| !PAGE.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

fn chain_shapes(names: &mut BTreeSet<String>) {
    let chain = ext::GetChainResponse { members: vec![ext::ChainMember::default()], ..Default::default() };
    let view = ext::MemberView { ended: vec![ext::VerdictCount::default()], ..Default::default() };
    let shown = ext::ShowChainResponse {
        chain: Some(chain),
        members: vec![view],
        entries: vec![ext::HookEntry::default()],
        segments: vec![ext::ChainSegment::default()],
        ..Default::default()
    };
    let hooks = ext::ListHooksResponse { hooks: vec![ext::HookSummary::default()] };
    let parts = ext::VerifyChainResponse { parts: vec![ext::VerifiedPart::default()], ..Default::default() };
    let trace = ext::PacketTrace { steps: vec![ext::TraceStep::default()], ..Default::default() };
    let traced = Traced {
        hook: String::new(),
        packets: vec![PacketJson::new(1, String::new(), 0, &trace)],
        note: String::new(),
    };
    let replaced = ext::ReplaceProgramResponse {
        program: Some(ext::Program::default()),
        maps: vec![ext::MapOutcome::default()],
        ..Default::default()
    };
    let mut diagnosis = Diagnosis::default();
    diagnosis.found(FindingClass::DRIFT, "link 1", "missing", &"".into());
    let waited = Waited {
        kind: "link",
        target: String::new(),
        condition: "attached",
        program_ids: Vec::new(),
        link_ids: Vec::new(),
    };
    let mut history = HistoryJson::default();
    history.add(&ext::HistoryResponse { entries: vec![ext::JournalLine::default()], damaged: 0 });
    let features = ext::FeaturesResponse { features: vec![ext::Feature::default()], ..Default::default() };
    let process = || Some(ext::StrangeProcess::default());
    let holders = vec![ext::ObjectHolder::default()];
    let program = ext::StrangeProgram { holders, loaded_by: process(), ..Default::default() };
    let made = ext::StrangeLink { made_by: process(), ..Default::default() };
    let survey = ext::SurveyRadarResponse { programs: vec![program], links: vec![made], status: None };
    let link = AppliedLink { attachment: String::new(), link_id: None, state: "attached", failure: None };
    let program = AppliedProgram {
        name: String::new(),
        program_type: "XDP",
        program_id: None,
        links: vec![link],
        problems: Vec::new(),
    };
    let mut object = AppliedObject::of_report("ClusterBpfApplication", "x", &Report::default());
    object.programs.push(program);
    for shape in [
        serde_json::to_value(object),
        serde_json::to_value(DiffedObject::new("ClusterBpfApplication", "x", &[])),
        serde_json::to_value(ChainJson::of_hook("", &shown)),
        serde_json::to_value(HookList::from(&hooks)),
        serde_json::to_value(VerifiedChain::new("", &parts)),
        serde_json::to_value(traced),
        serde_json::to_value(HookSwitchesJson::new("", &ext::SetHookResponse::default())),
        serde_json::to_value(Explained { hook: String::new(), member: None, findings: Vec::new() }),
        serde_json::to_value(MatchingJson::new(&ext::Matching::default())),
        serde_json::to_value(Replaced::new(&replaced)),
        serde_json::to_value(MapList::new(&ext::ListMapsResponse {
            maps: vec![ext::MapDescription { map: Some(ext::Map::default()), ..Default::default() }],
            not_searched: vec![1],
        })),
        serde_json::to_value(ShownEntry {
            key: Some(TypedValue::Truth(true)),
            value: TypedValue::Truth(true),
            per_cpu: Some(Vec::new()),
        }),
        serde_json::to_value(diagnosis),
        serde_json::to_value(history),
        serde_json::to_value(JournalEventJson::Missed { first: 1, last: 1, entries: 1 }),
        serde_json::to_value(JournalEventJson::Renumbered { after: 1 }),
        serde_json::to_value(JournalEventJson::Damaged { lines: 1 }),
        serde_json::to_value(waited),
        serde_json::to_value(RadarJson::new(&survey)),
        serde_json::to_value(FeatureList::new(&features)),
        serde_json::to_value(checked()),
        serde_json::to_value(Tried::new(&ext::DryRunResponse {
            programs: vec![ext::DryRunPart::default()],
            ..Default::default()
        })),
    ] {
        collect(&shape.unwrap(), names);
    }
}

fn checked() -> CheckedObject {
    let need = KernelNeed {
        kind: NeedKind::Kfunc,
        name: String::new(),
        wanted_by: [].into(),
        since: None,
        is_optional: false,
    };
    let mut needs = ObjectNeeds::default();
    needs.needs.push(need);
    let lack = Lack {
        what: String::new(),
        wanted_by: Vec::new(),
        why: String::new(),
        is_certain: true,
        is_for_attaching: false,
    };
    let mut checked = CheckedObject::new("/x.o", &needs);
    let program = BootedProgram { name: String::new(), accepted: true, failure: None };
    let tried = BootedTry { accepted: true, failure: None, tried_programs: vec![program] };
    checked.kernels.push(CheckedKernel { tried: Some(tried), ..CheckedKernel::new("", vec![lack]) });
    checked
}

fn collect(value: &Value, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                names.insert(name.clone());
                collect(field, names);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
        _ => {}
    }
}
