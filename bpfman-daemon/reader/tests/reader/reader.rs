//! Readers give the same results as in-process parsing; readers that lie, stall or end.

use std::env::consts::ARCH;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bpfmand_engine::{EbpfObject, EngineError, KernelTypes, LinkAhead, ReadHere, ReadObjects as _};
use bpfmand_frames::{Answering, WorkerLink};
use bpfmand_object::BtfFeatures;
use bpfmand_reader::{ReaderClient, ReaderTypes, StartReader, serve, write_types_index};
use serde_json::{Value, json};

use crate::acting::acting;

const TYPES: &str = "/sys/kernel/btf/vmlinux";

pub fn bytes(name: &str) -> Arc<[u8]> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../object/tests/src");
    let output = tempfile::NamedTempFile::new().unwrap();
    let done = std::process::Command::new("clang")
        .args([
            "-O2",
            "-g",
            "-Wall",
            "-target",
            "bpf",
            &format!("-I/usr/include/{ARCH}-linux-gnu"),
            "-c",
            "-o",
        ])
        .arg(output.path())
        .arg(folder.join(name))
        .status()
        .unwrap();
    assert!(done.success(), "{name}");
    fs::read(output.path()).unwrap().into()
}

#[derive(Debug)]
struct Thread(fn(UnixStream));

impl StartReader for Thread {
    fn start_reader(&self) -> io::Result<WorkerLink> {
        let (stream, other) = UnixStream::pair()?;
        let act = self.0;
        std::thread::spawn(move || act(other));
        Ok(WorkerLink { stream, life: None })
    }
}

fn client(act: fn(UnixStream)) -> ReaderClient {
    ReaderClient::new(Arc::new(Thread(act)))
}

pub fn honest(stream: UnixStream) {
    serve(stream, || fs::read(TYPES).map(ReaderTypes::Blob)).unwrap();
}

fn honest_by_index(stream: UnixStream) {
    let index = || {
        let mut index = Vec::new();
        write_types_index(fs::read(TYPES)?, &mut index)?;
        Ok(ReaderTypes::Index(Arc::new(index)))
    };
    serve(stream, index).unwrap();
}

fn types() -> KernelTypes<'static> {
    KernelTypes::new(|| Ok(fs::read(TYPES).unwrap()))
}

#[test]
fn reader_returns_the_facts_of_a_local_parse() {
    if !Path::new(TYPES).exists() {
        eprintln!("SKIPPED(the kernel's types: {TYPES}): reader_returns_the_facts_of_a_local_parse");
        return;
    }
    let names = [
        "basic.c",
        "maps.c",
        "legacy_maps.c",
        "core.c",
        "kernel_symbols.c",
        "callbacks.c",
        "new_types.c",
        "missing_types.c",
    ];
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../object/tests/src");
    let (mut linked, mut refused) = (0, 0);
    let there = names.into_iter().filter(|name| folder.join(name).exists());
    let ways: [fn(UnixStream); 2] = [honest, honest_by_index];
    for (name, way) in there.flat_map(|name| ways.map(|way| (name, way))) {
        let bytes = bytes(name);
        let here = ReadHere.read(Arc::clone(&bytes)).unwrap();
        let there = client(way).read(Arc::clone(&bytes)).unwrap();
        let programs = here.programs().iter().map(|program| program.name.clone()).collect();
        let ahead = LinkAhead { programs, features: BtfFeatures::ALL };
        let ahead = client(way).read_ahead(bytes, &ahead).unwrap();
        let (mut here_facts, mut there_facts) = ((*here).clone(), (*there).clone());
        // The location in the file is only for the linker.
        for facts in [&mut here_facts, &mut there_facts] {
            facts.programs.iter_mut().for_each(|program| {
                let (name, section) = (program.name.clone(), program.section.clone());
                *program = bpfmand_object::ProgramEntry::of_section(name, section, program.is_static);
            });
        }
        assert_eq!(there_facts, here_facts, "{name}");
        let types = types();
        for program in here.programs() {
            let ask = |object: &EbpfObject| {
                let name = program.name.as_str();
                let needs = object.needs_kernel_types(name).unwrap();
                let needs_modules = object.needs_module_types(name, &types).unwrap();
                let link =
                    |types| object.link(name, types, BtfFeatures::ALL).map_err(|error| error.to_string());
                (needs, needs_modules, link(None), link(Some(&types)))
            };
            let answer = ask(&here);
            assert_eq!(ask(&there), answer, "{name}: {}", program.name);
            assert_eq!(ask(&ahead), answer, "{name}: {}, ahead", program.name);
            assert_eq!(ask(&ahead), answer, "{name}: {}, ahead, again", program.name);
            linked += usize::from(answer.3.is_ok());
            refused += usize::from(answer.2.is_err());
        }
        for features in [BtfFeatures::NONE, BtfFeatures::ALL, BtfFeatures::NONE] {
            assert_eq!(there.btf(features).unwrap(), here.btf(features).unwrap(), "{name}");
            assert_eq!(ahead.btf(features).unwrap(), here.btf(features).unwrap(), "{name}, ahead");
        }
    }
    assert!(linked > 10 && refused > 0, "{linked} linked, {refused} refused");
}

