//! `docs/cli.md` says what is true: every exit code, and every field of the JSON shapes.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;

use bpfman_cli::exit::Exit;
use bpfman_cli::show::chain::ChainRecord;
use bpfman_cli::show::record::ProgramRecord;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfman_proto::v1::bytecode_location::Location;
use serde_json::Value;

const PAGE: &str = include_str!("../../docs/cli.md");

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
    let record = ProgramRecord { verifier_log: Some(String::new()), ..ProgramRecord::from(&program) };
    let chain = ext::GetChainResponse { members: vec![ext::ChainMember::default()], ..Default::default() };
    let mut names = BTreeSet::new();
    collect(&serde_json::to_value(record).unwrap(), &mut names);
    collect(&serde_json::to_value(ChainRecord::new(String::new(), &chain)).unwrap(), &mut names);
    assert!(names.len() > 50, "{names:?}");
    let missing: Vec<&String> = names.iter().filter(|name| !PAGE.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Names of all fields, at every depth.
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
