//! Go programs, which contain their own TLS. Each test has its own copies of them, which no other process runs.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use bpfman_tests::network::Namespace;
use bpfman_tests::{Outcome, compile, wait};
use serde_json::Value;

use super::{Follower, PORT, certificate};
use crate::equipment::{Gallery, STRANGER, WATCHER};

const ROOT: u32 = 0;
const PROBER: u32 = 64_779;
const PROBER_GRANT: &str = "[[grants]]\nname = \"prober\"\nusers = [64779]\nallow = [\"read\", \"load\", \"attach\"]\n\
                            limits = { links = 5 }\n";
const LOADED: &str = "--programs uprobe:go_enter uprobe:go_leave_read uprobe:go_leave_write";
/// Number of probes in Go 1.19: two functions, with seven and eight return instructions.
const PROBES: usize = 2 + 7 + 8;

fn built(linker: &str, test: &str) -> Option<PathBuf> {
    let built = compile::go("tls", linker);
    if built.is_none() {
        eprintln!("SKIPPED(go 1.19): {test}");
    }
    built
}

struct Stage {
    gallery: Gallery,
    namespace: Namespace,
    program: u64,
    folder: PathBuf,
    server: Child,
}

impl Stage {
    fn new(test: &str) -> Option<Self> {
        let built = built("-w", test)?;
        let gallery = Gallery::with_grants(PROBER_GRANT);
        let program = gallery.load("tls-trace", LOADED)[0];
        let folder = gallery.daemon.path("go");
        fs::create_dir(&folder).unwrap();
        certificate(&folder);
        fs::copy(built, folder.join("tls")).unwrap();
        let namespace = Namespace::new("gotls");
        let mut server = namespace.command(&folder.join("tls").display().to_string());
        let server = server.arg("serve").arg(&folder).arg(PORT.to_string()).spawn().unwrap();
        let stage = Self { gallery, namespace, program, folder, server };
        wait::until("the server answers", || stage.client("ask", PORT, "/ready").code == 0);
        Some(stage)
    }

    fn file(&self) -> String {
        self.folder.join("tls").display().to_string()
    }

    fn client(&self, what: &str, port: u16, path: &str) -> Outcome {
        let mut client = self.namespace.command(&self.file());
        Outcome::of(client.arg(what).arg(&self.folder).arg(port.to_string()).arg(path))
    }

    fn go(&self, user: u32, words: &str) -> Outcome {
        let mut side = self.gallery.side_as(user, "tls-trace");
        side.args(["--program", &self.program.to_string(), "go"]);
        Outcome::of(side.args(words.split_whitespace()))
    }

    fn probes(&self) -> usize {
        let links = self.gallery.daemon.bpfman("list links -o json").json();
        links["links"].as_array().unwrap().len()
    }

