//! TLS server and client, both traced, with their own copy of OpenSSL, so that no other process is traced.

mod go;

use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};

use bpfman_tests::command::run;
use bpfman_tests::network::Namespace;
use bpfman_tests::wait::within;
use bpfman_tests::{Outcome, wait};
use serde_json::Value;

use crate::equipment::{Gallery, WATCHER, refusals};

const PORT: u16 = 4433;
const LARGE: usize = 16 << 20;

/// Uses `SSL_read_ex` and `SSL_write_ex`. `/large` returns many bytes, all other paths a secret.
const SERVER: &str = r#"
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = b"x" * int(sys.argv[3]) if self.path == "/large" else b"the secret of " + self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1] + "/certificate", sys.argv[1] + "/key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;

struct Stage {
    gallery: Gallery,
    namespace: Namespace,
    program: u64,
    server: Child,
    folder: PathBuf,
}

impl Stage {
    fn new() -> Self {
        Self::with("")
    }

    fn with(words: &str) -> Self {
        let gallery = Gallery::open();
        let folder = gallery.daemon.path("tls");
        fs::create_dir(&folder).unwrap();
        let library = folder.join("libssl.so.3");
        fs::copy(system_library(), &library).unwrap();
        certificate(&folder);
        let programs = gallery.load(
            "tls-trace",
            &format!(
                "--programs uprobe:enter uprobe:enter_ex uretprobe:leave_read uretprobe:leave_write {words}"
            ),
        );
        let [enter, enter_ex, leave_read, leave_write] = programs[..] else { panic!("{programs:?}") };
        for (program, function) in [
            (enter, "SSL_read"),
            (enter, "SSL_write"),
            (enter_ex, "SSL_read_ex"),
            (enter_ex, "SSL_write_ex"),
            (leave_read, "SSL_read"),
            (leave_read, "SSL_read_ex"),
            (leave_write, "SSL_write"),
            (leave_write, "SSL_write_ex"),
        ] {
            let target = library.display();
            gallery.daemon.bpfman(&format!("attach {program} uprobe -t {target} -f {function}")).success();
        }
        let namespace = Namespace::new("tls");
        let mut server = namespace.command("python3");
        server.args(["-c", SERVER, &folder.display().to_string(), &PORT.to_string(), &LARGE.to_string()]);
        let server = server.env("LD_LIBRARY_PATH", &folder).spawn().unwrap();
        let stage = Self { gallery, namespace, program: enter, server, folder };
        wait::until("the server answers", || stage.ask("/ready").code == 0);
        stage
    }

    fn ask(&self, target: &str) -> Outcome {
        let mut client = self.namespace.command("curl");
        client.args(["-sS", "--http1.1", "--noproxy", "*", "--resolve"]);
        client
            .arg(format!("localhost:{PORT}:127.0.0.1"))
            .arg("--cacert")
            .arg(self.folder.join("certificate"))
            .args(["--user", "ada:of-the-client", "--cookie", "session=of-the-client"]);
        client.arg(format!("https://localhost:{PORT}{target}")).env("LD_LIBRARY_PATH", &self.folder);
        Outcome::of(&mut client)
    }

    fn follow(&self, words: &str, stderr: Stdio) -> Follower {
        Follower::start(&self.gallery, self.program, words, stderr)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        self.server.wait().unwrap();
    }
}

struct Follower {
    side: Child,
    lines: BufReader<ChildStdout>,
}

