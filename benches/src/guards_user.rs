//! Cost of the guard of a user's grant, which compares credentials: for a task of the user in the grant's cgroup,
//! for one in another cgroup, and for another user's.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::daemon::{Daemon, binary};
use crate::guards::{CALLS, CONFIG, Probed, counts, unified_hierarchy};
use crate::objects::Objects;
use crate::samples::Results;

const USER: u32 = 64_301;
const ANOTHER: u32 = 64_302;
const ROUNDS: usize = 20;
const OF_A_KIND: usize = 3;

pub async fn run(objects: &Objects, results: &mut Results) -> anyhow::Result<()> {
    let policy = format!(
        "[files]\nusers = [0, {USER}]\n[[grants]]\nname = \"tracing\"\nusers = [{USER}]\nallow = [\"load\", \"attach\"]\n\
         scope = \"cgroup\"\n"
    );
    let daemon = Daemon::start_with(CONFIG, &policy)?;
    let bench = Bench::new(daemon, objects)?;
    for (function, at) in [("probed", ""), ("lone_return", ", at a lone return")] {
        at_function(&bench, function, at, results)?;
    }
    Ok(())
}

fn at_function(bench: &Bench, function: &str, at: &str, results: &mut Results) -> anyhow::Result<()> {
    // The first program at an attach point pays for cold caches, so each kind is once at each position.
    let mut programs = Vec::new();
    for place in 0..OF_A_KIND * 2 {
        let is_guarded = (place + place / 2) % 2 == 1;
        programs.push((usize::from(is_guarded), bench.attached(is_guarded, function)?));
    }
    for (what, user, group) in [
        ("the user's task in the grant's cgroup", USER, Some(&bench.group)),
        ("the user's task in another cgroup", USER, None),
        ("another user's task", ANOTHER, None),
    ] {
        let mut process = bench.process(user)?;
        if let Some(Group(group)) = group {
            fs::write(group.join("cgroup.procs"), process.pid.to_string())?;
        }
        let mut more = Vec::new();
        for _ in 0..ROUNDS {
            let before = counts(&programs)?;
            process.call(CALLS)?;
            let after = counts(&programs)?;
            let mut sums = [0.0; 2];
            for ((kind, _), (before, after)) in programs.iter().zip(before.iter().zip(after)) {
                let (runs, nanoseconds) = (after.0 - before.0, after.1 - before.1);
                ensure!(runs >= CALLS, "only {runs} runs of {CALLS} were counted");
                sums[*kind] += nanoseconds as f64 / runs as f64 / OF_A_KIND as f64;
            }
            more.push(sums[1] - sums[0]);
        }
        results.add(&format!("of a user's grant: more than alone, {what}{at}"), "ns", more)?;
    }
    Ok(())
}

/// Cgroup of the grant's caller.
struct Group(PathBuf);

struct Bench {
    daemon: Daemon,
    folder: tempfile::TempDir,
    group: Group,
}

impl Bench {
    fn new(daemon: Daemon, objects: &Objects) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        fs::copy(objects.path("probed"), folder.path().join("probed.o"))?;
        fs::copy(objects.path("probed").with_extension("exe"), folder.path().join("probed"))?;
        chown(folder.path().join("probed.o"), Some(USER), Some(USER))?;
        let group = unified_hierarchy()?.join(format!("bpfman-bench-{}", std::process::id()));
        fs::create_dir(&group)?;
        Ok(Self { daemon, folder, group: Group(group) })
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn client(&self, is_users: bool, words: &[&str]) -> anyhow::Result<serde_json::Value> {
        let enter = format!("echo 0 > {}/cgroup.procs && exec \"$@\"", self.group.0.display());
        let user = USER.to_string();
        // Folders above the socket may be root's alone.
        let as_user = ["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"];
        let search = ["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override", "--"];
        let mut command = Command::new("sh");
        match is_users {
            true => command.args(["-c", &enter, "sh"]).args(as_user).args(search),
            false => command.args(["-c", "exec \"$@\"", "sh"]),
        };
        command.arg(binary("bpfman")?).arg("--socket-path").arg(self.daemon.socket()).args(words);
        let output = command.output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "bpfman {words:?}: {stderr}");
        Ok(serde_json::from_slice(&output.stdout).unwrap_or_default())
    }

    fn attached(&self, is_users: bool, function: &str) -> anyhow::Result<u32> {
        let object = self.path("probed.o");
        let load = ["load", "file", "-p", &object, "--programs", "uprobe:on_probed", "-o", "json"];
        let loaded = self.client(is_users, &load)?;
        let id = loaded["programs"][0]["program_id"].as_u64().context("no id")?;
        let (id, target) = (id.to_string(), self.path("probed"));
        self.client(is_users, &["attach", &id, "uprobe", "--target", &target, "--fn-name", function])?;
        Ok(id.parse()?)
    }

    fn process(&self, user: u32) -> anyhow::Result<Probed> {
        let user = user.to_string();
        let mut command = Command::new("setpriv");
        // setpriv keeps capabilities until it executes a program: only the program after `env` has none.
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "--", "env"]);
        Probed::start(command.arg(Path::new(&self.path("probed"))))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _busy = fs::remove_dir(&self.0);
    }
}
