//! Comparison of records and wire bytes of all attach points and program types with a stored file.
//!
//! Run with `BPFMAN_GOLDEN=write` to rewrite the file after an intended change. The requests are those that the command
//! line sends, from its own stored file.

use std::fmt::Write as _;
use std::path::Path;

use bpfman_model::{ProgramType, SocketHook};
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::{WirePoint, attach_point, type_of_number, v1};
use bpfmand_kernel::ProgramKind;
use prost::Message as _;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.bytes().collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// Adds the record of each request and the bytes of the answer.
fn requests(text: &mut String, command_line: &str) {
    for line in command_line.lines().filter(|line| line.starts_with("attach ")) {
        let (line, message) = line.rsplit_once(": ").unwrap();
        let (service, message) = message.split_once(' ').unwrap();
        let message = bytes(message);
        let (attach, point) = match service {
            "v1" => (Some(v1::AttachInfo::decode(&message[..]).unwrap()), None),
            _ => (None, Some(ext::Point::decode(&message[..]).unwrap())),
        };
        let (point, metadata) = attach_point::either(attach, point).unwrap();
        writeln!(text, "{line}: {point}, {}", serde_json::to_string(&point).unwrap()).unwrap();
        let (published, more) = WirePoint::of_record(&point, Some(2), &metadata).into_fields();
        let published = published.map(|attach| hex(&attach.encode_to_vec()));
        let more = more.map(|point| hex(&point.encode_to_vec()));
        writeln!(text, "{} {}", published.as_deref().unwrap_or("-"), more.as_deref().unwrap_or("-")).unwrap();
    }
}

fn types(text: &mut String) {
    let mut types = ProgramType::ALL;
    types.sort_unstable_by_key(|known| known.name());
    for known in types {
        let mut targets = vec![None];
        targets.extend(SocketHook::of_type(known).iter().map(|hook| Some(hook.name)));
        let kinds: Vec<_> =
            targets.iter().map(|target| ProgramKind::new(known, *target).expected_attach_type).collect();
        writeln!(
            text,
            "{known}: {}, kernel {}, {:?}, {:?}, return {}, declared {}, chained {}, expected {kinds:?}",
            serde_json::to_string(&known).unwrap(),
            known.kernel_type(),
            known.load_target(),
            known.scope(),
            known.is_return_probe(),
            known.declared(),
            known.is_chained(),
        )
        .unwrap();
    }
    for number in (-1..12).chain(998..1100) {
        if let Some(declared) = type_of_number(number) {
            writeln!(text, "number {number}: {declared}").unwrap();
        }
    }
    for number in 0..35 {
        writeln!(text, "kernel type {number}: {}", crate::ext_show::kernel_type_name(number)).unwrap();
    }
}

#[test]
fn records_and_answers_are_those_of_the_stored_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let requested = folder.join("../../bpfman-cli/tests/golden/vocabulary.txt");
    let path = folder.join("tests/golden/points.txt");
    let mut text = String::new();
    types(&mut text);
    requests(&mut text, &std::fs::read_to_string(requested).unwrap());
    if std::env::var_os("BPFMAN_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    for (line, (now, before)) in text.lines().zip(stored.lines()).enumerate() {
        assert_eq!(now, before, "line {} of {}", line + 1, path.display());
    }
    assert_eq!(text.lines().count(), stored.lines().count(), "{}", path.display());
}
