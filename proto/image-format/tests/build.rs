//! Tests of images built from objects that clang compiled.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at what it did not expect")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use bpfman_image_format::{
    BuildError, BytecodeError, BytecodeFile, Descriptor, Digest, Endian, Input, Labels, OciLayout, Platform,
    PlatformInputs, SourceDate, check_object, media,
};

fn compile(target: &str, folder: &Path, name: &str) -> PathBuf {
    compile_source("several.bpf.c", target, folder, name)
}

fn compile_source(source: &str, target: &str, folder: &Path, name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/objects").join(source);
    let path = folder.join(name);
    let status = Command::new("clang")
        .args(["-target", target, "-g", "-O2", "-c", "-o"])
        .arg(&path)
        .arg(source)
        .status()
        .expect("clang is installed");
    assert!(status.success());
    path
}

fn platform(name: &str) -> Platform {
    name.parse().unwrap()
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn labels_come_from_the_object_itself_in_both_byte_orders() {
    let folder = tempfile::tempdir().unwrap();
    for (target, endian) in [("bpfel", Endian::Little), ("bpfeb", Endian::Big)] {
        let bytecode = BytecodeFile::read(&compile(target, folder.path(), target)).unwrap();
        assert_eq!(bytecode.endian(), endian);
        let programs = pairs(&[
            ("filter", "xdp"),
            ("opened", "kretprobe"),
            ("shape", "tc"),
            ("shape_early", "tcx"),
            ("switched", "tracepoint"),
        ]);
        assert_eq!(bytecode.labels().programs, programs);
        assert_eq!(bytecode.labels().maps, pairs(&[("events", "ringbuf"), ("flows", "hash")]));
    }
}

#[test]
fn uncalled_static_functions_are_programs_in_both_byte_orders() {
    let folder = tempfile::tempdir().unwrap();
    for target in ["bpfel", "bpfeb"] {
        let path = compile_source("statics.bpf.c", target, folder.path(), target);
        let programs = pairs(&[
            ("judged", "xdp"),
            ("loops", "tc"),
            ("on_call", "uprobe"),
            ("on_unlink", "kprobe"),
            ("unjudged", "xdp"),
        ]);
        assert_eq!(BytecodeFile::read(&path).unwrap().labels().programs, programs, "{target}");
    }
}

#[test]
fn the_same_inputs_give_the_same_image() {
    let folder = tempfile::tempdir().unwrap();
    let object = compile("bpfel", folder.path(), "prog.o");
    let build = |path: &Path, seconds| {
        let bytecode = BytecodeFile::read(path).unwrap();
        let inputs = PlatformInputs::one(platform("linux/amd64"), bytecode).unwrap();
        inputs.build(SourceDate::from_seconds(seconds).unwrap()).unwrap().digest()
    };
    let first = build(&object, 0);
    let elsewhere = folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("prog.o"), std::fs::read(&object).unwrap()).unwrap();
    assert_eq!(build(&elsewhere.join("prog.o"), 0), first);
    assert_ne!(build(&object, 1), first);
}

#[test]
fn a_single_image_has_the_documented_shape() {
    let folder = tempfile::tempdir().unwrap();
    let object = compile("bpfel", folder.path(), "prog.o");
    let bytecode = BytecodeFile::read(&object).unwrap();
    let inputs = PlatformInputs::one(platform("linux/arm64"), bytecode.clone()).unwrap();
    let image = inputs.build(SourceDate::from_seconds(1_700_000_000).unwrap()).unwrap();
    let layout = OciLayout::open_or_create(&folder.path().join("layout")).unwrap();
    image.write(&layout, "example:v1").unwrap();

    let read = |descriptor: &Descriptor| -> serde_json::Value {
        serde_json::from_slice(&layout.get(descriptor).unwrap()).unwrap()
    };
    let root = layout.image("example:v1").unwrap();
    assert_eq!((root.digest, root.media_type.as_str()), (image.digest(), media::OCI_MANIFEST));
    let manifest = read(&root);
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    let layer: Descriptor = serde_json::from_value(manifest["layers"][0].clone()).unwrap();
    let config: Descriptor = serde_json::from_value(manifest["config"].clone()).unwrap();
    assert_eq!(
        (layer.media_type.as_str(), config.media_type.as_str()),
        (media::OCI_LAYER_GZIP, media::OCI_CONFIG)
    );
    let config = read(&config);
    assert_eq!((&config["os"], &config["architecture"]), (&"linux".into(), &"arm64".into()));
    assert_eq!(config["created"], "2023-11-14T22:13:20Z");
    let labels: BTreeMap<String, String> =
        serde_json::from_value(config["config"]["Labels"].clone()).unwrap();
    assert_eq!(&Labels::read(&labels).unwrap(), bytecode.labels());

    let mut tar = Vec::new();
    let packed = layout.get(&layer).unwrap();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed.as_slice()), &mut tar).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"][0], Digest::of(&tar).to_string());
    let mut archive = tar::Archive::new(tar.as_slice());
    let mut entries = archive.entries().unwrap();
    let mut entry = entries.next().unwrap().unwrap();
    assert_eq!(entry.path().unwrap().to_str(), Some("prog.o"));
    let header = entry.header();
    assert_eq!(
        (header.mode().unwrap(), header.mtime().unwrap(), header.uid().unwrap()),
        (0o644, 1_700_000_000, 0)
    );
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
    assert_eq!(content, bytecode.bytes());
    assert!(entries.next().is_none());
}