    fn follow(&self, words: &str) -> Follower {
        Follower::start(&self.gallery, self.program, words, Stdio::inherit())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

#[test]
fn heads_of_go_programs_show_at_both_ends_until_detached() {
    let Some(stage) = Stage::new("heads_of_go_programs_show_at_both_ends_until_detached") else {
        return;
    };
    let said = stage.go(ROOT, &stage.file()).success();
    assert_eq!(said, format!("{PROBES} probes are at {} (go1.19.8)\n", stage.file()));
    let mut follower = stage.follow("--json");
    assert_eq!(stage.client("ask", PORT, "/hello").success(), "the secret of /hello");
    let asks = |call: &Value| call["http"]["target"] == "/hello";
    let [sent, received, answer] = follower.all([
        &|call| asks(call) && call["call"] == "write",
        &|call| asks(call) && call["call"] == "read",
        &|call| call["http"]["kind"] == "response" && call["call"] == "read",
    ]);
    let headers = &sent["http"]["headers"];
    assert_eq!((&sent["comm"], &headers["authorization"]), (&"tls".into(), &"(hidden)".into()));
    assert_eq!((&received["pid"], &received["bytes"]), (&stage.server.id().into(), &sent["bytes"]));
    assert_eq!((&answer["pid"], &answer["http"]["status"]), (&sent["pid"], &200.into()));
    drop(follower);

    let mut follower = stage.follow("--json --raw --show-secrets");
    stage.client("ask", PORT, "/large").success();
    let large = follower.until(|call| call["bytes"].as_u64().unwrap() > 4096);
    assert_eq!(large["text"].as_str().unwrap().len(), 4096);
    drop(follower);

    stage.go(ROOT, &stage.file()).success();
    assert_eq!(stage.probes(), PROBES);
    let mut follower = stage.follow("--json");
    stage.client("ask", PORT, "/again").success();
    follower.requests("/again", "write");
    stage.go(ROOT, &format!("{} --detach", stage.file())).success();
    assert_eq!(stage.probes(), 0);
    stage.go(ROOT, &format!("{} --detach", stage.file())).fails(5, &["no probe is at", "hint: "]);
}

/// The data is on a goroutine's stack, which moves during the call; the call contains another of the function.
#[test]
fn nested_connections_are_seen_even_when_stacks_move() {
    let Some(stage) = Stage::new("nested_connections_are_seen_even_when_stacks_move") else {
        return;
    };
    stage.go(ROOT, &stage.file()).success();
    let mut follower = stage.follow("--json --raw");
    const GREETING: &str = "a greeting from within";
    assert_eq!(stage.client("greeted", PORT + 1, "").success(), GREETING);
    let greets = |call: &Value| call["text"] == GREETING;
    let [written, read] = follower.all([&|call| greets(call) && call["call"] == "write", &|call| {
        greets(call) && call["call"] == "read"
    }]);
    assert_eq!(written["pid"], stage.server.id());
    assert_eq!(read["bytes"], GREETING.len());
    stage.client("greeted", PORT + 1, "").success();
    let is_outer = |text: &str| text.starts_with('\u{17}');
    follower.until(|call| call["pid"] == stage.server.id() && is_outer(call["text"].as_str().unwrap()));
}

#[test]
fn impossible_attachment_is_refused_with_reason_and_no_probe() {
    let test = "impossible_attachment_is_refused_with_reason_and_no_probe";
    let (Some(stage), Some(stripped)) = (Stage::new(test), built("-s", test)) else { return };
    let whole = fs::read(stage.folder.join("tls")).unwrap();
    // Use the last occurrence: symbol tables are at the end of the file.
    let changed = |name: &str, from: &[u8], to: &[u8]| {
        let at = whole.windows(from.len()).rposition(|bytes| bytes == from).unwrap();
        let mut bytes = whole.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        let path = stage.folder.join(name);
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let old = changed("old", b"\xff Go buildinf:\x08\x02", b"\xff Go buildinf:\x08\x00");
    let renamed = changed("renamed", b"\0crypto/tls.(*Conn).Read\0", b"\0crypto/tls.(*Conn).Reap");
    let mut header = whole[..20].to_vec();
    header[18] = 0xf3;
    let other = changed("other", &whole[..20], &header);
    let unreadable = stage.folder.join("unreadable");
    fs::write(&unreadable, &whole).unwrap();
    fs::set_permissions(&unreadable, Permissions::from_mode(0o600)).unwrap();
    for (file, code, says) in [
        ("/no/such/file", 5, "no file /no/such/file"),
        ("/tmp", 6, "/tmp is no file"),
        ("/etc/hostname", 6, "is no program"),
        ("/bin/true", 6, "is no Go program"),
        (&stripped.display().to_string(), 6, "is stripped"),
        (&old, 6, "built by Go 1.17 or older"),
        (&renamed, 6, "has no function crypto/tls.(*Conn).Read"),
        (&other, 6, "another kind of machine"),
    ] {
        stage.go(ROOT, file).fails(code, &["error: ", says, "hint: "]);
    }
    let unreadable = unreadable.display().to_string();
    stage.go(WATCHER, &unreadable).fails(1, &["cannot open", "Permission denied"]);
    stage.go(WATCHER, &stage.file()).fails(4, &["cannot attach to", "may not attach", "hint: "]);
    stage.go(STRANGER, &stage.file()).fails(4, &["may not"]);
    let maps = format!("--map-dir /sys/fs/bpf go {}", stage.file());
    stage.gallery.side("tls-trace", &maps).fails(6, &["a folder of maps", "--program"]);
    stage.go(ROOT, "").fails(2, &["PROGRAM_FILE"]);
    assert_eq!(stage.probes(), 0);
}

#[test]
fn probes_that_are_not_all_allowed_are_taken_back() {
    let Some(mut stage) = Stage::new("probes_that_are_not_all_allowed_are_taken_back") else { return };
    let image = stage.gallery.publish("tls-trace");
    let line = format!("load image -i {image} {LOADED} -o json");
    let loaded = stage.gallery.daemon.bpfman_as(PROBER, &line).json();
    stage.program = loaded["programs"][0]["program_id"].as_u64().unwrap();
    stage.go(PROBER, &stage.file()).fails(6, &["cannot attach to", "limits.links"]);
    assert_eq!(stage.probes(), 0);
    stage.go(ROOT, &stage.file()).success();
    stage.go(PROBER, &stage.file()).fails(6, &["limits.links"]);
    assert_eq!(stage.probes(), PROBES);
}

#[test]
fn probes_attach_to_an_application_and_stay_when_applied_again() {
    let Some(built) = built("-w", "probes_attach_to_an_application_and_stay_when_applied_again") else {
        return;
    };
    let gallery = Gallery::open();
    let file = gallery.daemon.path("tls").display().to_string();
    fs::copy(built, &file).unwrap();
    let manifest = gallery.manifest("tls-trace");
    gallery.daemon.bpfman(&format!("apply -f {manifest}")).success();
    let go = |words: &str| {
        let mut side = gallery.side_as(ROOT, "tls-trace");
        Outcome::of(side.args(["--app", "tls-trace", "go", &file]).args(words.split_whitespace()))
    };
    let probes = || {
        let links = gallery.daemon.bpfman("list links -o json").success();
        links.matches("crypto/tls.(*Conn)").count()
    };
    assert_eq!(probes(), 0);
    go("").success();
    let attached = probes();
    assert!(attached >= PROBES, "{attached}");
    gallery.daemon.bpfman(&format!("apply -f {manifest}")).success();
    assert_eq!(probes(), attached);
    go("--detach").success();
    assert_eq!(probes(), 0);
    gallery.daemon.bpfman(&format!("delete -f {manifest}")).success();
    go("").fails(5, &["tls-trace"]);
}