#[test]
fn invalid_object_is_refused_with_the_same_message() {
    for bytes in [&b""[..], b"no object", &[0x7f, b'E', b'L', b'F', 0, 0, 0]] {
        let here = ReadHere.read(bytes.into()).unwrap_err().to_string();
        assert_eq!(client(honest).read(bytes.into()).unwrap_err().to_string(), here);
    }
}

fn refusal(act: fn(UnixStream)) -> String {
    let client = client(act).with_patience(Duration::from_secs(2));
    let error = client.read(b"an object"[..].into()).unwrap_err();
    assert!(matches!(error, EngineError::Reader(_)), "{error}");
    error.to_string()
}

fn receive_object(stream: UnixStream) -> Answering {
    let mut served = Answering::new(stream);
    let _read: Option<Value> = served.question().unwrap();
    let _object = served.take().unwrap();
    served
}

fn facts() -> Value {
    json!({
        "programs": [{ "name": "pass", "section": "xdp", "is_static": false }],
        "maps": [], "types": [], "slots": [], "globals": [], "license": "GPL", "kconfig": null,
    })
}

fn map(change: impl FnOnce(&mut Value)) -> Value {
    let mut facts = facts();
    facts["types"] = json!([[null, false]]);
    facts["maps"] = json!([{
        "name": "counts", "map_type": 2, "key_size": 4, "value_size": 8, "max_entries": 1, "flags": 0, "map_extra": 0, "numa_node": 0,
        "pin_by_name": false, "role": "Ordinary", "initial": 0, "types": [0, 0], "inner": null,
    }]);
    change(&mut facts);
    facts
}

fn says(stream: UnixStream, facts: &Value, contents: &[u8]) {
    let mut served = receive_object(stream);
    served.say(&json!({ "Ok": facts })).unwrap();
    let _gone = served.give(contents);
    let _next: io::Result<Option<Value>> = served.question();
}

/// Texts about the layout of maps are bounded. An object with more text is read nevertheless.
#[test]
fn an_object_whose_maps_have_many_words_is_read_as_here() {
    let fields: String =
        (0..200).map(|field| format!("int a_field_with_a_name_of_some_length_{field};")).collect();
    let maps: String = (0..1000)
        .map(|map| {
            format!(
                "struct {{ __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, struct many); }} \
                 map_{map} SEC(\".maps\");\n"
            )
        })
        .collect();
    let source = tempfile::Builder::new().suffix(".c").tempfile().unwrap();
    let include = "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n";
    fs::write(source.path(), format!("{include}struct many {{ {fields} }};\n{maps}")).unwrap();
    let object = bytes(source.path().to_str().unwrap());
    let here = ReadHere.read(Arc::clone(&object)).unwrap();
    let there = client(honest).read(object).unwrap();
    assert_eq!(*here, *there);
    let with_words = there.types.iter().filter(|types| types.shape.is_some()).count();
    assert!(with_words > 0 && with_words < 1000, "{with_words} of 1000");
}