#[test]
fn a_folder_of_objects_becomes_an_index_and_build_arguments() {
    let folder = tempfile::tempdir().unwrap();
    let objects = folder.path().join("objects");
    std::fs::create_dir(&objects).unwrap();
    compile("bpfel", &objects, "bpf_x86_bpfel.o");
    compile("bpfeb", &objects, "bpf_s390_bpfeb.o");
    std::fs::write(objects.join("README"), "not an object").unwrap();
    let inputs = PlatformInputs::read(&Input::Folder(objects.clone())).unwrap();
    let lines = inputs.build_args().lines();
    assert_eq!(lines[0], format!("BC_AMD64_EL={}/bpf_x86_bpfel.o", objects.display()));
    assert_eq!(lines[1], format!("BC_S390X_EB={}/bpf_s390_bpfeb.o", objects.display()));
    assert!(lines[2].starts_with(r#"PROGRAMS={"filter":"xdp","#), "{}", lines[2]);
    assert_eq!(lines[3], r#"MAPS={"events":"ringbuf","flows":"hash"}"#);

    let image = inputs.build(SourceDate::default()).unwrap();
    assert_eq!(image.root().media_type, media::OCI_INDEX);
    let layout = OciLayout::open_or_create(&folder.path().join("layout")).unwrap();
    image.write(&layout, "multi").unwrap();
    let index: serde_json::Value =
        serde_json::from_slice(&layout.get(&layout.image("multi").unwrap()).unwrap()).unwrap();
    let platforms: Vec<_> = index["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["platform"]["architecture"].clone())
        .collect();
    assert_eq!(platforms, ["amd64", "s390x"]);

    compile("bpfel", &objects, "unknown.o");
    assert!(matches!(PlatformInputs::read(&Input::Folder(objects)), Err(BuildError::Platform(_))));
}

#[test]
fn a_single_file_becomes_one_build_argument() {
    let folder = tempfile::tempdir().unwrap();
    let object = compile("bpf", folder.path(), "prog.o");
    let inputs = PlatformInputs::read(&Input::File(object.clone())).unwrap();
    assert_eq!(inputs.build_args().lines()[0], format!("BYTECODE_FILE={}", object.display()));
    assert_eq!(inputs.build(SourceDate::default()).unwrap().root().media_type, media::OCI_MANIFEST);
}

#[test]
fn objects_that_do_not_fit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let little = std::fs::read(compile("bpfel", folder.path(), "prog.o")).unwrap();
    let parse = |bytes: &[u8]| BytecodeFile::parse("prog.o", bytes.to_vec()).map(|_| ());

    let bytecode = BytecodeFile::parse("prog.o", little.clone()).unwrap();
    let error = PlatformInputs::one(platform("linux/s390x"), bytecode.clone()).unwrap_err();
    assert!(error.to_string().contains("little endian, but linux/s390x needs big endian"), "{error}");
    let twice = [(platform("linux/amd64"), bytecode.clone()), (platform("linux/amd64"), bytecode)];
    assert!(matches!(PlatformInputs::several(twice), Err(BuildError::Twice(_))));
    assert!(matches!(PlatformInputs::several([]), Err(BuildError::Nothing(_))));

    let mut other = little.clone();
    other[18] = 62; // e_machine: x86-64
    assert!(matches!(parse(&other), Err(BytecodeError::Machine { machine: 62, .. })));
    let mut other = little.clone();
    other[16] = 2; // e_type: executable
    assert!(matches!(parse(&other), Err(BytecodeError::NotRelocatable { kind: 2, .. })));
    let mut other = little.clone();
    other[60..62].copy_from_slice(&u16::MAX.to_le_bytes()); // e_shnum
    assert!(matches!(parse(&other), Err(BytecodeError::NotElf { .. })));
    assert!(matches!(parse(b""), Err(BytecodeError::NotElf { .. })));
    assert!(matches!(parse(b"#!/bin/sh"), Err(BytecodeError::NotElf { .. })));
    assert!(matches!(parse(&vec![0; (16 << 20) + 1]), Err(BytecodeError::TooLarge { .. })));
    for name in ["", "..", "a/b.o"] {
        assert!(matches!(BytecodeFile::parse(name, little.clone()), Err(BytecodeError::FileName(_))));
    }
    for length in (0..little.len()).step_by(7) {
        let _ = parse(&little[..length]);
        let _ = check_object("prog.o", &little[..length]);
    }
}

#[test]
fn a_damaged_object_never_panics() {
    let folder = tempfile::tempdir().unwrap();
    let good = std::fs::read(compile("bpfel", folder.path(), "prog.o")).unwrap();
    for at in 0..good.len() {
        for value in [0, 0x7f, 0xff] {
            let mut bad = good.clone();
            bad[at] = value;
            let _ = BytecodeFile::parse("prog.o", bad);
        }
    }
}

#[test]
fn an_object_without_programs_for_images_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (source, path) = (folder.path().join("none.c"), folder.path().join("none.o"));
    std::fs::write(&source, "__attribute__((section(\"cgroup/dev\"))) int allow(void *c) { return 1; }")
        .unwrap();
    let status = Command::new("clang").args(["-target", "bpf", "-c", "-o"]).arg(&path).arg(&source).status();
    assert!(status.unwrap().success());
    let error = BytecodeFile::read(&path).unwrap_err().to_string();
    assert!(error.contains("no program of a supported type") && error.contains("cgroup/dev"), "{error}");
}
