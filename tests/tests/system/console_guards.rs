//! Access to `bpfman console`: other origins, browsers and users are refused; limits of connections and streams.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use bpfman_tests::wait::{DEADLINE, until};
use bpfman_tests::{Daemon, Launch};
use rustix::process::{Signal, Uid};
use rustix::thread::set_thread_res_uid;
use serde_json::json;

use bpfman_tests::console::Console;

const ADA: u32 = 64_401;

#[test]
fn a_token_opens_one_browser_once() {
    let daemon = Daemon::start();
    let console = Console::start(&daemon);
    let begin = |token: &str| console.post("/api/session", &[], &json!({ "token": token }).to_string());
    for wrong in ["", "0000", &console.token()[1..]] {
        assert_eq!(
            (begin(wrong).status, begin(wrong).json()["error"]["reason"].clone()),
            (403, json!("denied"))
        );
    }
    assert_eq!(console.post("/api/session", &[], "{\"token\": 7}").status, 400);
    assert_eq!(console.get("/api/session", &[]).status, 405);
    let session = console.begin();
    let again = begin(console.token());
    assert_eq!((again.status, again.json()["error"]["reason"].clone()), (403, json!("token-used")));
    assert_eq!(console.get("/api/hooks", &session.headers()).status, 200);
    let [cookie, key] = session.headers();
    for headers in [&[][..], &[cookie], &[key], &[("cookie", "bpfman_console=1"), key]] {
        let answer = console.get("/api/hooks", headers);
        assert_eq!((answer.status, answer.json()["error"]["reason"].clone()), (401, json!("no-session")));
    }
    let late = console.browser_refused();
    late.shows("This address was used already");
}

#[test]
fn other_origins_and_other_names_of_this_host_are_refused() {
    let daemon = Daemon::start();
    let console = Console::start(&daemon);
    let session = console.begin();
    let [cookie, key] = session.headers();
    let port = console.address.port();
    let (own, rebound) = (console.origin(), format!("evil.example:{port}"));
    let local = format!("localhost:{port}");
    assert_eq!(console.get("/api/hooks", &[cookie, key, ("origin", &own)]).status, 200);
    assert_eq!(console.get("/api/hooks", &[cookie, key, ("host", &local)]).status, 200);
    for foreign in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("origin", "http://127.0.0.1:1"),
        ("host", rebound.as_str()),
        ("host", "127.0.0.1"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let answer = console.get("/api/hooks", &[cookie, key, foreign]);
        assert_eq!(
            (answer.status, answer.json()["error"]["reason"].clone()),
            (403, json!("foreign")),
            "{foreign:?}"
        );
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    // Pages are refused under rebound host names, too, and tokens from other origins.
    assert_eq!(console.get("/", &[("host", &rebound)]).status, 403);
    let token = json!({ "token": console.token() }).to_string();
    assert_eq!(console.post("/api/session", &[("origin", "http://evil.example")], &token).status, 403);
}

#[test]
fn every_answer_forbids_what_a_page_does_not_need() {
    let daemon = Daemon::start();
    let console = Console::start(&daemon);
    for path in ["/", "/console.js", "/style.css", "/api/hooks", "/none"] {
        let answer = console.get(path, &[]);
        let policy = answer.header("content-security-policy").unwrap();
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
        ] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    }
}

#[test]
fn invalid_or_huge_requests_are_refused_and_change_nothing() {
    let daemon = Daemon::start();
    let console = Console::start(&daemon);
    let session = console.begin();
    for path in [
        "/../../etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/page/../style.css",
        "//style.css",
        "/index.html",
        "/api",
        "/apis/x",
    ] {
        assert_eq!(console.get(path, &session.headers()).status, 404, "{path}");
    }
    for path in ["/api/", "/api/none", "/api/programs/x", "/api/programs/7/8", "/api/../hooks"] {
        assert_eq!(console.get(path, &session.headers()).status, 404, "{path}");
    }
    for path in ["/api/chain", "/api/chain?hook=eth0", "/api/history", "/api/stream?after=x"] {
        assert_eq!(console.get(path, &session.headers()).status, 400, "{path}");
    }
    assert_eq!(console.get("/api/programs/4294967295", &session.headers()).status, 404);
    assert_eq!(console.post("/api/hooks", &session.headers(), "{}").status, 405);
    let huge = "x".repeat(100_000);
    assert_eq!(console.post("/api/session", &[], &huge).status, 413);
    let headers = [("x-large", huge.as_str())];
    let answer = console.get("/", &headers);
    assert!(matches!(answer.status, 431 | 0), "{}", answer.status);
    assert!(matches!(console.get(&format!("/{huge}"), &[]).status, 414 | 431 | 0));
    assert_eq!(console.get("/api/hooks", &session.headers()).status, 200);
}

