//! The tables `[access]` and `[[grants]]` of `policy.toml`.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::str::FromStr;

use bpfmand_core::{CpuLimit, Glob, TaskScope, TenantRules};
use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;

use crate::grant::{GrantCallers, NetnsRule, canonical_pod};
use crate::{AccessPolicy, AccessVerb, BadPattern, Grant, GrantError, GrantLimits, SocketGroup};

/// Most bytes of a grant's name: it stands in every record of what was made by it.
pub(crate) const LONGEST_NAME: usize = 63;

/// Looks up the numbers of users and groups.
pub trait AccountNames {
    /// A user's number by name.
    fn user(&self, name: &str) -> Option<u32>;
    /// A group's number by name.
    fn group(&self, name: &str) -> Option<u32>;
}

/// Tables that are not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPolicy {
    /// No TOML, or keys that do not exist.
    #[error("{0}")]
    Syntax(String),
    /// A grant.
    #[error("the grant in line {line} (\"{name}\"): {why}")]
    Grant {
        /// Where it begins.
        line: usize,
        /// Its name.
        name: String,
        /// What is wrong.
        why: GrantError,
    },
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    access: AccessTable,
    #[serde(default)]
    grants: Vec<Spanned<GrantTable>>,
    /// The other tables are the image policy's.
    #[serde(flatten)]
    _others: std::collections::BTreeMap<String, IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessTable {
    #[serde(default)]
    socket_group: SocketGroup,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantTable {
    name: String,
    #[serde(default)]
    users: Vec<NameOrNumber>,
    #[serde(default)]
    groups: Vec<NameOrNumber>,
    #[serde(default)]
    units: BTreeSet<String>,
    #[serde(default)]
    pods: BTreeSet<String>,
    allow: Vec<String>,
    images: Option<Vec<String>>,
    files: Option<Vec<String>>,
    types: Option<Vec<String>>,
    hooks: Option<Vec<String>>,
    targets: Option<Vec<String>>,
    netns: Option<Vec<String>>,
    priorities: Option<String>,
    #[serde(default)]
    applications: Vec<String>,
    #[serde(default)]
    over: Over,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    scope: Scope,
    #[serde(default)]
    helpers: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NameOrNumber {
    Number(u32),
    Name(String),
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Over {
    #[default]
    Own,
    All,
}

/// Whose tasks programs see.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scope {
    #[default]
    Machine,
    Cgroup,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsTable {
    programs: Option<u64>,
    links: Option<u64>,
    map_memory: Option<String>,
    verified_instructions: Option<u64>,
    cpu: Option<String>,
    over_cpu: Option<String>,
}

impl AccessPolicy {
    /// Reads the tables. Those of the image policy are left alone.
    ///
    /// # Errors
    /// They are not understood, or name users and groups that do not exist.
    pub fn parse(text: &str, names: &dyn AccountNames) -> Result<Self, BadPolicy> {
        let document: Document = toml::from_str(text)
            .map_err(|error| BadPolicy::Syntax(error.to_string().trim_end().to_owned()))?;
        let mut policy = Self { grants: Vec::new(), socket_group: document.access.socket_group };
        for table in document.grants {
            let start = table.span().start;
            let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
            let table = table.into_inner();
            let name = table.name.clone();
            let bad = |why| BadPolicy::Grant { line, name: name.clone(), why };
            if policy.grants.iter().any(|other| other.name == name) {
                return Err(bad(GrantError::SecondOfItsName));
            }
            policy.grants.push(grant(table, names).map_err(bad)?);
        }
        Ok(policy)
    }
}

fn grant(table: GrantTable, names: &dyn AccountNames) -> Result<Grant, GrantError> {
    let is_name = !table.name.is_empty()
        && table.name.len() <= LONGEST_NAME
        && table.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !is_name {
        return Err(GrantError::Name);
    }
    let callers = GrantCallers {
        users: numbers("user", table.users, |name| names.user(name))?,
        groups: numbers("group", table.groups, |name| names.group(name))?,
        units: table.units,
        pods: table.pods.iter().map(|pod| canonical_pod(pod)).collect(),
    };
    if callers == GrantCallers::default() {
        return Err(GrantError::Nobody);
    }
    if table.limits.cpu.is_some() && !table.applications.is_empty() {
        return Err(GrantError::CpuOfApplications);
    }
    Ok(Grant {
        name: table.name,
        callers,
        verbs: verbs(&table.allow)?,
        images: table.images.map(|texts| patterns("images", &texts)).transpose()?,
        files: table.files.map(|texts| globs("files", &texts)).transpose()?,
        types: table.types.map(|types| types.iter().map(|one| one.parse()).collect()).transpose()?,
        hooks: table.hooks.map(|texts| patterns("hooks", &texts)).transpose()?,
        targets: table.targets.map(|texts| patterns("targets", &texts)).transpose()?,
        netns: table.netns.map(|words| netns(&words)).transpose()?.flatten(),
        priorities: table.priorities.map(|range| priorities(&range)).transpose()?,
        applications: patterns("applications", &table.applications)?,
        over_all: table.over == Over::All,
        limits: GrantLimits {
            programs: table.limits.programs,
            links: table.limits.links,
            map_memory: table.limits.map_memory.map(|size| bytes(&size)).transpose()?,
            verified_instructions: table.limits.verified_instructions,
            cpu: cpu(table.limits.cpu, table.limits.over_cpu)?,
        },
        tenant: tenant(table.scope, table.helpers)?,
    })
}

fn numbers(
    what: &'static str,
    given: Vec<NameOrNumber>,
    find: impl Fn(&str) -> Option<u32>,
) -> Result<BTreeSet<u32>, GrantError> {
    let number = |one| match one {
        NameOrNumber::Number(number) => Ok(number),
        NameOrNumber::Name(name) => find(&name).ok_or(GrantError::NoAccount { what, name }),
    };
    given.into_iter().map(number).collect()
}

fn verbs(words: &[String]) -> Result<BTreeSet<AccessVerb>, GrantError> {
    let mut verbs = BTreeSet::new();
    for word in words {
        match word.as_str() {
            // What strangers do is nobody's own: a grant has to say it by its name.
            "all" => {
                verbs.extend(AccessVerb::GRANTABLE.into_iter().filter(|verb| *verb != AccessVerb::Radar))
            }
            word => {
                verbs.insert(word.parse()?);
            }
        }
    }
    if verbs.is_empty() { Err(GrantError::Nothing) } else { Ok(verbs) }
}

/// "own", "any", or paths of namespace files.
fn netns(words: &[String]) -> Result<Option<NetnsRule>, GrantError> {
    match words {
        [word] if word == "own" => Ok(Some(NetnsRule::Own)),
        [word] if word == "any" => Ok(None),
        paths if paths.iter().all(|path| path.starts_with('/')) => {
            Ok(Some(NetnsRule::Files(globs("netns", paths)?)))
        }
        _ => Err(GrantError::Netns),
    }
}

fn priorities(range: &str) -> Result<RangeInclusive<i32>, GrantError> {
    let numbers = range.split_once('-');
    let numbers = numbers.and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    match numbers {
        Some((first, last)) if first <= last => Ok(first..=last),
        _ => Err(GrantError::Priorities(range.to_owned())),
    }
}

fn tenant(scope: Scope, helpers: BTreeSet<String>) -> Result<Option<TenantRules>, GrantError> {
    let is_name = |name: &&String| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    match scope {
        // Programs that see the whole machine may call everything.
        Scope::Machine if !helpers.is_empty() => Err(GrantError::HelpersWithoutScope),
        Scope::Machine => Ok(None),
        Scope::Cgroup => match helpers.iter().find(|name| !is_name(name)) {
            Some(name) => Err(GrantError::Helper(name.clone())),
            None => Ok(Some(TenantRules { scope: TaskScope::Caller, helpers })),
        },
    }
}

fn cpu(share: Option<String>, over: Option<String>) -> Result<Option<CpuLimit>, GrantError> {
    match (share, over) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(GrantError::OverNoCpu),
        (Some(share), over) => {
            let action = over.map(|over| over.parse()).transpose()?.unwrap_or_default();
            Ok(Some(CpuLimit { share: share.parse()?, action }))
        }
    }
}

/// A size such as `64MiB`.
fn bytes(size: &str) -> Result<u64, GrantError> {
    let digits = size.find(|c: char| !c.is_ascii_digit()).unwrap_or(size.len());
    let unit = match &size[digits..] {
        "" => Some(0),
        "KiB" => Some(10),
        "MiB" => Some(20),
        "GiB" => Some(30),
        _ => None,
    };
    let number: Option<u64> = size[..digits].parse().ok();
    let bytes = number.zip(unit).and_then(|(number, unit)| number.checked_mul(1 << unit));
    bytes.ok_or_else(|| GrantError::Size(size.to_owned()))
}

fn globs(key: &'static str, texts: &[String]) -> Result<Vec<Glob>, GrantError> {
    let glob = |text: &String| Glob::parse(text).map_err(|source| GrantError::Names { key, source });
    texts.iter().map(glob).collect()
}

fn patterns<T: FromStr<Err = BadPattern>>(key: &'static str, texts: &[String]) -> Result<Vec<T>, GrantError> {
    let pattern = |text: &String| text.parse().map_err(|source| GrantError::Pattern { key, source });
    texts.iter().map(pattern).collect()
}

#[cfg(test)]
pub(crate) mod tests;
