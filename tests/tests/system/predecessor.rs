//! Starts over the state of v0.6.0, written here in its format; `tests/import-v0.6/run` tests with the real one.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use bpfman_tests::{Daemon, Launch, compile};

/// Opens the database. A thread of the previously dropped one releases its lock with a short delay.
fn open(database: &Path) -> sled::Db {
    let mut opened = None;
    bpfman_tests::wait::until("the database is free", || {
        opened = sled::open(database).ok();
        opened.is_some()
    });
    opened.unwrap()
}

struct Left {
    daemon: Daemon,
    database: PathBuf,
}

impl Left {
    fn new() -> Self {
        let daemon = Daemon::prepare();
        let database = daemon.path("run/db");
        let object = std::fs::read(compile::object("chain")).unwrap();
        let db = open(&database);
        let write = |tree: &str, fields: &[(&str, &[u8])]| {
            let tree = db.open_tree(tree).unwrap();
            for (key, value) in fields {
                tree.insert(key, *value).unwrap();
            }
        };
        let program: &[(&str, &[u8])] = &[
            ("id", &11u32.to_ne_bytes()),
            ("name", b"xdp_member"),
            ("kind", &6u32.to_ne_bytes()),
            ("location_filename", b"/opt/my firewall.o"),
            ("program_bytes", &object),
            ("metadata_team", b"it's\nours"),
        ];
        write("program_11", program);
        let link: &[(&str, &[u8])] = &[
            ("program_id", &11u32.to_ne_bytes()),
            ("xdp_iface", b"eth7"),
            ("xdp_ifindex", &7u32.to_ne_bytes()),
            ("xdp_nsid", &4_026_531_840_u64.to_ne_bytes()),
            ("xdp_priority", &30i32.to_ne_bytes()),
            ("xdp_proceed_on_0", &2i32.to_ne_bytes()),
        ];
        write("link_682811454", link);
        db.flush().unwrap();
        drop(db);
        Self { daemon, database }
    }

    fn import(&self, words: &[&str]) -> Output {
        let mut command = self.daemon.command(&Launch::default());
        command
            .arg("--import-v0.6")
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .unwrap()
    }
}

#[test]
fn a_start_over_it_is_refused_and_an_import_lets_it_start() {
    let mut left = Left::new();
    let (status, said) = left.daemon.refuses(&Launch::default());
    assert!(!status.success());
    for text in ["bpfman v0.6.0 left its state in", "nothing was changed", "--import-v0.6 --dry-run"] {
        assert!(said.contains(text), "{said}");
    }
    assert!(left.database.exists() && !left.daemon.path("run/state/store").exists());

    let dry = left.import(&["--dry-run"]);
    let script = String::from_utf8(dry.stdout).unwrap();
    assert!(dry.status.success(), "{}", String::from_utf8_lossy(&dry.stderr));
    for text in
        ["left 1 programs and 1 links", "program_11.o", "--iface eth7 --priority 30 --proceed-on pass"]
    {
        assert!(script.contains(text), "{text}: {script}");
    }
    // A value of the database is one shell word on a single line.
    assert!(script.contains(r"'team=it'\''s?ours'"), "{script}");
    assert!(script.ends_with("nothing was changed.\n"), "{script}");
    assert!(left.database.exists() && !left.daemon.path("run/state/v0.6").exists());

    let done = left.import(&[]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(!left.database.exists() && left.daemon.path("run/db.v0.6").exists());
    let kept = std::fs::read(left.daemon.path("run/state/v0.6/program_11.o")).unwrap();
    assert_eq!(kept, std::fs::read(compile::object("chain")).unwrap());
    left.daemon.again(&Launch::default());
    assert!(left.daemon.state().programs.is_empty());
}

#[test]
fn a_damaged_record_of_it_changes_nothing() {
    let left = Left::new();
    let db = open(&left.database);
    db.open_tree("program_11").unwrap().insert("kind", b"xdp").unwrap();
    db.flush().unwrap();
    drop(db);
    let refused = left.import(&[]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("program 11") && said.contains("kind"), "{said}");
    assert!(left.database.exists() && !left.daemon.path("run/db.v0.6").exists());
}
