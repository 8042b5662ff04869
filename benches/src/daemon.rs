use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

pub struct Daemon {
    folder: TempDir,
    child: Child,
}

pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    if !path.exists() {
        bail!("{} is missing: build it with `cargo build --release -p {name}`", path.display());
    }
    Ok(path)
}

impl Daemon {
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with("", "")
    }

    pub fn start_with(config: &str, policy: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(crate::samples::folder()?)?;
        std::fs::write(folder.path().join("bpfman.toml"), config)?;
        std::fs::write(folder.path().join("policy.toml"), policy)?;
        let child = spawn(folder.path())?;
        let daemon = Self { folder, child };
        daemon.wait()?;
        Ok(daemon)
    }

    pub fn restart(&mut self) -> anyhow::Result<f64> {
        self.stop();
        let start = Instant::now();
        self.child = spawn(self.folder.path())?;
        self.wait()?;
        Ok(crate::samples::ms(start))
    }

    pub fn restart_without_programs(&mut self) -> anyhow::Result<f64> {
        self.stop();
        rustix::mount::unmount(self.folder.path().join("run/fs"), rustix::mount::UnmountFlags::DETACH)?;
        let start = Instant::now();
        self.child = spawn(self.folder.path())?;
        self.wait()?;
        Ok(crate::samples::ms(start))
    }

    fn wait(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            if Instant::now() > deadline {
                bail!("the daemon did not begin to listen within a minute");
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        Ok(())
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn resident(&self) -> anyhow::Result<(f64, f64)> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| -> anyhow::Result<f64> {
            let line = status.lines().find(|line| line.starts_with(name)).context("no memory in status")?;
            Ok(line.split_whitespace().nth(1).context("no number")?.parse::<f64>()? / 1024.0)
        };
        Ok((field("VmRSS:")?, field("RssAnon:")?))
    }

    pub fn descriptors(&self) -> anyhow::Result<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))?.count())
    }

    pub fn cli(&self, arguments: &[&str]) -> anyhow::Result<f64> {
        let cli = binary("bpfman")?;
        let start = Instant::now();
        let output = Command::new(cli).arg("--socket-path").arg(self.socket()).args(arguments).output()?;
        let took = crate::samples::ms(start);
        if !output.status.success() {
            bail!("bpfman {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(took)
    }

    fn stop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _status = self.child.wait();
    }
}

fn spawn(folder: &Path) -> anyhow::Result<Child> {
    let log = File::options().create(true).append(true).open(folder.join("log"))?;
    Command::new(binary("bpfmand")?)
        .arg("--runtime-dir")
        .arg(folder.join("run"))
        .arg("--socket-path")
        .arg(folder.join("sock"))
        .arg("--config")
        .arg(folder.join("bpfman.toml"))
        .arg("--policy")
        .arg(folder.join("policy.toml"))
        .env("BPFMAN_LOG", "warn")
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("cannot start bpfmand")
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
        let _not_mounted =
            rustix::mount::unmount(self.folder.path().join("run/fs"), rustix::mount::UnmountFlags::DETACH);
    }
}

pub struct Network {
    name: String,
}

impl Network {
    pub fn new() -> anyhow::Result<Self> {
        let network = Self { name: format!("bpfman-bench-{}", std::process::id()) };
        ip(&["netns", "add", &network.name])?;
        ip(&["-n", &network.name, "link", "add", "name", "va", "type", "veth", "peer", "name", "vb"])?;
        ip(&["-n", &network.name, "link", "set", "va", "up"])?;
        ip(&["-n", &network.name, "link", "set", "vb", "up"])?;
        Ok(network)
    }

    pub fn add(&self, name: &str) -> anyhow::Result<()> {
        let peer = format!("peer-{name}");
        ip(&["-n", &self.name, "link", "add", "name", name, "up", "type", "veth", "peer", "name", &peer])
    }

    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _gone = ip(&["netns", "del", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot run ip")?;
    if !output.status.success() {
        bail!("ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
