//! API servers that the tests of a run have one after the other, each alone: a start takes seconds of processor time, and
//! most tests leave nothing but objects, which are removed in a moment (`tests/kube/reset`).
//!
//! A server that is left otherwise is taken down, and the next test starts another: after a test that failed or was
//! killed, that changed what Kubernetes or the first test of the pool had made, or the network.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::cluster::shared_folder;
use crate::{Cluster, scripts};

/// Exists while a test has the server.
const IN_USE: &str = "in-use";
/// Exists once our definitions are among what stays.
const DEFINITIONS: &str = "definitions";

/// Servers that are alike.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pool {
    /// Our definitions stay once a test has applied them.
    Defined,
    /// Each test finds a server without them.
    Undefined,
}

impl Pool {
    /// Returns the folder of a server that no other test has until this process ends: what the test started inside ends
    /// with the process at the latest.
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
    /// Starts what does not run of a server of the pool, and removes what another test left: only now, when its last
    /// process has ended.
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

    /// Gives the server back, after a test that passed.
    pub(crate) fn give_back(&self) {
        fs::remove_file(self.path(IN_USE)).unwrap();
    }

    /// Returns whether our definitions are there from before.
    pub(crate) fn has_definitions(&self) -> bool {
        self.keeps_definitions() && self.path(DEFINITIONS).exists()
    }

    /// Has our definitions stay, which were just applied.
    pub(crate) fn keep_definitions(&self) {
        if self.keeps_definitions() {
            scripts::run("reset", &self.path(""), &["--remember-definitions"]);
            fs::write(self.path(DEFINITIONS), "").unwrap();
        }
    }
}