#[test]
fn streams_are_bounded_and_readers_that_never_read_lose_theirs() {
    let daemon = Daemon::start();
    let mut console = Console::start(&daemon);
    let session = console.begin();
    let open = || {
        let mut stream = TcpStream::connect(console.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let [(_, cookie), (_, key)] = session.headers();
        let request = format!(
            "GET /api/stream HTTP/1.1\r\nhost: {}\r\ncookie: {cookie}\r\nx-bpfman-page: {key}\r\n\r\n",
            console.address
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        (stream, String::from_utf8(head.to_vec()).unwrap())
    };
    let mut streams: Vec<_> = (0..8).map(|_| open()).collect();
    assert!(streams.iter().all(|(_, head)| head == "HTTP/1.1 200"), "{streams:?}");
    let answer = console.get("/api/stream", &session.headers());
    assert_eq!((answer.status, answer.json()["error"]["reason"].clone()), (503, json!("busy")));
    assert_eq!(console.get("/api/hooks", &session.headers()).status, 200);
    streams.pop();
    until("a stream that has gone gives its place back", || {
        let (stream, head) = open();
        let got = head == "HTTP/1.1 200";
        if got {
            streams.push((stream, head));
        }
        got
    });
    console.signal(Signal::INT);
    assert!(console.ended().success());
    assert!(TcpStream::connect(console.address).is_err());
}

#[test]
fn a_user_who_opens_connections_leaves_places_to_others() {
    let daemon = Daemon::start();
    let console = Console::start(&daemon);
    let address = console.address;
    let session = console.begin();
    let flood = std::thread::spawn(move || {
        let ada = Uid::from_raw(ADA);
        set_thread_res_uid(ada, ada, ada).unwrap();
        (0..200).map(|_| TcpStream::connect(address).unwrap()).collect::<Vec<_>>()
    });
    let flood = flood.join().unwrap();
    // Send requests for longer than the time after which a flooding connection is closed.
    for _ in 0..3 {
        assert_eq!(console.get("/api/hooks", &session.headers()).status, 200);
    }
    let stays = flood.iter().filter(|stream| {
        stream.set_nonblocking(true).unwrap();
        matches!((&mut &**stream).read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    });
    assert!((1..=24).contains(&stays.count()), "those of one user");
}

#[test]
fn a_user_without_rights_sees_a_refusal_and_not_an_empty_page() {
    let daemon = Daemon::start();
    daemon.open_to_users();
    std::fs::set_permissions(daemon.socket(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (user, mut command) = (ADA.to_string(), Command::new("setpriv"));
    command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--inh-caps=-all", "--"]);
    command
        .arg(daemon.path("client"))
        .env("BPFMAN_SOCKET_PATH", daemon.socket())
        .env("HOME", daemon.path(""));
    let console = Console::of(command, None);
    let browser = console.browser("programs");
    browser.shows("You may not see this");
    browser.shows("this user may not connect to");
    browser.shows("member of the group");
    assert_eq!(browser.script("return document.querySelector('.refusal').getAttribute('role')"), "alert");
}

#[test]
fn without_a_daemon_the_page_says_so_and_begins_when_one_comes() {
    let mut daemon = Daemon::prepare();
    let console = Console::start(&daemon);
    let browser = console.browser("hooks");
    browser.shows("The daemon does not answer");
    browser.shows("systemctl start bpfmand.socket");
    daemon.again(&Launch::default());
    browser.shows("No hook has a chain");
}

#[test]
fn external_addresses_and_ports_in_use_are_refused() {
    let daemon = Daemon::start();
    daemon.bpfman("console --no-open --listen 0.0.0.0:0").fails(2, &["loopback", "ssh -L"]);
    let console = Console::start(&daemon);
    let taken = format!("console --no-open --listen {}", console.address);
    daemon.bpfman(&taken).fails(1, &["cannot listen on", "hint: ", "--listen 127.0.0.1:0"]);
}
