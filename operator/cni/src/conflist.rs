//! Network configurations of the node, with and without the plugin. Pure.

use serde_json::{Map, Value, json};

use crate::PLUGIN;
use crate::network::VERSIONS;

/// Reason why a configuration is left unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConflistError {
    #[error("it is no network configuration: {0}")]
    NotDecoded(String),
    #[error("it has no plugins: bpfman-cni has to follow one that makes the network")]
    NoPlugins,
    /// Missing version, or one that the plugin does not support.
    #[error("its cniVersion is {0:?}, and bpfman-cni knows {known}: the runtime would refuse every pod", known = VERSIONS.join(", "))]
    Version(String),
}

/// Settings of the plugin's entry. `None` means the built-in default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginEntry {
    pub agent_socket: Option<String>,
    pub state_file: Option<String>,
    pub timeout_seconds: Option<u64>,
    pub exempt_namespaces: Option<Vec<String>>,
}

impl PluginEntry {
    fn value(&self) -> Value {
        let mut entry = Map::from_iter([("type".to_owned(), json!(PLUGIN))]);
        let mut put = |key: &str, value: Value| {
            if !value.is_null() {
                entry.insert(key.to_owned(), value);
            }
        };
        put("agentSocket", json!(self.agent_socket));
        put("stateFile", json!(self.state_file));
        put("timeoutSeconds", json!(self.timeout_seconds));
        put("exemptNamespaces", json!(self.exempt_namespaces));
        Value::Object(entry)
    }
}

/// Change that a configuration needs.
#[derive(Clone, Debug, PartialEq)]
pub enum ConflistChange {
    Same,
    /// New content of the list, with the plugin.
    List(Value),
    /// List that replaces a configuration of a single plugin.
    FromSingle(Value),
}

/// Returns the change that adds the plugin at the end. A listed one stays: two plugins would alternate.
pub fn with(text: &[u8], entry: &PluginEntry) -> Result<ConflistChange, ConflistError> {
    let mut value = decode(text)?;
    if let Some(version) = value["cniVersion"].as_str().filter(|version| !VERSIONS.contains(version)) {
        return Err(ConflistError::Version(version.to_owned()));
    }
    // Without a version, the runtime assumes 0.1.0, which has no chains.
    if value["cniVersion"].as_str().is_none() {
        return Err(ConflistError::Version(String::new()));
    }
    let ours = entry.value();
    let Some(plugins) = value.get_mut("plugins") else { return single(value, ours) };
    let plugins =
        plugins.as_array_mut().filter(|plugins| !plugins.is_empty()).ok_or(ConflistError::NoPlugins)?;
    if plugins.iter().all(is_ours) {
        return Err(ConflistError::NoPlugins);
    }
    match plugins.iter_mut().find(|plugin| is_ours(plugin)) {
        Some(there) if *there == ours => return Ok(ConflistChange::Same),
        Some(there) => *there = ours,
        None => plugins.push(ours),
    }
    Ok(ConflistChange::List(value))
}

fn single(mut value: Value, ours: Value) -> Result<ConflistChange, ConflistError> {
    if value["type"].as_str().is_none_or(|name| name == PLUGIN) {
        return Err(ConflistError::NoPlugins);
    }
    let mut list = Map::new();
    for key in ["cniVersion", "name"] {
        if let Some(moved) = value.as_object_mut().and_then(|fields| fields.remove(key)) {
            list.insert(key.to_owned(), moved);
        }
    }
    list.insert("plugins".to_owned(), json!([value, ours]));
    Ok(ConflistChange::FromSingle(Value::Object(list)))
}

/// Returns a configuration without the plugin, or `None` if the plugin is not in it.
pub fn without(text: &[u8]) -> Result<Option<Value>, ConflistError> {
    let mut value = decode(text)?;
    let Some(plugins) = value.get_mut("plugins").and_then(Value::as_array_mut) else { return Ok(None) };
    let before = plugins.len();
    plugins.retain(|plugin| !is_ours(plugin));
    Ok((plugins.len() < before).then_some(value))
}

fn is_ours(plugin: &Value) -> bool {
    plugin["type"] == PLUGIN
}

fn decode(text: &[u8]) -> Result<Value, ConflistError> {
    let value: Value =
        serde_json::from_slice(text).map_err(|error| ConflistError::NotDecoded(error.to_string()))?;
    match value.is_object() {
        true => Ok(value),
        false => Err(ConflistError::NotDecoded("it is JSON, but no object".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const LIST: &[u8] = br#"{"cniVersion":"0.4.0","name":"n","plugins":[{"type":"ptp","mtu":1400}]}"#;

    fn list(changed: ConflistChange) -> Value {
        match changed {
            ConflistChange::List(value) | ConflistChange::FromSingle(value) => value,
            ConflistChange::Same => panic!("it is changed"),
        }
    }

    #[test]
    fn the_plugin_comes_last_and_only_once() {
        let added = list(with(LIST, &PluginEntry::default()).unwrap());
        assert_eq!(added["plugins"], json!([{ "type": "ptp", "mtu": 1400 }, { "type": PLUGIN }]));
        let text = added.to_string();
        assert_eq!(with(text.as_bytes(), &PluginEntry::default()), Ok(ConflistChange::Same));
        let entry = PluginEntry { timeout_seconds: Some(5), ..PluginEntry::default() };
        let changed = list(with(text.as_bytes(), &entry).unwrap());
        assert_eq!(changed["plugins"][1], json!({ "type": PLUGIN, "timeoutSeconds": 5 }));
        assert_eq!(
            without(text.as_bytes()).unwrap().unwrap(),
            serde_json::from_slice::<Value>(LIST).unwrap()
        );
        assert_eq!(without(LIST), Ok(None));
    }

    #[test]
    fn entry_moved_by_an_administrator_stays() {
        let text = json!({ "cniVersion": "1.0.0", "plugins": [{ "type": "ptp" }, { "type": PLUGIN }, { "type": "x" }] });
        assert_eq!(with(text.to_string().as_bytes(), &PluginEntry::default()), Ok(ConflistChange::Same));
    }

    #[test]
    fn a_single_plugin_becomes_a_list() {
        let text = br#"{"cniVersion":"0.4.0","name":"n","type":"ptp","ipam":{"type":"host-local"}}"#;
        let Ok(ConflistChange::FromSingle(value)) = with(text, &PluginEntry::default()) else {
            panic!("it is one")
        };
        let expected = json!({ "cniVersion": "0.4.0", "name": "n", "plugins": [
            { "type": "ptp", "ipam": { "type": "host-local" } }, { "type": PLUGIN }] });
        assert_eq!(value, expected);
    }

    #[test]
    fn invalid_conflist_is_refused() {
        let fails = |text: &str| with(text.as_bytes(), &PluginEntry::default()).unwrap_err();
        assert!(matches!(fails("{"), ConflistError::NotDecoded(_)));
        assert!(matches!(fails("[]"), ConflistError::NotDecoded(_)));
        assert_eq!(fails(r#"{"cniVersion":"0.4.0","plugins":[]}"#), ConflistError::NoPlugins);
        assert_eq!(
            fails(r#"{"cniVersion":"0.4.0","plugins":[{"type":"bpfman-cni"}]}"#),
            ConflistError::NoPlugins
        );
        assert_eq!(fails(r#"{"cniVersion":"0.4.0"}"#), ConflistError::NoPlugins);
        assert_eq!(fails(r#"{"cniVersion":"9.9.9","type":"ptp"}"#), ConflistError::Version("9.9.9".into()));
        assert_eq!(fails(r#"{"type":"ptp"}"#), ConflistError::Version(String::new()));
    }
}
