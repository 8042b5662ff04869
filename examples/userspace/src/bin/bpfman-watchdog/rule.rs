use std::fmt;

use bpfman_examples::prefix::Prefix;
use bpfman_examples::protocol::Protocol;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::capability::Capability;

pub const MAX_RULES: usize = 64;
pub const MAX_NAME: usize = 62;
const MAX_COMM: usize = 15;
const MAX_PATH: usize = 251;
const MAX_LEVELS: usize = 8;

/// Order of `enum event_kind`, in which opening for writing is a separate kind.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    Exec,
    Open,
    Connect,
    Privileges,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Alert,
    Kill,
    Forbid,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    #[default]
    Any,
    Write,
}

#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
pub struct Comm(pub String);

/// Path of files; with a trailing slash, everything below the directory.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
pub struct PathPattern(pub String);

/// Path from the root of the hierarchy; includes all cgroups below.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
pub struct Group(pub String);

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(try_from = "String")]
pub struct Destination(pub Prefix);

#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Conditions {
    pub path: Vec<PathPattern>,
    pub comm: Vec<Comm>,
    pub parent: Vec<Comm>,
    pub uid: Vec<u32>,
    pub cgroup: Vec<Group>,
    pub to: Vec<Destination>,
    pub port: Vec<u16>,
    pub protocol: Vec<Protocol>,
    pub new_uid: Vec<u32>,
    pub gains: Vec<Capability>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    event: Event,
    #[serde(default)]
    access: Access,
    #[serde(default)]
    when: Conditions,
    #[serde(default)]
    unless: Conditions,
    action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub name: String,
    pub event: Event,
    pub access: Access,
    pub when: Conditions,
    pub unless: Conditions,
    pub action: Action,
}

impl PathPattern {
    pub fn covers(&self, other: &Self) -> bool {
        self == other || (self.0.ends_with('/') && other.0.starts_with(&self.0))
    }
}

impl Group {
    pub fn covers(&self, other: &Self) -> bool {
        other.0.strip_prefix(&self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl TryFrom<String> for Comm {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() || text.len() > MAX_COMM || text.contains('\0') {
            return Err(format!("{text:?} is no name of a task: those have 1 to {MAX_COMM} bytes"));
        }
        Ok(Self(text))
    }
}

impl TryFrom<String> for PathPattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        check_absolute(&text)?;
        if text.len() > MAX_PATH {
            return Err(format!("the path {text:?} has more than {MAX_PATH} bytes"));
        }
        Ok(Self(text))
    }
}

impl TryFrom<String> for Group {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        check_absolute(&text)?;
        let levels = text.split('/').skip(1).count();
        if text.ends_with('/') || levels > MAX_LEVELS {
            return Err(format!("the cgroup {text:?} is not 1 to {MAX_LEVELS} levels below the root"));
        }
        Ok(Self(text))
    }
}

impl TryFrom<String> for Destination {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: anyhow::Error| format!("{text:?} is no prefix: {error:#}"))
    }
}

fn check_absolute(text: &str) -> Result<(), String> {
    let dotted = text.split('/').any(|part| part == "." || part == "..");
    if !text.starts_with('/') || text.contains("//") || text.contains('\0') || dotted {
        return Err(format!("{text:?} is no absolute path without `.`, `..` and empty parts"));
    }
    Ok(())
}

impl Conditions {
    fn asked(&self) -> Vec<&'static str> {
        [
            ("path", self.path.is_empty()),
            ("comm", self.comm.is_empty()),
            ("parent", self.parent.is_empty()),
            ("uid", self.uid.is_empty()),
            ("cgroup", self.cgroup.is_empty()),
            ("to", self.to.is_empty()),
            ("port", self.port.is_empty()),
            ("protocol", self.protocol.is_empty()),
            ("new_uid", self.new_uid.is_empty()),
            ("gains", self.gains.is_empty()),
        ]
        .into_iter()
        .filter_map(|(name, empty)| (!empty).then_some(name))
        .collect()
    }
}

impl Event {
    fn has(self, condition: &str) -> bool {
        match condition {
            "path" => matches!(self, Self::Exec | Self::Open),
            "to" | "port" | "protocol" => self == Self::Connect,
            "new_uid" | "gains" => self == Self::Privileges,
            _ => true,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Open => "open",
            Self::Connect => "connect",
            Self::Privileges => "privileges",
        }
    }
}

impl TryFrom<Written> for Rule {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { name, event, access, when, unless, action } = written;
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(format!("the name {name:?} has not 1 to {MAX_NAME} bytes that can be printed"));
        }
        for condition in when.asked().into_iter().chain(unless.asked()) {
            if !event.has(condition) {
                return Err(format!("rule {name:?}: the event {} has no {condition}", event.name()));
            }
        }
        if access != Access::Any && event != Event::Open {
            return Err(format!("rule {name:?}: only the event open has access"));
        }
        if !unless.gains.is_empty() {
            return Err(format!("rule {name:?}: gains cannot be an exception"));
        }
        if action != Action::Alert && when.asked().is_empty() {
            return Err(format!(
                "rule {name:?} would meet every process of the machine: kill and forbid need a condition in `when`"
            ));
        }
        if action == Action::Forbid && event == Event::Privileges {
            return Err(format!(
                "rule {name:?}: a change of privileges can be killed for, and not forbidden"
            ));
        }
        Ok(Self { name, event, access, when, unless, action })
    }
}

/// Deserializes while the mapping is visited, so that errors of the whole rule have its line.
impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Mapping;

        impl<'de> Visitor<'de> for Mapping {
            type Value = Rule;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rule with name, event and action")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Rule, A::Error> {
                let written = Written::deserialize(MapAccessDeserializer::new(map))?;
                written.try_into().map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_map(Mapping)
    }
}
