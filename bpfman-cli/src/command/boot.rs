//! Check of an object on another kernel, by a daemon in a virtual machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bpfman_model::Hint;
use serde_json::Value;

use crate::error::CliError;
use crate::show::checked::CheckedKernel;

const RUNNER_VARIABLE: &str = "BPFMAN_VM";
const PACKAGED: &str = "/usr/libexec/bpfman/vm";
/// Time limit in seconds. Booting takes about five; the verifier is slow on an emulated CPU.
const LIMIT: &str = "600";

#[derive(Debug)]
pub struct KernelRunner {
    folder: PathBuf,
    bpfman: PathBuf,
    bpfmand: PathBuf,
}

impl KernelRunner {
    /// Finds the runner of this machine, and the daemon next to this client or in `/usr/sbin`.
    pub fn find() -> Result<Self, CliError> {
        let folder = std::env::var_os(RUNNER_VARIABLE).map_or_else(|| PathBuf::from(PACKAGED), PathBuf::from);
        if !folder.join("run").is_file() {
            return Err(invalid(
                format!("--kernel: nothing boots kernels here: there is no {}", folder.join("run").display()),
                format!(
                    "name the folder that has it by {RUNNER_VARIABLE}; --kernel-btf needs the types of a kernel alone"
                ),
            ));
        }
        if !rustix::process::geteuid().is_root() {
            return Err(invalid(
                "--kernel: only root may share this machine's files with a virtual machine".to_owned(),
                "use sudo, or --kernel-btf, which needs no rights",
            ));
        }
        let failed = |source| CliError::File { path: PathBuf::from("/proc/self/exe"), source };
        let bpfman = std::env::current_exe().map_err(failed)?;
        let beside = [bpfman.with_file_name("bpfmand"), PathBuf::from("/usr/sbin/bpfmand")];
        let bpfmand = beside.into_iter().find(|path| path.is_file()).ok_or_else(|| {
            invalid(
                format!("--kernel: there is no bpfmand beside {}", bpfman.display()),
                "install the daemon: it is what loads the programs there",
            )
        })?;
        Ok(Self { folder, bpfman, bpfmand })
    }

    pub fn check(&self, kernel: &str, object: &[u8]) -> Result<CheckedKernel, CliError> {
        let shared = tempfile::Builder::new().prefix("bpfman-check").tempdir();
        let shared = shared.map_err(|source| CliError::File { path: std::env::temp_dir(), source })?;
        let (file, said) = (shared.path().join("object.o"), shared.path().join("said"));
        std::fs::write(&file, object).map_err(|source| CliError::File { path: file.clone(), source })?;
        // The machine mixes standard output and standard error: write each to a file.
        let inside = r#""$0" check "$1" -o json > "$2" 2> "$2.error""#;
        let output = Command::new(self.folder.join("run"))
            .args(["-k", kernel, "-t", LIMIT, "-w"])
            .arg(shared.path())
            .arg("--")
            .arg("env")
            .arg(assignment("BPFMAND", &self.bpfmand))
            .arg(self.folder.join("with-daemon"))
            .args(["sh", "-c", inside])
            .args([&self.bpfman, &file, &said])
            .stdin(Stdio::null())
            .output()
            .map_err(|source| CliError::File { path: self.folder.join("run"), source })?;
        let answer = std::fs::read(&said).unwrap_or_default();
        let read = serde_json::from_slice(&answer).ok().as_ref().and_then(Self::answer);
        read.ok_or_else(|| {
            let error = std::fs::read_to_string(said.with_extension("error")).unwrap_or_default();
            let of_machine = [output.stdout, output.stderr]
                .map(|text| String::from_utf8_lossy(&text).into_owned())
                .concat();
            let text = if error.is_empty() { of_machine } else { error };
            let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no word").trim();
            invalid(
                format!("--kernel {kernel}: {last}"),
                format!(
                    "{} -k {kernel} -- uname -r shows whether that kernel boots",
                    self.folder.join("run").display()
                ),
            )
        })
    }

    fn answer(answer: &Value) -> Option<CheckedKernel> {
        let host = answer.get("kernels")?.get(0)?;
        let release = host.get("kernel")?.as_str()?.rsplit(' ').next()?;
        Some(CheckedKernel {
            kernel: format!("Linux {release}, booted"),
            lacks: serde_json::from_value(host.get("lacks")?.clone()).ok()?,
            tried: Some(serde_json::from_value(answer.get("tried")?.clone()).ok()?),
        })
    }
}

fn assignment(name: &str, path: &Path) -> OsString {
    let mut text = OsString::from(name);
    text.push("=");
    text.push(path);
    text
}

fn invalid(what: String, hint: impl Into<Hint>) -> CliError {
    CliError::Invalid { what, hint: Some(hint.into()) }
}
