//! `bpfman policy`: the policy of this machine.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Policy commands.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Show every mistake of a policy file, or what it allows. No daemon is needed.
    Check(CheckPolicy),
    /// Show the rules and grants in force. No daemon is needed.
    Show,
    /// Allow images or a user: show the lines, ask, and write them to the policy. For root; no daemon is needed.
    Allow(Box<AllowPolicy>),
}

/// `bpfman policy check`.
#[derive(Args, Debug)]
pub struct CheckPolicy {
    /// The file, such as a draft [default: the daemon's, /etc/bpfman/policy.toml]
    pub file: Option<PathBuf>,
}

/// `bpfman policy allow`.
#[derive(Args, Debug)]
pub struct AllowPolicy {
    /// Images, as REGISTRY/REPOSITORY with * for any characters, or a user by name or number
    pub subject: String,
    /// Verbs that the user may use, such as load,attach (`bpfman auth can-i --help` lists them)
    #[arg(value_delimiter = ',')]
    pub verbs: Vec<String>,
    /// Require a signature by this public key; if the flag is repeated, one of the keys is enough
    #[arg(long, value_name = "FILE", conflicts_with_all = ["identity", "unsigned"])]
    pub key: Vec<PathBuf>,
    /// Require a signature by this subject, with a certificate of this issuer
    #[arg(long, num_args = 2, value_names = ["ISSUER", "SUBJECT"], conflicts_with = "unsigned")]
    pub identity: Vec<String>,
    /// Require no signature
    #[arg(long)]
    pub unsigned: bool,
    /// Limits of the user's grant
    #[command(flatten)]
    pub grant: GrantOptions,
    /// Write without asking
    #[arg(short, long, conflicts_with = "dry_run")]
    pub yes: bool,
    /// Show the lines, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The policy
    #[arg(long, env = "BPFMAN_POLICY", value_name = "FILE", default_value = "/etc/bpfman/policy.toml")]
    pub policy: PathBuf,
}

/// Keys of a grant, each as docs/access.md has it.
#[derive(Args, Debug)]
#[command(next_help_heading = "Limits of a user's grant")]
pub struct GrantOptions {
    /// Images that the user may load, as patterns
    #[arg(long, value_name = "PATTERN")]
    pub images: Vec<String>,
    /// Object files that the user may load, as patterns of absolute paths
    #[arg(long, value_name = "PATTERN")]
    pub files: Vec<String>,
    /// Types of programs
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    pub types: Vec<String>,
    /// Hooks, such as xdp:eth0 or 'tc:*:ingress'
    #[arg(long, value_name = "HOOK")]
    pub hooks: Vec<String>,
    /// Other attach points, such as 'kprobe:tcp_*'
    #[arg(long, value_name = "TARGET")]
    pub targets: Vec<String>,
    /// Network namespaces: own, any, or patterns of files
    #[arg(long, value_name = "NETNS")]
    pub netns: Vec<String>,
    /// Applications whose programs the user may load and change, as NAMESPACE/NAME
    #[arg(long, value_name = "PATTERN")]
    pub applications: Vec<String>,
    /// Programs that the user may change: own, or all
    #[arg(long, value_name = "OWNER")]
    pub over: Option<String>,
    /// Tasks for which programs run: cgroup (only those of the caller's cgroup), or machine (all)
    #[arg(long, value_name = "SCOPE")]
    pub scope: Option<String>,
}

impl GrantOptions {
    /// Returns the keys that were given, with their values.
    pub fn lists(&self) -> impl Iterator<Item = (&'static str, &[String])> {
        let lists: [(&str, &[String]); 7] = [
            ("images", &self.images),
            ("files", &self.files),
            ("types", &self.types),
            ("hooks", &self.hooks),
            ("targets", &self.targets),
            ("netns", &self.netns),
            ("applications", &self.applications),
        ];
        lists.into_iter().filter(|(_, values)| !values.is_empty())
    }

    /// Returns the keys with one value that were given.
    pub fn words(&self) -> impl Iterator<Item = (&'static str, &str)> {
        [("over", &self.over), ("scope", &self.scope)]
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.as_deref()?)))
    }
}
