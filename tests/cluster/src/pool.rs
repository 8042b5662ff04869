//! Pool of API servers that the tests of a run use one after the other: a start takes seconds of CPU time, while
//! objects are quickly removed (`tests/kube/reset`). A server is replaced if a test failed or was killed, or changed
//! the network or objects that existed before the first test.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::cluster::shared_folder;
use crate::{Cluster, scripts};

const IN_USE: &str = "in-use";
const DEFINITIONS: &str = "definitions";

#[derive(Clone, Copy, Debug)]
pub(crate) enum Pool {
    Defined,
    Undefined,
}

impl Pool {
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

    pub(crate) fn give_back(&self) {
        fs::remove_file(self.path(IN_USE)).unwrap();
    }

    pub(crate) fn has_definitions(&self) -> bool {
        self.keeps_definitions() && self.path(DEFINITIONS).exists()
    }

    pub(crate) fn keep_definitions(&self) {
        if self.keeps_definitions() {
            scripts::run("reset", &self.path(""), &["--remember-definitions"]);
            fs::write(self.path(DEFINITIONS), "").unwrap();
        }
    }
}
