//! A control plane, and the guard that takes it down.

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

/// What a control plane of one's own has beyond etcd and the API server.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Also kube-controller-manager and kube-scheduler: garbage collection, default accounts, pods get nodes.
    pub full: bool,
    /// Flags of kube-apiserver besides those of `tests/kube/up`.
    pub flags: Vec<String>,
}

/// A control plane. One of a test's own is taken down with this value.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    setup: Setup,
    life: Life,
}

/// Who uses a control plane, and until when.
#[derive(Debug)]
enum Life {
    /// All tests of a run.
    Shared,
    /// One test at a time.
    Pooled(Pool),
    /// The test that started it.
    Own(#[expect(dead_code, reason = "it is removed with this value")] TempDir),
}

impl Cluster {
    /// etcd and an API server that no other test uses meanwhile. Nothing is in it but what Kubernetes itself makes, and
    /// perhaps our definitions. Under nextest it is one of a pool: another test had it before.
    ///
    /// None, with a line that counts as a skip, where Kubernetes was not built.
    #[must_use]
    pub fn own() -> Option<Self> {
        Self::of(Pool::Defined)
    }

    /// The same, never with our definitions. For tests of definitions.
    #[must_use]
    pub fn undefined() -> Option<Self> {
        Self::of(Pool::Undefined)
    }

    fn of(pool: Pool) -> Option<Self> {
        // Elsewhere tests are threads of one process, which would have a server until it ends.
        if std::env::var_os("NEXTEST").is_none() {
            return Self::own_with(Setup::default());
        }
        let folder = pool.acquire(&scripts::kubernetes(Stage::Api)?);
        let cluster = Self { folder, setup: Setup::default(), life: Life::Pooled(pool) };
        cluster.prepare();
        Some(cluster)
    }

    /// One that this test starts, with more.
    #[must_use]
    pub fn own_with(setup: Setup) -> Option<Self> {
        scripts::kubernetes(if setup.full { Stage::Full } else { Stage::Api })?;
        let own = tempfile::Builder::new().prefix("bpfman-kube-").tempdir().unwrap();
        let cluster = Self { folder: own.path().to_owned(), setup, life: Life::Own(own) };
        cluster.up(std::process::id());
        Some(cluster)
    }

    /// etcd and an API server for all tests of a run; our definitions are applied. Tests choose names that no other
    /// has, and never stop it.
    ///
    /// Whoever asks first starts it. It goes when the test runner ends, and with `make kube-down`.
    pub async fn shared() -> Option<Self> {
        let folder = shared_folder(&scripts::kubernetes(Stage::Api)?, "");
        fs::create_dir_all(folder.parent().unwrap()).unwrap();
        // Tests of one run are processes: the lock is a file.
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

    /// Starts what does not run.
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

    /// A file of it.
    #[must_use]
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.join(name)
    }

    /// True if no other test uses it meanwhile.
    #[must_use]
    pub fn is_own(&self) -> bool {
        !matches!(self.life, Life::Shared)
    }

    /// True if what it has of our definitions stays for the next test.
    pub(crate) fn keeps_definitions(&self) -> bool {
        matches!(self.life, Life::Pooled(Pool::Defined))
    }

    /// Ends all of it, and removes its folder.
    pub(crate) fn down(&self) {
        let _down = std::process::Command::new(scripts::script("down")).arg(&self.folder).status();
    }

    /// Its network namespace. The server listens on `127.0.0.1:443` there.
    #[must_use]
    pub fn netns(&self) -> PathBuf {
        Path::new("/run/netns").join(fs::read_to_string(self.path("netns")).unwrap().trim())
    }

    /// How its administrator logs in; for use inside the namespace.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    /// A client that may do everything.
    pub async fn client(&self) -> Client {
        self.client_of(&self.kubeconfig()).await
    }

    /// A client of whoever a kubeconfig is for.
    pub async fn client_of(&self, kubeconfig: &Path) -> Client {
        connect::client(&self.netns(), Kubeconfig::read_from(kubeconfig).unwrap()).await
    }

    /// Runs kubectl as its administrator.
    #[must_use]
    pub fn kubectl(&self, words: &[&str]) -> bpfman_tests::Outcome {
        let mut command = std::process::Command::new(scripts::script("kubectl"));
        bpfman_tests::Outcome::of(command.arg(&self.folder).args(words))
    }

    /// A command whose network is the cluster's, and whose kubectl is of its version.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> std::process::Command {
        let mut command = std::process::Command::new("nsenter");
        command.arg(format!("--net={}", self.netns().display())).arg(program);
        command.env("PATH", scripts::path_with(&[self.path("bin")]));
        command
    }

    /// Does something inside, on a thread of its own: what is opened there stays there. So servers of a test, webhooks
    /// for instance, listen where the API server finds them.
    pub fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        in_network(&self.netns(), work)
    }
}

/// Does something in a network namespace, on a thread of its own.
///
/// # Panics
/// It did, or there is no such namespace.
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

/// Returns the folder of a cluster that outlives a test, below the target folder. A cluster keeps the Kubernetes that it was
/// started with.
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