impl Follower {
    fn start(gallery: &Gallery, program: u64, words: &str, stderr: Stdio) -> Self {
        let mut side = gallery.side_as(WATCHER, "tls-trace");
        side.args(["--program", &program.to_string(), "follow"]).args(words.split_whitespace());
        let mut side = side.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let lines = BufReader::new(side.stdout.take().unwrap());
        Self { side, lines }
    }

    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let mut line = String::new();
            let read = within("an event of the side", || self.lines.read_line(&mut line)).unwrap();
            assert!(read > 0, "the side ended");
            let call = serde_json::from_str(&line).unwrap();
            if wanted(&call) {
                return call;
            }
        }
    }

    /// Waits for all calls, in any order: both ends of a connection run in parallel.
    fn all<const N: usize>(&mut self, wanted: [&dyn Fn(&Value) -> bool; N]) -> [Value; N] {
        let mut found = [const { Value::Null }; N];
        while found.contains(&Value::Null) {
            let missing = |call: &Value| (0..N).find(|at| found[*at].is_null() && wanted[*at](call));
            let call = self.until(|call| missing(call).is_some());
            if let Some(at) = missing(&call) {
                found[at] = call;
            }
        }
        found
    }

    fn requests(&mut self, target: &str, direction: &str) -> Value {
        self.until(|call| call["http"]["target"] == target && call["call"] == direction)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.side.kill().unwrap();
        self.side.wait().unwrap();
    }
}

fn certificate(folder: &Path) {
    let path = |name: &str| folder.join(name).display().to_string();
    let line = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost";
    let files = ["-keyout", &path("key"), "-out", &path("certificate")];
    run(&line.split(' ').chain(files).collect::<Vec<_>>());
}

fn system_library() -> PathBuf {
    let libraries = run(&["ldconfig", "-p"]);
    let line = libraries.lines().find(|line| line.trim_start().starts_with("libssl.so.3 "));
    line.and_then(|line| line.rsplit_once("=> ")).expect("OpenSSL 3 is here").1.into()
}

fn control_group(process: u32) -> u64 {
    let group = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap();
    let path = group.lines().find_map(|line| line.strip_prefix("0::")).unwrap();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let unified = mounts.lines().find(|line| line.contains(" - cgroup2 ")).unwrap();
    fs::metadata(format!("{}{path}", unified.split(' ').nth(4).unwrap())).unwrap().ino()
}

#[test]
fn heads_are_seen_by_both_ends_also_while_the_daemon_is_away() {
    let mut stage = Stage::new();
    let program = stage.program;
    refusals(&mut stage.gallery, "tls-trace", program, "follow --count 1");
    let mut follower = stage.follow("--json", Stdio::inherit());
    assert_eq!(stage.ask("/hello").success(), "the secret of /hello");
    let sent = follower.requests("/hello", "write");
    assert_eq!((&sent["comm"], &sent["uid"]), (&"curl".into(), &0.into()));
    assert_eq!(
        (&sent["http"]["kind"], &sent["http"]["method"], &sent["http"]["headers"]["host"]),
        (&"request".into(), &"GET".into(), &format!("localhost:{PORT}").into())
    );
    assert_eq!(sent["cgroup"], control_group(std::process::id()));
    let answered = follower.until(|call| call["http"]["kind"] == "response" && call["call"] == "read");
    assert_eq!((&answered["pid"], &answered["http"]["status"]), (&sent["pid"], &200.into()));

    stage.gallery.daemon.kill();
    stage.ask("/by-the-server").success();
    let received = follower.requests("/by-the-server", "read");
    assert_eq!(received["pid"], stage.server.id());
    let answer = follower.until(|call| call["call"] == "write" && call["http"]["kind"] == "response");
    assert_eq!(
        (&answer["pid"], &answer["http"]["headers"]["content-length"]),
        (&received["pid"], &"28".into())
    );
    stage.gallery.restart();
    stage.ask("/back").success();
    follower.requests("/back", "write");
}

#[test]
fn raw_shows_what_each_call_carries_of_one_process() {
    let stage = Stage::new();
    let mut follower = stage.follow(&format!("--raw --json --pid {}", stage.server.id()), Stdio::inherit());
    stage.ask("/raw").success();
    let body = follower.until(|call| {
        assert_eq!(call["pid"], stage.server.id());
        call["text"] == "the secret of /raw"
    });
    assert_eq!((&body["call"], &body["bytes"]), (&"write".into(), &18.into()));
    stage.ask("/large").success();
    let large = follower.until(|call| call["bytes"].as_u64().unwrap() > 4096);
    assert_eq!(large["text"], "x".repeat(4096));
}

