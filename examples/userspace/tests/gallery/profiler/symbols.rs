//! Names of stripped binaries: from Debian's debuginfod, and from servers that fail or send wrong files.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use bpfman_tests::command::run;
use bpfman_tests::{Outcome, compile, wait};

use super::{Busy, CALLS, get, lines_of, profiled};
use crate::equipment::{Gallery, WATCHER};

const OWN: &str = "stripped";
const RECORD: [&str; 3] = ["record", "--seconds", "1"];
/// Same as in the image of the companion command.
const NO_AUTHORITIES: (&str, &str) = ("SSL_CERT_FILE", "/dev/null");

struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let port = address.port().to_string();
        let mut command = Command::new("debuginfod");
        command.args(["-d", ":memory:", "-p", &port, "-F"]).arg(folder).env("HOME", folder);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Self { process, address }
    }

    fn has(&self, id: &str) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.address) else { return false };
        write!(stream, "GET /buildid/{id}/debuginfo HTTP/1.0\r\n\r\n").unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).is_ok() && status.ends_with(b" 200")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn liar() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let file = fs::read("/bin/true").unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _asked = stream.read(&mut [0; 4096]);
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", file.len());
            let _gone = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&file));
        }
    });
    address
}

fn binary(gallery: &Gallery, flags: &[&str]) -> (PathBuf, PathBuf, String) {
    let [whole, stripped, folder] = ["whole", "shipped", "symbols"].map(|name| gallery.daemon.path(name));
    fs::create_dir(&folder).unwrap();
    let [whole_path, stripped_path] = [&whole, &stripped].map(|path| path.display().to_string());
    let source = compile::source("busy.c").display().to_string();
    let always = ["clang", "-O1", "-g", "-fno-omit-frame-pointer", "-Wl,--build-id=sha1"];
    run(&[&always[..], flags, &["-o", &whole_path, &source]].concat());
    let symbols = folder.join("busy.debug").display().to_string();
    run(&["objcopy", "--only-keep-debug", &whole_path, &symbols]);
    run(&["strip", "-o", &stripped_path, &whole_path]);
    let notes = run(&["readelf", "--notes", &stripped_path]);
    let id = notes.lines().find_map(|line| line.trim().strip_prefix("Build ID: ")).unwrap().to_owned();
    (stripped, folder, id)
}

struct Bench {
    gallery: Gallery,
    program: u64,
    folders: usize,
}

impl Bench {
    fn folder(&mut self) -> PathBuf {
        self.folders += 1;
        let folder = self.gallery.daemon.path(format!("kept-{}", self.folders));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o777)).unwrap();
        folder
    }

    fn side(&self, urls: &str, folder: &Path) -> Command {
        let mut side = self.gallery.side_as(WATCHER, "profiler");
        side.args(["--program", &self.program.to_string()]);
        side.env("DEBUGINFOD_URLS", urls).env("DEBUGINFOD_CACHE_PATH", folder);
        side
    }

    fn record(&self, urls: &str, folder: &Path) -> Outcome {
        Outcome::of(self.side(urls, folder).args(RECORD))
    }
}

fn is_named(taken: &Outcome) -> bool {
    let own = lines_of(&taken.stdout, OWN);
    assert!(!own.is_empty(), "{taken:?}");
    own.iter().any(|line| line.contains(CALLS))
}

#[test]
fn a_binary_without_symbols_is_named_by_a_server_that_has_them() {
    let gallery = Gallery::open();
    let program = profiled(&gallery);
    let (stripped, symbols, id) = binary(&gallery, &[]);
    let _busy = Busy::of(&gallery, OWN, None, &stripped);
    let mut bench = Bench { gallery, program, folders: 0 };
    let kept = bench.folder();
    let without = bench.record("", &kept);
    assert!(without.code == 0 && !is_named(&without), "{without:?}");

    let server = Server::start(&symbols);
    wait::until("the server has read its folder", || server.has(&id));
    let url = format!("http://{}", server.address);
    let small = Outcome::of(bench.side(&url, &kept).env("DEBUGINFOD_MAXSIZE", "1").args(RECORD));
    assert!(small.code == 0 && !is_named(&small), "{small:?}");
    assert!(small.stderr.contains("files of symbols not fetched"), "{small:?}");
    assert!(!small.stderr.contains("no symbols from"), "a large file is no failure of its server: {small:?}");
    // Distributions with signed files set the variable like this.
    let with = bench.record(&format!("ima:enforcing {url}"), &kept);
    assert!(with.code == 0 && is_named(&with), "{with:?}");
    assert!(kept.join(&id).join("debuginfo").exists());
    drop(server);
    let again = bench.record(&url, &kept);
    assert!(is_named(&again), "what was fetched is kept: {again:?}");
}

#[test]
fn stripped_binary_is_named_for_clients_over_http() {
    let gallery = Gallery::open();
    let program = profiled(&gallery);
    // Static, so that no shared library provides names.
    let (stripped, symbols, id) = binary(&gallery, &["-static"]);
    let _busy = Busy::of(&gallery, OWN, None, &stripped);
    let server = Server::start(&symbols);
    wait::until("the server has read its folder", || server.has(&id));
    let mut bench = Bench { gallery, program, folders: 0 };
    let kept = bench.folder();
    let url = format!("http://{}", server.address);
    let side = |listen: &str| {
        let mut side = bench.side(&url, &kept);
        let (name, value) = NO_AUTHORITIES;
        side.args(["serve", "--listen", listen]).env(name, value).env_remove("SSL_CERT_DIR");
        side
    };
    Outcome::of(&mut side("192.0.2.1:1")).fails(1, &["cannot listen on 192.0.2.1:1"]);

    let mut serving = side("127.0.0.1:0").stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(serving.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap();
    let (code, body) = get(address, "/profile?seconds=1");
    serving.kill().unwrap();
    serving.wait().unwrap();
    let folded = String::from_utf8(body).unwrap();
    let own = lines_of(&folded, OWN);
    assert!(code == 200 && own.iter().any(|line| line.contains(CALLS)), "{folded}");
    assert!(kept.join(&id).join("debuginfo").exists());
}

#[test]
fn failing_or_lying_servers_leave_no_names_and_are_reported() {
    let gallery = Gallery::open();
    let program = profiled(&gallery);
    let (stripped, _, _) = binary(&gallery, &[]);
    let _busy = Busy::of(&gallery, OWN, None, &stripped);
    let mut bench = Bench { gallery, program, folders: 0 };
    let lies = format!("http://{}/", liar());
    for (url, why) in
        [(lies.as_str(), "is no file of that build id"), ("http://127.0.0.1:1/", "error sending request")]
    {
        let kept = bench.folder();
        let taken = bench.record(url, &kept);
        assert!(taken.code == 0 && !is_named(&taken), "{taken:?}");
        let told: Vec<_> = taken.stderr.lines().filter(|line| line.contains("no symbols from")).collect();
        assert!(told.len() == 1 && told[0].contains(url) && told[0].contains(why), "{taken:?}");
        assert_eq!(fs::read_dir(&kept).unwrap().count(), 0, "{url}");
    }
    let kept = bench.folder();
    bench.record("debuginfod.example", &kept).fails(6, &["no server of debuginfod", "DEBUGINFOD_URLS"]);
    let (name, value) = NO_AUTHORITIES;
    let mut side = bench.side("https://127.0.0.1:1", &kept);
    Outcome::of(side.args(RECORD).env(name, value).env_remove("SSL_CERT_DIR"))
        .fails(6, &["cannot ask https://127.0.0.1:1/", "hint: ", "SSL_CERT_FILE"]);
}