#[test]
fn one_that_ends_is_told() {
    let ended = "did not do its work: it ended in the middle of it";
    assert!(refusal(drop).ends_with(ended), "{}", refusal(drop));
    assert!(refusal(|stream| drop(receive_object(stream))).ends_with(ended));
    let half = |stream: UnixStream| {
        let mut stream = stream;
        stream.write_all(&[0, 200, 0, 0, 0, b'{']).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _read = stream.read_to_end(&mut Vec::new());
    };
    assert!(refusal(half).ends_with(ended));
}

#[test]
fn silent_reader_times_out() {
    let late = "it did not answer in time";
    let silent = |stream: UnixStream| {
        let mut served = receive_object(stream);
        let _next: io::Result<Option<Value>> = served.question();
    };
    assert!(refusal(silent).ends_with(late), "{}", refusal(silent));
    let deaf = client(|stream| {
        std::thread::park();
        drop(stream);
    });
    let error = deaf.with_patience(Duration::from_millis(200)).read(vec![0; 8 << 20].into()).unwrap_err();
    assert!(error.to_string().ends_with(late), "{error}");
}

#[test]
fn too_long_answer_of_reader_is_refused() {
    let long = |mut stream: UnixStream| {
        stream.write_all(&[0, 0, 0, 0, 2]).unwrap();
        let _read = stream.read_to_end(&mut Vec::new());
    };
    assert!(refusal(long).contains("an answer of 33554432 bytes came, and 4194304 are the most"));
    let announces = |stream| says(stream, &map(|facts| facts["maps"][0]["initial"] = json!(u64::MAX)), b"");
    assert!(refusal(announces).contains("bytes of variables"), "{}", refusal(announces));
    let more = |stream| says(stream, &facts(), b"more");
    assert!(refusal(more).contains("more than 0 bytes came"), "{}", refusal(more));
    let less = |stream| says(stream, &map(|facts| facts["maps"][0]["initial"] = json!(8)), b"less");
    assert!(refusal(less).contains("4 bytes came instead of 8"), "{}", refusal(less));
    let nonsense = |stream| {
        let mut served = receive_object(stream);
        served.say(&"nonsense").unwrap();
    };
    assert!(refusal(nonsense).contains("a message is none"), "{}", refusal(nonsense));
    let deep = |mut stream: UnixStream| {
        let inner = "{\"inner\":".repeat(100_000);
        let length = u32::try_from(inner.len()).unwrap().to_le_bytes();
        stream.write_all(&[&[0], &length[..], inner.as_bytes()].concat()).unwrap();
        let _read = stream.read_to_end(&mut Vec::new());
    };
    assert!(refusal(deep).contains("a message is none"), "{}", refusal(deep));
}

#[test]
fn impossible_answer_of_reader_is_refused() {
    for act in [
        (|stream| says(stream, &map(|facts| facts["maps"][0]["name"] = json!("../../programs")), b""))
            as fn(_),
        |stream| says(stream, &map(|facts| facts["types"] = json!([])), b""),
        |stream| says(stream, &map(|facts| facts["slots"] = json!([[0, 0, { "Map": 7 }]])), b""),
        |stream| {
            says(
                stream,
                &map(|facts| {
                    facts["kconfig"] =
                        json!([9, [{ "name": "A", "offset": 0, "size": 1, "kind": "Bool", "weak": true }]])
                }),
                b"",
            )
        },
        |stream| says(stream, &map(|facts| facts["license"] = json!("GPL\0")), b""),
    ] {
        assert!(refusal(act).contains("it reports of an object that it "), "{}", refusal(act));
    }
}