#[test]
fn sample_has_the_requested_size_and_at_most_four_pieces() {
    for (asked, shown) in [(1500, 1500), (65_536, 4096)] {
        let stage = Stage::with(&format!("--global sample_bytes={asked}"));
        let words = format!("--raw --json --pid {}", stage.server.id());
        let mut follower = stage.follow(&words, Stdio::inherit());
        // This is the last call of its thread: no later call would flush an incomplete one.
        stage.ask("/large").success();
        let large = follower.until(|call| call["bytes"].as_u64().unwrap() > 4096);
        assert_eq!(large["text"], "x".repeat(shown));
    }
}

#[test]
fn passwords_in_headers_are_hidden_unless_they_are_asked_for() {
    let stage = Stage::new();
    let secret = |text: &str| text.contains("of-the-client") || text.contains("YWRhOm9mLXRoZS1jbGllbnQ");
    for (shows, words) in [(false, ""), (true, " --show-secrets")] {
        let mut follower = stage.follow(&format!("--json{words}"), Stdio::inherit());
        stage.ask("/heads").success();
        let headers = &follower.requests("/heads", "write")["http"]["headers"];
        assert_eq!(headers["cookie"], if shows { "session=of-the-client" } else { "(hidden)" });
        assert_eq!(secret(&headers["authorization"].to_string()), shows, "{headers}");
        drop(follower);
        let mut follower = stage.follow(&format!("--json --raw{words}"), Stdio::inherit());
        stage.ask("/raw").success();
        let call = follower.until(|call| call["text"].as_str().unwrap().starts_with("GET /raw"));
        let text = call["text"].as_str().unwrap();
        assert_eq!(secret(text), shows, "{text}");
        assert_eq!(text.matches("(hidden)").count(), if shows { 0 } else { 2 }, "{text}");
        assert!(text.ends_with("\r\n\r\n") && text.contains("\r\nHost: localhost"), "{text}");
    }
}

#[test]
fn events_lost_to_a_full_ring_are_counted() {
    let stage = Stage::new();
    let mut follower = stage.follow("--raw --json", Stdio::piped());
    let mut told = BufReader::new(follower.side.stderr.take().unwrap());
    stage.ask("/large").success();
    let mut line = String::new();
    std::thread::scope(|scope| {
        let Follower { side, lines } = &mut follower;
        scope.spawn(|| io::copy(lines, &mut io::sink()).unwrap());
        within("the side to write an error", || told.read_line(&mut line)).unwrap();
        side.kill().unwrap();
    });
    assert!(line.contains("events lost: the ring was full"), "{line}");
    drop(follower);
    let mut follower = stage.follow("--json", Stdio::inherit());
    stage.ask("/after").success();
    follower.requests("/after", "write");
}

#[test]
fn companion_finds_programs_of_its_manifest() {
    let gallery = Gallery::open();
    let manifest = gallery.manifest("tls-trace");
    gallery.daemon.bpfman(&format!("apply -f {manifest}")).success();
    gallery.daemon.bpfman(&format!("diff -f {manifest}")).success();
    for program in ["enter", "enter_ex", "leave_read", "leave_write"] {
        gallery.daemon.bpfman(&format!("wait program {program} --for attached")).success();
    }
    // No process uses the library here: the heading shows that the companion command is ready.
    let mut side = gallery.side_as(WATCHER, "tls-trace");
    let mut side = side.args(["--app", "tls-trace", "follow"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut heading = String::new();
    BufReader::new(side.stdout.take().unwrap()).read_line(&mut heading).unwrap();
    assert!(heading.contains("COMMAND"), "{heading}");
    side.kill().unwrap();
    side.wait().unwrap();
    gallery.daemon.bpfman(&format!("delete -f {manifest}")).success();
    gallery.side("tls-trace", "--app tls-trace follow").fails(5, &["tls-trace"]);
}
