//! Pool of API servers that the tests of a run use one after the other. Starting a server takes seconds of CPU time,
//! and most tests leave only objects behind, which are quickly removed (`tests/kube/reset`).
//!
//! A server is stopped and replaced by a new one if a test failed or was killed, or if it changed the network or
//! objects that existed before the first test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::cluster::shared_folder;
use crate::{Cluster, scripts};

/// File that exists while a test uses the server.
const IN_USE: &str = "in-use";
/// File that exists once the project's definitions are kept.
const DEFINITIONS: &str = "definitions";

#[derive(Clone, Copy, Debug)]
pub(crate) enum Pool {
    /// Servers that keep the project's definitions once a test has applied them.
    Defined,
    /// Servers without the project's definitions.
    Undefined,
}

impl Pool {
    /// Returns the directory of a server that no other test uses until this process exits. Processes that the test
    /// starts inside end with this process at the latest.
    pub(crate) fn acquire(self, kubernetes: &Path) -> PathBuf {
        let word = match self {
            Self::Defined => "",
            Self::Undefined => "-undefined",
        };
        let slot = |number: u32| {
            let folder = shared_folder(kubernetes, &format!("{word}-{number}"));
            fs::create_dir_all(folder.parent().unwrap()).unwrap();
            let mut lock = folder.clone().into_os_string();
            lock.push(".lock");
            let lock = File::create(lock).unwrap();
            flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
            std::mem::forget(lock);
            Some(folder)
        };
        (1..).find_map(slot).expect("the numbers do not end")
    }
}

impl Cluster {
    /// Starts the missing processes of a pooled server, and removes what the previous test left. This happens only
    /// now, because all processes of that test have exited.
    pub(crate) fn prepare(&self) {
        if self.path(IN_USE).exists() {
            self.down();
        }
        let runner = std::os::unix::process::parent_id();
        self.up(runner);
        if self.path("objects").exists() && scripts::attempt("reset", &self.path("")).code != 0 {
            self.down();
            self.up(runner);
        }
        if !self.path("objects").exists() {
            scripts::run("reset", &self.path(""), &["--remember"]);
        }
        fs::write(self.path(IN_USE), "").unwrap();
    }

    /// Returns the server to the pool, after a test that passed.
    pub(crate) fn give_back(&self) {
        fs::remove_file(self.path(IN_USE)).unwrap();
    }

    pub(crate) fn has_definitions(&self) -> bool {
        self.keeps_definitions() && self.path(DEFINITIONS).exists()
    }

    /// Keeps the project's definitions, which were just applied, for later tests.
    pub(crate) fn keep_definitions(&self) {
        if self.keeps_definitions() {
            scripts::run("reset", &self.path(""), &["--remember-definitions"]);
            fs::write(self.path(DEFINITIONS), "").unwrap();
        }
    }
}
