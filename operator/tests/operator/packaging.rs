use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn the_packaged_definitions_are_up_to_date() {
    let output = Command::new(env!("CARGO_BIN_EXE_bpfman-operator")).arg("crds").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/kubernetes/base/crds.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let packaged: Vec<&str> = text.lines().skip_while(|line| line.starts_with('#')).collect();
    let printed = String::from_utf8(output.stdout).unwrap();
    let first = printed.lines().zip(&packaged).position(|(printed, packaged)| printed != *packaged);
    let same = first.is_none() && printed.lines().count() == packaged.len();
    assert!(same, "{} is out of date at line {first:?}: run `make manifests`", file.display());
}
