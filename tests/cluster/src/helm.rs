//! Helm, as administrators use it.

use std::path::PathBuf;
use std::process::Command;

use bpfman_tests::Outcome;
use tempfile::TempDir;

use crate::{Cluster, scripts};

#[derive(Debug)]
pub struct Helm {
    program: PathBuf,
    home: TempDir,
}

impl Helm {
    #[must_use]
    pub fn find() -> Option<Self> {
        let Some(program) = scripts::obtained("helm") else {
            scripts::skipped("helm");
            return None;
        };
        let home = tempfile::Builder::new().prefix("bpfman-helm-").tempdir().unwrap();
        Some(Self { program, home })
    }

    #[must_use]
    pub fn run(&self, words: &[&str]) -> Outcome {
        let mut command = Command::new(&self.program);
        Outcome::of(command.env("HOME", self.home.path()).args(words))
    }

    #[must_use]
    pub fn on(&self, cluster: &Cluster, words: &[&str]) -> Outcome {
        let mut command = cluster.command(&self.program);
        command.env("HOME", self.home.path()).env("KUBECONFIG", cluster.kubeconfig());
        Outcome::of(command.args(words))
    }

    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.program.parent().expect("it is in a folder").to_owned()
    }
}
