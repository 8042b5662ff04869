//! Tests of commands that need no daemon: building images, keys, manual pages, completions.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::fake::{Outcome, run};

fn bpfman(folder: &Path, line: &str) -> Outcome {
    run(&mut command(folder, line))
}

fn command(folder: &Path, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bpfman"));
    command
        .env("BPFMAN_SOCKET_PATH", "/nowhere")
        .env("XDG_DATA_HOME", folder)
        .env_remove("BPFMAN_IMAGE_LAYOUT")
        .current_dir(folder)
        .args(line.split_whitespace());
    command
}

fn object(folder: &Path) -> Option<()> {
    let source = "#define SEC(n) __attribute__((section(n), used))\n\
                  char _license[] SEC(\"license\") = \"GPL\";\n\
                  SEC(\"xdp\") int pass(void *ctx) { return 2; }\n";
    fs::write(folder.join("pass.c"), source).unwrap();
    let mut clang = Command::new("clang");
    clang.args(["-O2", "-g", "-target", "bpf", "-c", "pass.c", "-o", "pass.o"]).current_dir(folder);
    match clang.output() {
        Ok(output) => {
            assert!(output.status.success(), "{output:?}");
            Some(())
        }
        Err(error) => {
            eprintln!("skipped: needs clang: {error}");
            None
        }
    }
}

#[test]
fn building_needs_neither_daemon_nor_container_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let Some(()) = object(folder.path()) else { return };
    let built = bpfman(folder.path(), "image build -t 127.0.0.1:1/x/pass -b pass.o");
    assert_eq!((built.code, built.stderr.as_str()), (0, ""), "{built:?}");
    assert!(built.stdout.starts_with("127.0.0.1:1/x/pass:latest@sha256:"), "{built:?}");
    assert!(folder.path().join("bpfman/images/oci-layout").exists());
    let again = bpfman(
        folder.path(),
        "image build -t 127.0.0.1:1/x/pass -b pass.o -f Containerfile -r docker -o json",
    );
    assert!(again.stderr.starts_with("note: images are built in this process"), "{again:?}");
    let json: serde_json::Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!(json["programs"]["pass"], "xdp");
    assert!(built.stdout.contains(json["digest"].as_str().unwrap()), "the same input gives the same image");
    // No registry runs there: the push fails as a registry failure.
    let pushed = bpfman(folder.path(), "image push 127.0.0.1:1/x/pass");
    assert_eq!(pushed.code, 9, "{pushed:?}");
    assert!(pushed.stderr.starts_with("error: "), "{pushed:?}");
}

fn endless_registry() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut head = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
                let is_head = head.next().is_some_and(|line| line.starts_with("HEAD "));
                head.find(String::is_empty);
                let refusal = "HTTP/1.1 403 no\r\nconnection: close\r\n\r\n";
                let mut sent = stream.write_all(refusal.as_bytes());
                // Ends when the client closes the connection.
                while !is_head && sent.is_ok() {
                    sent = stream.write_all(&[b' '; 1 << 16]);
                }
            });
        }
    });
    address
}

#[test]
fn endless_refusal_of_a_manifest_is_read_to_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let name = format!("{}/x/pass:1", endless_registry());
    let labels = bpfman(folder.path(), &format!("image labels {name}"));
    assert_eq!(labels.code, 9, "{labels:?}");
    assert!(labels.stderr.contains("403"), "{labels:?}");
}

#[test]
fn build_arguments_are_lines() {
    let folder = tempfile::tempdir().unwrap();
    let Some(()) = object(folder.path()) else { return };
    let outcome = bpfman(folder.path(), "image generate-build-args --bc-amd64-el pass.o");
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert!(lines[0].starts_with("BC_AMD64_EL="), "{outcome:?}");
    assert_eq!(&lines[1..], ["PROGRAMS={\"pass\":\"xdp\"}", "MAPS={}"]);
}

#[test]
fn wrong_inputs_have_their_codes() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("text.o"), "not an object").unwrap();
    for (line, code) in [
        ("image build -t r.io/x:1 -b missing.o", 5),
        ("image build -t r.io/x:1 -b text.o", 6),
        ("image build -t x:1 -b text.o", 2),
        ("image push r.io/x:1", 5),
        ("image sign --key missing.key 127.0.0.1:1/x:1", 5),
        ("image sign --key text.o 127.0.0.1:1/x:1", 6),
    ] {
        let outcome = bpfman(folder.path(), line);
        assert_eq!(outcome.code, code, "{line}: {outcome:?}");
        assert!(outcome.stderr.starts_with("error: "), "{line}: {outcome:?}");
    }
}

/// Without targets, bpf2go names its files `x_bpfel.o` and `x_bpfeb.o`.
#[test]
fn files_of_bpf2go_without_targets_get_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let Some(()) = object(folder.path()) else { return };
    fs::create_dir(folder.path().join("go")).unwrap();
    fs::rename(folder.path().join("pass.o"), folder.path().join("go/x_bpfel.o")).unwrap();
    let refused = bpfman(folder.path(), "image build -t r.io/x:1 -c go");
    assert_eq!(refused.code, 6, "{refused:?}");
    assert!(refused.stderr.contains("hint: run bpf2go with `-target amd64,arm64`"), "{refused:?}");
    assert_eq!(bpfman(folder.path(), "image build -t r.io/x:1 -b go/x_bpfel.o").code, 0);
}

#[test]
fn a_key_pair_is_private_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let made = bpfman(folder.path(), "image generate-key-pair release -o json");
    assert_eq!(made.code, 0, "{made:?}");
    let key = folder.path().join("release.key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(&key).unwrap();
    let again = bpfman(folder.path(), "image generate-key-pair release");
    assert_eq!(again.code, 7, "{again:?}");
    assert_eq!(fs::read(&key).unwrap(), before);
    // The generated key can sign; only the registry is missing.
    let signed = bpfman(folder.path(), "image sign --key release.key 127.0.0.1:1/x:1");
    assert_eq!(signed.code, 9, "{signed:?}");
}

#[test]
fn pages_and_completions_from_the_binary() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(bpfman(folder.path(), "man pages").code, 0);
    assert_eq!(bpfman(folder.path(), "completions shells -s zsh").code, 0);
    assert!(folder.path().join("pages/bpfman-image-build.1").exists());
    assert!(folder.path().join("shells/_bpfman").exists());
    let help = bpfman(folder.path(), "--help").stdout;
    assert!(help.contains("8  the kernel refused") && !help.contains("  completions "), "{help}");
}
