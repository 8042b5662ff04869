//! Settings of the CSI node plugin. Flags override environment variables, which override the table `[csi]`.

use std::path::{Path, PathBuf};

use anyhow::bail;
use bpfman_proto::MapAccess;
use bpfmand_csi::UnexportedMaps;
use serde::Deserialize;

use crate::arguments::DaemonArguments;

/// Maximum length of a node id that a kubelet accepts, in bytes.
const MAX_NODE: usize = 256;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct CsiTable {
    enabled: bool,
    node_name: Option<String>,
    registration_dir: Option<PathBuf>,
    kubelet_socket: Option<PathBuf>,
    unexported_maps: Unexported,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unexported {
    #[default]
    Refuse,
    Read,
    Write,
}

impl From<Unexported> for UnexportedMaps {
    fn from(word: Unexported) -> Self {
        match word {
            Unexported::Refuse => Self::Refuse,
            Unexported::Read => Self::Give(MapAccess::Read),
            Unexported::Write => Self::Give(MapAccess::Write),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsiSettings {
    pub node_id: String,
    pub socket: PathBuf,
    pub volumes: PathBuf,
    pub registration: Option<PathBuf>,
    /// Path of the socket as the kubelet sees it.
    pub kubelet_socket: PathBuf,
    pub unexported: UnexportedMaps,
}

impl CsiSettings {
    /// Returns the kubelet's folder of pods, which is next to its folder of plugins, with symbolic links resolved.
    #[must_use]
    pub fn pods(&self) -> PathBuf {
        let kubelet = self.registration.as_deref().and_then(Path::parent);
        let kubelet = kubelet.unwrap_or(Path::new("/var/lib/kubelet"));
        std::fs::canonicalize(kubelet).unwrap_or_else(|_| kubelet.to_owned()).join("pods")
    }

    pub fn merge(
        arguments: &DaemonArguments,
        table: CsiTable,
        runtime: &Path,
    ) -> anyhow::Result<Option<Self>> {
        let registration = arguments.csi_registration_dir.clone().or(table.registration_dir);
        let kubelet_socket = arguments.csi_kubelet_socket.clone().or(table.kubelet_socket);
        for (name, path) in [("registration_dir", &registration), ("kubelet_socket", &kubelet_socket)] {
            if let Some(path) = path.as_ref().filter(|path| !path.is_absolute()) {
                bail!("csi.{name} \"{}\" is not an absolute path", path.display());
            }
        }
        if !arguments.csi_support && !table.enabled {
            if let Some(folder) = registration {
                bail!(
                    "the CSI driver is to be registered in {}, but it is off: add --csi-support, or csi.enabled = true in the configuration",
                    folder.display()
                );
            }
            return Ok(None);
        }
        let Some(node_id) = arguments.node_name.clone().or(table.node_name).filter(|name| !name.is_empty())
        else {
            bail!(
                "the CSI driver has to know how the cluster calls this node: set KUBE_NODE_NAME (in a pod: from the field spec.nodeName), --node-name, or csi.node_name in the configuration"
            );
        };
        if node_id.len() > MAX_NODE || node_id.chars().any(|c| c.is_whitespace() || c.is_control()) {
            bail!("node name \"{}\" is not the name of a node", node_id.escape_debug());
        }
        let folder = runtime.join("csi");
        let socket = folder.join("csi.sock");
        let kubelet_socket = kubelet_socket.unwrap_or_else(|| socket.clone());
        let unexported = table.unexported_maps.into();
        let volumes = folder.join("fs");
        Ok(Some(Self { node_id, socket, volumes, registration, kubelet_socket, unexported }))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn merge(words: &[&str], table: &str) -> anyhow::Result<Option<CsiSettings>> {
        let arguments = DaemonArguments::parse_from(std::iter::once("bpfmand").chain(words.iter().copied()));
        CsiSettings::merge(&arguments, toml::from_str(table).unwrap(), Path::new("/run/bpfman"))
    }

    #[test]
    fn the_plugin_is_served_where_flag_or_file_ask_for_it() {
        assert_eq!(merge(&[], "").unwrap(), None);
        assert_eq!(merge(&["--node-name", "n"], "").unwrap(), None);
        let settings = merge(&["--csi-support", "--node-name", "n"], "node_name = \"m\"").unwrap().unwrap();
        assert_eq!(settings.node_id, "n");
        assert_eq!(settings.socket, Path::new("/run/bpfman/csi/csi.sock"));
        assert_eq!(settings.kubelet_socket, settings.socket);
        assert_eq!(settings.volumes, Path::new("/run/bpfman/csi/fs"));
        assert_eq!(settings.registration, None);
        let table =
            "enabled = true\nnode_name = \"m\"\nregistration_dir = \"/r\"\nkubelet_socket = \"/k/csi.sock\"";
        let settings = merge(&[], table).unwrap().unwrap();
        assert_eq!(settings.node_id, "m");
        assert_eq!(settings.registration.as_deref(), Some(Path::new("/r")));
        assert_eq!(settings.kubelet_socket, Path::new("/k/csi.sock"));
    }

    #[test]
    fn a_mistake_is_named_with_what_to_do() {
        for (words, table, says) in [
            (&["--csi-support"][..], "", "KUBE_NODE_NAME"),
            (&["--csi-support"], "node_name = \"\"", "KUBE_NODE_NAME"),
            (&["--csi-support", "--node-name", "a b"], "", "\"a b\""),
            (&["--csi-registration-dir", "/r"], "", "--csi-support"),
            (&[], "enabled = true\nnode_name = \"n\"\nkubelet_socket = \"csi.sock\"", "csi.kubelet_socket"),
        ] {
            let error = merge(words, table).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
