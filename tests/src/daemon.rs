//! Daemon with its own directory and bpffs.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::wait::{DEADLINE, within};
use crate::{Outcome, Wire, binaries};

#[derive(Clone, Debug, Default)]
pub struct Launch {
    pub config: String,
    pub policy: String,
    pub environment: Vec<(String, String)>,
    pub flags: Vec<String>,
    pub socket: Option<PathBuf>,
    pub wrapper: Vec<String>,
    pub binary: Option<PathBuf>,
}

/// Daemon. When the value is dropped, the daemon is killed, its bpffs unmounted and its directory deleted.
#[derive(Debug)]
pub struct Daemon {
    folder: TempDir,
    process: Option<Child>,
    notified: Option<UnixDatagram>,
    told_before: Vec<String>,
}

impl Daemon {
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&Launch::default())
    }

    #[must_use]
    pub fn start_with(launch: &Launch) -> Self {
        let mut daemon = Self::prepare();
        daemon.again(launch);
        daemon
    }

    #[must_use]
    pub fn prepare() -> Self {
        let folder = tempfile::Builder::new().prefix("bpfman-test-").tempdir().unwrap();
        Self { folder, process: None, notified: None, told_before: Vec::new() }
    }

    pub fn again(&mut self, launch: &Launch) {
        assert!(self.process.is_none(), "it runs already");
        let ready = self.path("ready");
        let _old = fs::remove_file(&ready);
        let notified = UnixDatagram::bind(&ready).unwrap();
        notified.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut command = self.command(launch);
        command.env("NOTIFY_SOCKET", &ready);
        self.process = Some(command.spawn().unwrap());
        let end = Instant::now() + DEADLINE;
        self.notified = Some(notified);
        self.told_before.clear();
        loop {
            match self.notification() {
                Some(message) if message.starts_with("READY=1") => {
                    self.told_before.push(message);
                    break;
                }
                message => self.told_before.extend(message),
            }
            let status = self.process.as_mut().unwrap().try_wait().unwrap();
            assert!(status.is_none(), "the daemon ended: {status:?}\n{}", self.log());
            assert!(Instant::now() < end, "the daemon is not ready after {DEADLINE:?}\n{}", self.log());
        }
    }

    #[must_use]
    pub fn told_before_ready(&self) -> &[String] {
        &self.told_before
    }

    /// Returns its next message to the service manager, if one arrives within 200 milliseconds.
    #[must_use]
    pub fn notification(&self) -> Option<String> {
        let mut message = [0; 256];
        match self.notified.as_ref().expect("it was started").recv(&mut message) {
            Ok(length) => Some(String::from_utf8_lossy(&message[..length]).into_owned()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Starts the daemon, which must refuse to start. Returns its exit status and standard error.
    #[must_use]
    pub fn refuses(&self, launch: &Launch) -> (ExitStatus, String) {
        let output = within("a daemon that is to refuse to start", || {
            self.command(launch).stderr(Stdio::piped()).output()
        });
        let output = output.unwrap();
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    #[must_use]
    pub fn command(&self, launch: &Launch) -> Command {
        fs::write(self.path("bpfman.toml"), &launch.config).unwrap();
        fs::write(self.path("policy.toml"), &launch.policy).unwrap();
        let binary = launch.binary.clone().unwrap_or_else(|| binaries::find("bpfmand"));
        let mut command = match &launch.wrapper[..] {
            [] => Command::new(binary),
            [program, words @ ..] => {
                let mut command = Command::new(program);
                command.args(words).arg(binary);
                command
            }
        };
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        for variable in [
            "BPFMAN_TEST_KILL_AT",
            "BPFMAN_TEST_STEPS",
            "BPFMAN_TEST_HOLD",
            "BPFMAN_STATE_DIR",
            "BPFMAN_LOG",
            "RUST_LOG",
            "KUBE_NODE_NAME",
            "KUBERNETES_SERVICE_HOST",
            "POD_NAMESPACE",
            "POD_NAME",
            "POD_UID",
            "SYSTEMD_EXEC_PID",
        ] {
            command.env_remove(variable);
        }
        command
            .arg("--runtime-dir")
            .arg(self.path("run"))
            .arg("--socket-path")
            .arg(launch.socket.as_ref().unwrap_or(&self.socket()))
            .arg("--config")
            .arg(self.path("bpfman.toml"))
            .arg("--policy")
            .arg(self.path("policy.toml"))
            .args(&launch.flags)
            .envs(launch.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        command
    }

    #[must_use]
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path("sock")
    }

    #[must_use]
    pub fn fs(&self) -> PathBuf {
        self.path("run/fs")
    }

    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it runs").id()
    }

    #[must_use]
    pub fn wire(&self) -> Wire {
        Wire::new(&self.socket())
    }

    #[must_use]
    pub fn cli<S: AsRef<OsStr>>(&self, words: &[S]) -> Outcome {
        Outcome::of(self.cli_command().args(words))
    }

    #[must_use]
    pub fn bpfman(&self, line: &str) -> Outcome {
        self.cli(&line.split_whitespace().collect::<Vec<_>>())
    }

    pub fn publish(&self, image: &str, object: &Path, key: &str) {
        self.bpfman(&format!("image build -t {image} -b {}", object.display())).success();
        self.bpfman(&format!("image push {image}")).success();
        self.bpfman(&format!("image sign {image} --key {key}")).success();
    }

    pub fn detach_all(&self) {
        let links = self.bpfman("list links -o json").json();
        for link in links["links"].as_array().unwrap() {
            self.bpfman(&format!("detach {}", link["link_id"])).success();
        }
    }

    #[must_use]
    pub fn cli_command(&self) -> Command {
        let mut command = Command::new(binaries::find("bpfman"));
        command.env("BPFMAN_SOCKET_PATH", self.socket()).env("HOME", self.folder.path());
        command
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _gone = process.kill();
            within("a killed daemon to be gone", || process.wait()).unwrap();
        }
    }

    pub fn terminate(&mut self) -> ExitStatus {
        let process = self.process.as_ref().expect("it runs");
        kill_process(Pid::from_child(process), Signal::TERM).unwrap();
        self.ended()
    }

    pub fn ended(&mut self) -> ExitStatus {
        let process = self.process.as_mut().expect("it runs");
        let mut status = None;
        crate::wait::until("the daemon ended", || {
            status = process.try_wait().unwrap();
            status.is_some()
        });
        self.process = None;
        status.unwrap()
    }

    /// Returns everything that a request could change. A program is kept alive by a pin, a descriptor or a hook: a
    /// request that leaves all three unchanged has left nothing in the kernel.
    #[must_use]
    pub fn state(&self) -> State {
        State {
            pins: self.pins(),
            held: self.held(),
            programs: self.list("programs"),
            links: self.list("links"),
        }
    }

    fn held(&self) -> Vec<String> {
        let look = |_| {
            let held = crate::kernel::held_by(self.pid());
            if !held.is_empty() {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            held
        };
        (0..5).map(look).min_by_key(Vec::len).unwrap_or_default()
    }

    fn pins(&self) -> Vec<String> {
        let mut pins = crate::kernel::pins(&self.fs());
        for pin in &mut pins {
            if let Some((_, name)) = pin.strip_prefix("chains/").and_then(|pin| pin.split_once('/')) {
                *pin = format!("chains/N/{name}");
            }
        }
        pins.sort();
        pins
    }

    fn list(&self, what: &str) -> Vec<Value> {
        let mut list = self.bpfman(&format!("list {what} -o json")).json();
        let mut entries = list[what].take().as_array().unwrap().clone();
        for entry in &mut entries {
            let entry = entry.as_object_mut().unwrap();
            entry.remove("running_program_id");
            entry.remove("ttl_left");
        }
        entries
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub pins: Vec<String>,
    pub held: Vec<String>,
    pub programs: Vec<Value>,
    pub links: Vec<Value>,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the daemon's log ---\n{}", self.log());
        }
        // Programs continue to run without their daemon: unmounting the bpffs ends them.
        let _not_mounted = unmount(self.fs(), UnmountFlags::DETACH);
    }
}
