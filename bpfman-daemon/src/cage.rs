//! Sandbox of this process: steps in the order in which they are possible, and the report about them.

use bpfman_proto::ext::v1::CagePart;
use bpfmand_cage::{CageMode, Capabilities, Landlock};

use crate::config::Config;

pub struct Cage {
    capabilities: Capabilities,
    seccomp: CageMode,
    landlock: Option<Landlock>,
    workers_user: u32,
    /// True if the bpffs is in a mount namespace that ends with this process.
    pins_end: bool,
    /// Reason why this process stays in its own cgroup namespace; `None` if it is in the node's.
    cgroups_hidden: Option<String>,
}

impl Cage {
    /// Drops rights that no thread may have. Call it while the process has a single thread.
    pub fn begin(config: &Config) -> anyhow::Result<Self> {
        // The namespace is per thread; threads that start later inherit it.
        let cgroups_hidden = bpfmand_kernel::linux::enter_cgroup_namespace_of_node().err();
        bpfmand_cage::limit_memory(config.memory)?;
        let capabilities = bpfmand_cage::drop_capabilities()?;
        capabilities.check()?;
        Ok(Self {
            capabilities,
            pins_end: false,
            seccomp: config.seccomp,
            landlock: None,
            workers_user: config.workers_user,
            cgroups_hidden: cgroups_hidden.map(|error| error.to_string()),
        })
    }

    /// Installs the seccomp filter. Call it after everything is mounted and before any untrusted data is read.
    pub fn close(&self, config: &Config) -> anyhow::Result<()> {
        Ok(bpfmand_cage::filter_calls(self.seccomp, config.csi.is_some())?)
    }

    pub fn holds_files(&mut self, landlock: Option<Landlock>) {
        self.landlock = landlock;
    }

    pub const fn set_worker_user(&mut self, user: u32) {
        self.workers_user = user;
    }

    pub const fn pins_end_with_it(&mut self) {
        self.pins_end = true;
    }

    pub fn tell(&self) {
        for part in self.parts() {
            let (name, state) = (part.name, part.state);
            match part.weakness.as_str() {
                "" => tracing::info!("cage: {name}: {state}"),
                weakness => tracing::warn!("cage: {name}: {state}: {weakness}"),
            }
        }
    }

    pub fn parts(&self) -> Vec<CagePart> {
        let bounding = self.capabilities.bounding_stays.then(|| {
            "the bounding set stays: it takes CAP_SETPCAP, which the daemon was started without".to_owned()
        });
        let weak: Vec<String> = self.capabilities.weakness().into_iter().chain(bounding).collect();
        let mut parts = vec![
            part(
                "capabilities",
                self.capabilities.names.join(" "),
                (!weak.is_empty()).then(|| weak.join("; ")).as_deref(),
            ),
            part(
                "seccomp",
                self.seccomp.to_string(),
                match self.seccomp {
                    CageMode::On => None,
                    CageMode::Log => Some("system calls are logged and made, as [cage] in bpfman.toml sets"),
                    CageMode::Off => Some("system calls are not filtered, as [cage] in bpfman.toml sets"),
                },
            ),
            match self.landlock {
                Some(Landlock::There { version }) => part("landlock", format!("on, version {version}"), None),
                Some(Landlock::Absent(why)) => part("landlock", "absent".to_owned(), Some(why)),
                None => part(
                    "landlock",
                    "off".to_owned(),
                    Some("threads for images can write anywhere, as [cage] in bpfman.toml sets"),
                ),
            },
            match self.workers_user {
                0 => part(
                    "helpers",
                    "on, as root without capabilities".to_owned(),
                    Some(
                        "processes for images and objects have no user of their own: the daemon was started without CAP_SETUID or CAP_SETGID",
                    ),
                ),
                user => part("helpers", format!("on, user {user}"), None),
            },
        ];
        if let Some(why) = &self.cgroups_hidden {
            parts.push(part(
                "cgroups",
                "private".to_owned(),
                Some(&format!(
                    "the daemon cannot enter the node's cgroup namespace ({why}): units and pods of callers are unknown, and \
                     grants for them cover no caller; start it with CAP_SYS_ADMIN, CAP_SYS_PTRACE and the node's processes (hostPID)"
                )),
            ));
        }
        if self.pins_end {
            parts.push(part(
                "mounts",
                "private".to_owned(),
                Some(
                    "only this process sees its bpffs: all programs are detached when it ends, as --allow-private-mounts allows",
                ),
            ));
        }
        parts
    }
}

fn part(name: &str, state: String, weakness: Option<&str>) -> CagePart {
    CagePart { name: name.to_owned(), state, weakness: weakness.unwrap_or_default().to_owned() }
}
