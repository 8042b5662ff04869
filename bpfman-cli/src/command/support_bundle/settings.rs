//! Settings of the daemon that may be shown to others: only values of the keys listed here.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::collect::{self, CollectedPart};

/// Keys with values that may be shown, as paths; `*` is any one name, and list elements have no name.
#[derive(Debug)]
pub struct AllowedSettings(&'static [&'static str]);

pub static BPFMAN: AllowedSettings = AllowedSettings(&[
    "interfaces.*.xdp_mode",
    "tc.attach",
    "chains.counters",
    "chains.owner_members",
    "chains.owner_verified_insns",
    "maps.mib_of_owners",
    "maps.mib_per_load",
    "maps.mib_per_owner",
    "limits.cpu_window_seconds",
    "limits.kept_share",
    "limits.probe_share",
    "limits.probe_trap_ns",
    "watch.check_seconds",
    "kernel.without",
    "socket.group",
    "store.engine",
    "signing.verify_enabled",
    "signing.allow_unsigned",
    "images.cache_mib",
    "images.cache_days",
    "images.auth_users",
    "registries.*.plain_http",
    "registries.*.ca_file",
    "csi.enabled",
    "csi.unexported_maps",
    "csi.node_name",
    "csi.registration_dir",
    "csi.kubelet_socket",
    "kubernetes.pod_logs_dir",
    "gate.image",
    "gate.executables",
    "gate.groups",
    "gate.fail_open_seconds",
    "radar.image",
    "radar.file",
    "metrics.socket",
    "metrics.listen",
    "metrics.run_statistics",
    "cage.seccomp",
    "cage.landlock",
    "cage.helpers",
    "cage.helpers_user",
    "cage.memory_mib",
    "journal.mib",
    "journal.entries",
    "journal.sync",
    "logging.level",
    "logging.format",
]);

/// Keys of `policy.toml`. Its `keys` should be public, but are omitted in case a user put a private one there.
pub static POLICY: AllowedSettings = AllowedSettings(&[
    "mode",
    "trusted_root",
    "images.pattern",
    "images.identities.issuer",
    "images.identities.subject",
    "images.min_signatures",
    "images.increasing",
    "images.signed_as",
    "images.log",
    "images.digests",
    "images.unsigned",
    "files.users",
    "access.socket_group",
    "grants.name",
    "grants.users",
    "grants.groups",
    "grants.units",
    "grants.pods",
    "grants.allow",
    "grants.images",
    "grants.files",
    "grants.types",
    "grants.hooks",
    "grants.targets",
    "grants.netns",
    "grants.priorities",
    "grants.applications",
    "grants.over",
    "grants.limits.*",
    "grants.scope",
    "grants.helpers",
    "revoked.digests",
    "revoked.running",
]);

/// Maximum length of a value; a longer one is not shown.
const MAX_VALUE: usize = 300;
const MAX_SETTINGS: usize = 10_000;

#[derive(Debug, Default, Serialize)]
struct ShownSettings {
    file: String,
    settings: serde_json::Map<String, Value>,
    left_out: Vec<String>,
}

pub fn collect(path: &Path, allowed: &AllowedSettings) -> CollectedPart {
    let mut read = collect::of_file(path);
    let Ok(text) = std::str::from_utf8(&read.bytes) else {
        return CollectedPart::failed(format!("{} is no text", path.display()));
    };
    if read.failure.is_some() || read.cut {
        read.bytes.clear();
        return CollectedPart {
            failure: read.failure.or_else(|| Some("it is too large".to_owned())),
            ..read
        };
    }
    let table = match text.parse::<toml::Table>() {
        Ok(table) => table,
        // The parser's own message would quote the line.
        Err(error) => {
            let at = error.span().map(|span| text[..span.start.min(text.len())].lines().count());
            let at = at.map(|line| format!(" (line {line})")).unwrap_or_default();
            return CollectedPart::failed(format!("{} is no TOML{at}; it is not shown", path.display()));
        }
    };
    let mut shown = ShownSettings { file: path.display().to_string(), ..ShownSettings::default() };
    for (name, value) in &table {
        show(allowed, &mut shown, (name, name), value);
    }
    match serde_json::to_vec_pretty(&shown) {
        Ok(bytes) => CollectedPart { bytes, ..CollectedPart::default() },
        Err(error) => CollectedPart::failed(error.to_string()),
    }
}

/// Adds a value. `at` is the path with list indexes, `key` the path without them.
fn show(allowed: &AllowedSettings, shown: &mut ShownSettings, (at, key): (&str, &str), value: &toml::Value) {
    if shown.settings.len() + shown.left_out.len() >= MAX_SETTINGS {
        return;
    }
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                show(allowed, shown, (&format!("{at}.{name}"), &joined(key, name)), value);
            }
        }
        toml::Value::Array(values) if values.iter().any(|value| value.is_table() || value.is_array()) => {
            for (number, value) in values.iter().enumerate() {
                show(allowed, shown, (&format!("{at}[{number}]"), key), value);
            }
        }
        value => match plain(value).filter(|_| allowed.has(key)) {
            Some(value) => drop(shown.settings.insert(at.to_owned(), value)),
            None => shown.left_out.push(at.to_owned()),
        },
    }
}

/// Appends a name to a path. Dots in the name, such as in host names, are replaced, because a dot separates names.
fn joined(key: &str, name: &str) -> String {
    format!("{key}.{}", name.replace('.', "_"))
}

