//! Control plane, and the guard that stops it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use bpfman_tests::binaries::build_folder;
use kube::Client;
use kube::config::Kubeconfig;
use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use crate::connect;
use crate::pool::Pool;
use crate::scripts::{self, Stage};

#[derive(Clone, Debug, Default)]
pub struct Setup {
    pub full: bool,
    pub flags: Vec<String>,
}

/// Control plane. If it belongs to a single test, it is stopped when this value is dropped.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    setup: Setup,
    life: Life,
}

#[derive(Debug)]
enum Life {
    Shared,
    Pooled(Pool),
    Own(#[expect(dead_code, reason = "it is removed with this value")] TempDir),
}

impl Cluster {
    /// Returns etcd and an API server that no other test uses at the same time. They contain only the objects
    /// that Kubernetes itself creates, and possibly the project's definitions. Under nextest they come from a
    /// pool. Returns `None`, and prints a line that counts as a skip, if Kubernetes was not built.
    #[must_use]
    pub fn own() -> Option<Self> {
        Self::of(Pool::Defined)
    }

    /// Like [`Self::own`], but never with the project's definitions: for tests of definitions.
    #[must_use]
    pub fn undefined() -> Option<Self> {
        Self::of(Pool::Undefined)
    }

    fn of(pool: Pool) -> Option<Self> {
        // Without nextest tests are threads of one process, which would keep the server until it exits.
        if std::env::var_os("NEXTEST").is_none() {
            return Self::own_with(Setup::default());
        }
        let folder = pool.acquire(&scripts::kubernetes(Stage::Api)?);
        let cluster = Self { folder, setup: Setup::default(), life: Life::Pooled(pool) };
        cluster.prepare();
        Some(cluster)
    }

    #[must_use]
    pub fn own_with(setup: Setup) -> Option<Self> {
        scripts::kubernetes(if setup.full { Stage::Full } else { Stage::Api })?;
        let own = tempfile::Builder::new().prefix("bpfman-kube-").tempdir().unwrap();
        let cluster = Self { folder: own.path().to_owned(), setup, life: Life::Own(own) };
        cluster.up(std::process::id());
        Some(cluster)
    }

    /// Returns etcd and an API server for all tests of a run, with the project's definitions. Tests must use unique
    /// names, and must never stop it: it is stopped when the test runner exits, and by `make kube-down`.
    pub async fn shared() -> Option<Self> {
        let folder = shared_folder(&scripts::kubernetes(Stage::Api)?, "");
        fs::create_dir_all(folder.parent().unwrap()).unwrap();
        // Tests of one run are processes, so the lock is a file.
        let lock = File::create(folder.with_extension("lock")).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        let cluster = Self { folder, setup: Setup::default(), life: Life::Shared };
        let runner = std::os::unix::process::parent_id();
        cluster.up(runner);
        let ready = cluster.folder.join("definitions");
        if !ready.exists() {
            cluster.apply_definitions().await;
            fs::write(ready, "").unwrap();
        }
        Some(cluster)
    }

    pub(crate) fn up(&self, until_exit: u32) {
        let user = until_exit.to_string();
        let mut words = vec!["--until-exit", &user];
        if self.setup.full {
            words.push("--full");
        }
        words.push("--");
        words.extend(self.setup.flags.iter().map(String::as_str));
        scripts::run("up", &self.folder, &words);
    }

    #[must_use]
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.join(name)
    }

    #[must_use]
    pub fn is_own(&self) -> bool {
        !matches!(self.life, Life::Shared)
    }

    pub(crate) fn keeps_definitions(&self) -> bool {
        matches!(self.life, Life::Pooled(Pool::Defined))
    }

    pub(crate) fn down(&self) {
        let _down = std::process::Command::new(scripts::script("down")).arg(&self.folder).status();
    }

    #[must_use]
    pub fn netns(&self) -> PathBuf {
        Path::new("/run/netns").join(fs::read_to_string(self.path("netns")).unwrap().trim())
    }

    /// Returns the administrator's kubeconfig, for use inside the namespace.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    pub async fn client(&self) -> Client {
        self.client_of(&self.kubeconfig()).await
    }

    pub async fn client_of(&self, kubeconfig: &Path) -> Client {
        connect::client(&self.netns(), Kubeconfig::read_from(kubeconfig).unwrap()).await
    }

    #[must_use]
    pub fn kubectl(&self, words: &[&str]) -> bpfman_tests::Outcome {
        let mut command = std::process::Command::new(scripts::script("kubectl"));
        bpfman_tests::Outcome::of(command.arg(&self.folder).args(words))
    }

    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> std::process::Command {
        let mut command = std::process::Command::new("nsenter");
        command.arg(format!("--net={}", self.netns().display())).arg(program);
        command.env("PATH", scripts::path_with(&[self.path("bin")]));
        command
    }

    /// Calls `work` in the cluster's network. Its sockets stay there, so that servers of a test are reachable.
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        in_network(&self.netns(), work)
    }
}

pub fn in_network<T: Send + 'static>(netns: &Path, work: impl FnOnce() -> T + Send + 'static) -> T {
    use std::os::fd::AsFd as _;
    let file = File::open(netns).unwrap();
    let thread = std::thread::spawn(move || {
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(file.as_fd(), kind).unwrap();
        work()
    });
    thread.join().unwrap()
}

/// Returns the folder of a shared cluster. Its name has the version of Kubernetes, which the cluster keeps.
pub(crate) fn shared_folder(kubernetes: &Path, suffix: &str) -> PathBuf {
    let version = kubernetes.file_name().expect("it is a folder with a name").to_string_lossy();
    build_folder()
        .parent()
        .expect("it lies in the target folder")
        .join(format!("kube/shared-{version}{suffix}"))
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.is_own() {
            return;
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.path("logs/kube-apiserver.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the log of kube-apiserver, its end ---");
            lines[lines.len().saturating_sub(40)..].iter().for_each(|line| eprintln!("{line}"));
        }
        match self.life {
            Life::Pooled(_) if !std::thread::panicking() => self.give_back(),
            _ => self.down(),
        }
    }
}
