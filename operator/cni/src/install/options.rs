//! Arguments of `bpfman-cni`. Parsed by hand: the plugin runs for every pod and must stay small.

use std::path::PathBuf;

use crate::conflist::PluginEntry;
use crate::{SOCKET, STATE_FILE};

pub const USAGE: &str = "\
usage: bpfman-cni install [--bin-dir DIR] [--conf-dir DIR] [--name-of-conflist NAME] [--watch]
                          [--agent-socket PATH] [--state-file PATH] [--timeout-seconds N]
                          [--exempt-namespaces NAME,NAME] [--agent-user UID]
       bpfman-cni prepare [the same, without --watch]      (once, and without a configuration that is no failure)
       bpfman-cni uninstall [--bin-dir DIR] [--conf-dir DIR]
without words, and with CNI_COMMAND set, it is a CNI plugin";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}\n{USAGE}")]
pub struct UsageError(String);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallOptions {
    pub uninstall: bool,
    /// True to prepare for the start of the agent: to install, if there is a configuration already.
    pub prepare: bool,
    /// Directory of plugins.
    pub bin_dir: PathBuf,
    /// Directory of network configurations.
    pub conf_dir: PathBuf,
    /// Name of the configuration file; `None`: the first by name.
    pub name_of_conflist: Option<String>,
    /// True to keep running, and to restore the plugin whenever it is removed.
    pub watch: bool,
    /// Settings of the plugin's entry.
    pub entry: PluginEntry,
    /// User of the agent, which gets the directories.
    pub agent_user: Option<u32>,
    pub agent_dirs: Vec<PathBuf>,
}

impl InstallOptions {
    pub fn parse(words: &[String]) -> Result<Self, UsageError> {
        let wrong = |why: String| Err(UsageError(why));
        let (uninstall, prepare) = match words.first().map(String::as_str) {
            Some("install") => (false, false),
            Some("prepare") => (false, true),
            Some("uninstall") => (true, false),
            other => return wrong(format!("{:?} is no command", other.unwrap_or_default())),
        };
        let mut options = Self {
            uninstall,
            prepare,
            bin_dir: "/opt/cni/bin".into(),
            conf_dir: "/etc/cni/net.d".into(),
            name_of_conflist: None,
            watch: false,
            entry: PluginEntry::default(),
            agent_user: None,
            agent_dirs: Vec::new(),
        };
        let mut rest = words[1..].iter();
        while let Some(word) = rest.next() {
            if word == "--watch" {
                options.watch = true;
                continue;
            }
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (word.as_str(), rest.next().cloned()),
            };
            let Some(value) = value.filter(|value| !value.is_empty()) else {
                return wrong(format!("{flag} needs a value, or is not known"));
            };
            let number =
                || value.parse::<u32>().map_err(|_| UsageError(format!("{flag} {value}: no number")));
            match flag {
                "--bin-dir" => options.bin_dir = value.into(),
                "--conf-dir" => options.conf_dir = value.into(),
                "--name-of-conflist" if !value.contains('/') => options.name_of_conflist = Some(value),
                "--agent-socket" => options.entry.agent_socket = Some(value),
                "--state-file" => options.entry.state_file = Some(value),
                "--timeout-seconds" => options.entry.timeout_seconds = Some(number()?.into()),
                "--exempt-namespaces" => {
                    let names = value.split(',').filter(|name| !name.is_empty());
                    options.entry.exempt_namespaces = Some(names.map(str::to_owned).collect());
                }
                "--agent-user" => options.agent_user = Some(number()?),
                _ => return wrong(format!("{flag} {value}: there is no such flag")),
            }
        }
        let files = [
            options.entry.agent_socket.as_deref().unwrap_or(SOCKET),
            options.entry.state_file.as_deref().unwrap_or(STATE_FILE),
        ];
        options.agent_dirs =
            files.iter().filter_map(|file| Some(PathBuf::from(file).parent()?.to_owned())).collect();
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn parse(text: &str) -> Result<InstallOptions, UsageError> {
        InstallOptions::parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn flags_are_taken_in_both_forms() {
        let options = parse("install --bin-dir /a --conf-dir=/b --watch --timeout-seconds 5").unwrap();
        assert_eq!((options.bin_dir, options.conf_dir), ("/a".into(), "/b".into()));
        assert!(options.watch && !options.uninstall);
        assert_eq!(options.entry.timeout_seconds, Some(5));
        assert_eq!(options.agent_dirs, ["/run/bpfman-agent", "/var/lib/bpfman-agent"].map(PathBuf::from));
    }

    #[test]
    fn unknown_words_are_named() {
        for (text, named) in [
            ("remove", "remove"),
            ("install --bindir /a", "--bindir"),
            ("install --bin-dir", "--bin-dir"),
            ("install --timeout-seconds soon", "soon"),
            ("install --name-of-conflist ../x", "--name-of-conflist"),
        ] {
            assert!(parse(text).unwrap_err().to_string().contains(named), "{text}");
        }
    }
}