/// Returns a value as JSON; none if it looks like a secret, also under an allowed key.
fn plain(value: &toml::Value) -> Option<Value> {
    Some(match value {
        toml::Value::String(text) => Value::from(Some(text.as_str()).filter(|text| is_harmless(text))?),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(truth) => Value::from(*truth),
        toml::Value::Array(values) => Value::Array(values.iter().map(plain).collect::<Option<_>>()?),
        toml::Value::Datetime(_) | toml::Value::Table(_) => return None,
    })
}

/// Returns whether a text is neither a key nor an address with a password.
fn is_harmless(text: &str) -> bool {
    let has_user = text.contains("://") && text.contains('@');
    text.len() <= MAX_VALUE && !text.contains("-----") && !has_user && !text.chars().any(char::is_control)
}

impl AllowedSettings {
    fn has(&self, key: &str) -> bool {
        let is_it = |allowed: &&str| {
            let (mut names, mut wanted) = (key.split('.'), allowed.split('.'));
            loop {
                match (names.next(), wanted.next()) {
                    (None, None) => return true,
                    (Some(_), Some("*")) => {}
                    (Some(name), Some(wanted)) if name == wanted => {}
                    _ => return false,
                }
            }
        };
        self.0.iter().any(is_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, allowed: &AllowedSettings) -> Value {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        std::fs::write(&path, text).unwrap();
        let collected = collect(&path, allowed);
        assert_eq!(collected.failure, None);
        serde_json::from_slice(&collected.bytes).unwrap()
    }

    #[test]
    fn only_listed_settings_show_their_values() {
        let shown = shown(
            "surprise = 'hunter2'\n[store]\nengine = 'redb'\npassword = 'hunter2'\n[interfaces.eth0]\nxdp_mode = 'skb'\n\
             [registries.'ghcr.io:443']\nplain_http = true\nmirrors = ['user:hunter2@mirror']\n\
             [registries.'ghcr.io:443'.auth]\npassword = 'hunter2'\n[images]\nauth_file = '/etc/hunter2'\n\
             [journal]\nmib = 16\n[gate]\nimage = 'https://user:hunter2@host/x'\n",
            &BPFMAN,
        );
        let text = shown.to_string();
        assert!(!text.contains("hunter2"), "{text}");
        for (at, value) in [
            ("store.engine", Value::from("redb")),
            ("interfaces.eth0.xdp_mode", "skb".into()),
            ("registries.ghcr.io:443.plain_http", true.into()),
            ("journal.mib", 16.into()),
        ] {
            assert_eq!(shown["settings"][at], value, "{text}");
        }
        let left_out: Vec<&str> =
            shown["left_out"].as_array().unwrap().iter().map(|at| at.as_str().unwrap()).collect();
        for at in
            ["surprise", "store.password", "registries.ghcr.io:443.mirrors", "images.auth_file", "gate.image"]
        {
            assert!(left_out.contains(&at), "{at}: {left_out:?}");
        }
    }

    /// Names of hosts and files, which do not describe the daemon's behavior.
    const LEFT_OUT: &[&str] = &[
        "images.auth_file",
        "registries.*.mirrors",
        "registries.*.other_hosts",
        "metrics.certificate",
        "metrics.key",
        "metrics.client_ca",
    ];

    #[test]
    fn every_documented_key_is_shown_or_left_out_on_purpose() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let page = std::fs::read_to_string(page).unwrap();
        let table = page.split("\n## ").find(|part| part.starts_with("bpfman.toml")).unwrap();
        let cells = table.lines().filter_map(|line| line.strip_prefix("| `")?.split(" |").next());
        let keys: Vec<String> = cells
            .flat_map(|cell| cell.split("`, `"))
            .map(|key| key.trim_end_matches('`').replace("\"HOST[:PORT]\"", "*").replace(".NAME.", ".*."))
            .collect();
        assert!(keys.len() > 40, "{keys:?}");
        for key in keys {
            let left_out = LEFT_OUT.contains(&key.as_str());
            assert!(BPFMAN.0.contains(&key.as_str()) != left_out, "{key} is for neither or both");
        }
    }

    #[test]
    fn keys_of_a_policy_are_left_out_and_its_rules_are_shown() {
        let shown = shown(
            "mode = 'enforce'\n[[images]]\npattern = 'ghcr.io/*'\nkeys = ['-----BEGIN PUBLIC KEY-----']\n\
             identities = [{ issuer = 'https://x', subject = 'y' }]\n[[grants]]\nname = 'net'\nusers = [1000]\n\
             allow = ['read']\n[grants.limits]\nprograms = 4\n",
            &POLICY,
        );
        assert_eq!(shown["settings"]["images[0].pattern"], "ghcr.io/*");
        assert_eq!(shown["settings"]["images[0].identities[0].subject"], "y");
        assert_eq!(shown["settings"]["grants[0].users"], serde_json::json!([1000]));
        assert_eq!(shown["settings"]["grants[0].limits.programs"], 4);
        assert_eq!(shown["left_out"], serde_json::json!(["images[0].keys"]));
    }

    #[test]
    fn a_file_that_is_none_is_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        std::fs::write(&path, "mode = 'enforce'\npassword = hunter2\n").unwrap();
        let why = collect(&path, &POLICY).failure.unwrap();
        assert!(why.contains("is no TOML (line") && !why.contains("hunter2"), "{why}");
        let gone = collect(&folder.path().join("none"), &POLICY);
        assert!(gone.failure.unwrap().contains("No such file"));
    }
}