fn links(stream: UnixStream, insn: [u8; 8]) {
    let mut served = receive_object(stream);
    served.say(&json!({ "Ok": facts() })).unwrap();
    served.give(&[]).unwrap();
    let _link: Option<Value> = served.question().unwrap();
    let functions = json!([["pass", 1]]);
    served
        .say(&json!({ "Ok": {
            "insns": 1, "func_info": 0, "line_info": 0, "functions": functions, "modules": [], "local_type_ids": [],
            "unresolved": [], "addresses": [],
        } }))
        .unwrap();
    served.give(&insn).unwrap();
    let _btf: Option<Value> = served.question().unwrap();
    served.say(&false).unwrap();
    let _next: io::Result<Option<Value>> = served.question();
}

#[test]
fn a_program_that_refers_to_what_is_not_there_is_refused() {
    let link = |act: fn(UnixStream)| {
        let object = client(act).read(b"an object"[..].into()).unwrap();
        object.link("pass", None, BtfFeatures::ALL)
    };
    let exit = link(|stream| links(stream, [0x95, 0, 0, 0, 0, 0, 0, 0])).unwrap();
    // Earlier facts count, whatever the answer about the program contains.
    assert_eq!(
        (exit.text.name.as_str(), exit.text.license.as_str(), exit.text.sleepable),
        ("pass", "GPL", false)
    );
    let call = link(|stream| links(stream, [0x85, 0x10, 0, 0, 7, 0, 0, 0])).unwrap_err();
    assert!(call.to_string().contains("refers at instruction 0 to what is not there"), "{call}");
    let half = link(|stream| links(stream, [0x18, 0x10, 0, 0, 0, 0, 0, 0])).unwrap_err();
    assert!(half.to_string().contains("ends in the middle of an instruction"), "{half}");
}

#[test]
fn after_a_failure_nothing_more_is_asked() {
    let object = client(|stream| {
        let mut served = receive_object(stream);
        served.say(&json!({ "Ok": facts() })).unwrap();
        served.give(&[]).unwrap();
        let _needs: Option<Value> = served.question().unwrap();
        served.say(&"neither yes nor no").unwrap();
        let _next: io::Result<Option<Value>> = served.question();
    });
    let object = object.read(b"an object"[..].into()).unwrap();
    assert!(object.needs_kernel_types("pass").unwrap_err().to_string().contains("a message is none"));
    assert!(object.needs_kernel_types("pass").unwrap_err().to_string().contains("it was given up"));
}

#[test]
fn lies_of_a_reader_that_links_ahead_are_refused() {
    let refused = |act: fn(Answering)| {
        let client = client_of(act);
        let ahead = LinkAhead { programs: vec!["pass".to_owned()], features: BtfFeatures::ALL };
        let object = client.read_ahead(b"an object"[..].into(), &ahead)?;
        object.link("pass", None, BtfFeatures::ALL).map(drop)
    };
    let says = |refusal: Result<(), EngineError>, why: &str| {
        let refusal = refusal.unwrap_err().to_string();
        assert!(refusal.contains(why), "{refusal}");
    };
    says(refused(drop), "it ended in the middle of it");
    says(refused(|mut served| served.say(&"no btf").unwrap()), "a message is none");
    let announces = |mut served: Answering| {
        served.say(&false).unwrap();
        served.say(&false).unwrap();
        served.say(&json!({ "Ok": { "insns": u32::MAX } })).unwrap();
    };
    says(refused(announces), "a message is none");
    let error = |mut served: Answering| {
        served.say(&false).unwrap();
        served.say(&false).unwrap();
        served.say(&json!({ "Err": "it has a loop" })).unwrap();
        let _next: io::Result<Option<Value>> = served.question();
    };
    says(refused(error), "it has a loop");
}

fn client_of(act: fn(Answering)) -> ReaderClient {
    acting(move |_, stream| {
        let mut served = receive_object(stream);
        served.say(&json!({ "Ok": facts() })).unwrap();
        served.give(&[]).unwrap();
        act(served);
    })
    .0
}
