//! Tables `[access]` and `[[grants]]` of `policy.toml`.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::path::{Component, PathBuf};
use std::str::FromStr;

use bpfman_model::{CpuLimit, Glob, TaskScope, TenantRules};
use bpfmand_policy_text::{PolicyTables, ReadTable, TextDefects};
use serde::Deserialize;
use toml::Spanned;

use crate::grant::{GrantCallers, NetnsRule, canonical_pod};
use crate::{AccessPolicy, AccessVerb, BadPattern, Grant, GrantError, GrantLimits, SocketGroup};

/// Maximum length of a grant's name, in bytes: every record of an object made by the grant contains it.
pub(crate) const MAX_NAME: usize = 63;

/// Lookup of the ids of users and groups.
pub trait AccountNames {
    fn user(&self, name: &str) -> Option<u32>;
    fn group(&self, name: &str) -> Option<u32>;
    /// Returns whether a name without an id is accepted and matches no caller: true for a text that was
    /// accepted while the account existed. Its old id may belong to another account by now.
    fn may_have_gone(&self) -> bool {
        false
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessTable {
    #[serde(default)]
    socket_group: SocketGroup,
}

type Text = Spanned<String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrantTable {
    name: Text,
    #[serde(default)]
    users: Vec<Spanned<NameOrNumber>>,
    #[serde(default)]
    groups: Vec<Spanned<NameOrNumber>>,
    #[serde(default)]
    units: BTreeSet<String>,
    #[serde(default)]
    pods: BTreeSet<String>,
    allow: Vec<Text>,
    images: Option<Vec<Text>>,
    files: Option<Vec<Text>>,
    types: Option<Vec<Text>>,
    hooks: Option<Vec<Text>>,
    targets: Option<Vec<Text>>,
    netns: Option<Spanned<Vec<Text>>>,
    priorities: Option<Text>,
    #[serde(default)]
    applications: Vec<Text>,
    #[serde(default)]
    over: Over,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    scope: Scope,
    #[serde(default)]
    helpers: Vec<Text>,
    executables: Option<Spanned<Vec<Text>>>,
    programs: Option<Text>,
    keep: Option<Spanned<bool>>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a name or a number")]
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
    map_memory: Option<Text>,
    verified_instructions: Option<u64>,
    calls: Option<Spanned<u64>>,
    cpu: Option<Text>,
    over_cpu: Option<Text>,
}

impl AccessPolicy {
    /// Parses the tables. Those of the image policy are ignored.
    pub fn parse(text: &str, names: &dyn AccountNames) -> Result<Self, TextDefects> {
        let mut tables = PolicyTables::parse(text);
        let access: Option<ReadTable<AccessTable>> = tables.take("access");
        let mut policy = Self {
            grants: Vec::new(),
            socket_group: access.map(|access| access.value.socket_group).unwrap_or_default(),
        };
        for table in tables.take_each("grants") {
            let mut reading = GrantReading::of(&table, &mut tables, names);
            let name = table.value.name.get_ref().clone();
            if policy.grants.iter().any(|other| other.name == name) {
                reading.found(table.at, GrantError::SecondOfItsName);
            }
            let grant = reading.grant(table);
            policy.grants.push(grant);
        }
        tables.finish().map(|()| policy)
    }
}

struct GrantReading<'r, 't> {
    name: String,
    tables: &'r mut PolicyTables<'t>,
    names: &'r dyn AccountNames,
}

impl<'r, 't> GrantReading<'r, 't> {
    fn of(
        table: &ReadTable<GrantTable>,
        tables: &'r mut PolicyTables<'t>,
        names: &'r dyn AccountNames,
    ) -> Self {
        Self { name: table.value.name.get_ref().clone(), tables, names }
    }

    fn found(&mut self, at: usize, why: GrantError) {
        let name: String = self.name.chars().take(MAX_NAME).flat_map(char::escape_debug).collect();
        self.tables.found(at, format!("grant \"{name}\": {why}"));
    }

    fn good<T>(&mut self, at: usize, result: Result<T, impl Into<GrantError>>) -> Option<T> {
        result.map_err(|why| self.found(at, why.into())).ok()
    }

    fn grant(&mut self, ReadTable { value: table, at, whole }: ReadTable<GrantTable>) -> Grant {
        let name_at = table.name.span().start;
        let name = table.name.into_inner();
        let is_name = !name.is_empty()
            && name.len() <= MAX_NAME
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !is_name {
            self.found(name_at, GrantError::Name);
        }
        let names_callers = !(table.users.is_empty()
            && table.groups.is_empty()
            && table.units.is_empty()
            && table.pods.is_empty());
        if whole && !names_callers {
            self.found(at, GrantError::Nobody);
        }
        let names = self.names;
        let callers = GrantCallers {
            beside_daemon: false,
            users: self.numbers("user", table.users, |name| names.user(name)),
            groups: self.numbers("group", table.groups, |name| names.group(name)),
            units: table.units,
            pods: table.pods.iter().map(|pod| canonical_pod(pod)).collect(),
        };
        if let (Some(cpu), false) = (&table.limits.cpu, table.applications.is_empty()) {
            self.found(cpu.span().start, GrantError::CpuOfApplications);
        }
        let raw = table.allow.iter().find(|word| word.get_ref() == AccessVerb::Raw.name());
        if let (Some(raw), Scope::Cgroup) = (raw, table.scope) {
            self.found(raw.span().start, GrantError::RawWithScope);
        }
        let of_sessions = [
            ("executables", table.executables.as_ref().map(Spanned::span)),
            ("programs", table.programs.as_ref().map(Spanned::span)),
            ("keep", table.keep.as_ref().map(Spanned::span)),
            ("limits.calls", table.limits.calls.as_ref().map(Spanned::span)),
        ];
        for (key, span) in of_sessions.into_iter().filter(|_| raw.is_none()) {
            span.into_iter().for_each(|span| self.found(span.start, GrantError::KeyOfSessions(key)));
        }
        Grant {
            name,
            callers,
            verbs: self.verbs(&table.allow, at, whole),
            images: table.images.map(|texts| self.patterns("images", &texts)),
            files: table.files.map(|texts| self.globs("files", &texts)),
            types: table.types.map(|types| self.each(&types, |one| one.parse()).into_iter().collect()),
            hooks: table.hooks.map(|texts| self.patterns("hooks", &texts)),
            targets: table.targets.map(|texts| self.patterns("targets", &texts)),
            netns: table.netns.and_then(|words| self.netns(&words)),
            priorities: table
                .priorities
                .and_then(|range| self.good(range.span().start, priorities(range.get_ref()))),
            applications: self.patterns("applications", &table.applications),
            over_all: table.over == Over::All,
            limits: GrantLimits {
                programs: table.limits.programs,
                links: table.limits.links,
                map_memory: table
                    .limits
                    .map_memory
                    .and_then(|size| self.good(size.span().start, bytes(size.get_ref()))),
                verified_instructions: table.limits.verified_instructions,
                calls: table.limits.calls.map(Spanned::into_inner),
                cpu: self.cpu(table.limits.cpu, table.limits.over_cpu),
            },
            executables: table
                .executables
                .map(|digests| self.each(digests.get_ref(), digest).into_iter().collect()),
            programs: table.programs.and_then(|path| self.good(path.span().start, list(path.get_ref()))),
            keep: table.keep.is_some_and(Spanned::into_inner),
            tenant: self.tenant(table.scope, table.helpers),
        }
    }

    fn numbers(
        &mut self,
        what: &'static str,
        given: Vec<Spanned<NameOrNumber>>,
        find: impl Fn(&str) -> Option<u32>,
    ) -> BTreeSet<u32> {
        let mut numbers = BTreeSet::new();
        for one in given {
            let at = one.span().start;
            match one.into_inner() {
                NameOrNumber::Number(number) => {
                    numbers.insert(number);
                }
                NameOrNumber::Name(name) => match find(&name) {
                    Some(number) => {
                        numbers.insert(number);
                    }
                    None if self.names.may_have_gone() => {}
                    None => self.found(at, GrantError::NoAccount { what, name }),
                },
            }
        }
        numbers
    }

    fn verbs(&mut self, words: &[Text], at: usize, whole: bool) -> BTreeSet<AccessVerb> {
        let mut verbs = BTreeSet::new();
        for word in words {
            match word.get_ref().as_str() {
                // Radar is for objects of no caller, raw for unsigned bytecode: a grant has to name both.
                "all" => verbs.extend(
                    AccessVerb::GRANTABLE
                        .into_iter()
                        .filter(|verb| !matches!(verb, AccessVerb::Radar | AccessVerb::Raw)),
                ),
                name => verbs.extend(self.good(word.span().start, name.parse::<AccessVerb>())),
            }
        }
        if whole && words.is_empty() {
            self.found(at, GrantError::Nothing);
        }
        verbs
    }

    fn netns(&mut self, words: &Spanned<Vec<Text>>) -> Option<NetnsRule> {
        match &words.get_ref()[..] {
            [word] if word.get_ref() == "own" => Some(NetnsRule::Own),
            [word] if word.get_ref() == "any" => None,
            paths if paths.iter().all(|path| path.get_ref().starts_with('/')) => {
                Some(NetnsRule::Files(self.globs("netns", paths)))
            }
            _ => {
                self.found(words.span().start, GrantError::Netns);
                None
            }
        }
    }

    fn tenant(&mut self, scope: Scope, helpers: Vec<Text>) -> Option<TenantRules> {
        let is_name = |name: &str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        match (scope, helpers.first()) {
            // Programs that see the whole machine may call every helper.
            (Scope::Machine, Some(first)) => {
                self.found(first.span().start, GrantError::HelpersWithoutScope);
                None
            }
            (Scope::Machine, None) => None,
            (Scope::Cgroup, _) => {
                for helper in helpers.iter().filter(|helper| !is_name(helper.get_ref())) {
                    self.found(helper.span().start, GrantError::Helper(helper.get_ref().clone()));
                }
                let helpers = helpers.into_iter().map(Spanned::into_inner).collect();
                Some(TenantRules { scope: TaskScope::Caller, helpers })
            }
        }
    }

    fn cpu(&mut self, share: Option<Text>, over: Option<Text>) -> Option<CpuLimit> {
        let action = over.as_ref().and_then(|over| self.good(over.span().start, over.get_ref().parse()));
        match (share, over) {
            (None, None) => None,
            (None, Some(over)) => {
                self.found(over.span().start, GrantError::OverNoCpu);
                None
            }
            (Some(share), _) => {
                let at = share.span().start;
                let share = self.good(at, share.get_ref().parse())?;
                Some(CpuLimit { share, action: action.unwrap_or_default() })
            }
        }
    }

    fn globs(&mut self, key: &'static str, texts: &[Text]) -> Vec<Glob> {
        self.each(texts, |text| Glob::parse(text).map_err(|source| GrantError::Names { key, source }))
    }

    fn patterns<T: FromStr<Err = BadPattern>>(&mut self, key: &'static str, texts: &[Text]) -> Vec<T> {
        self.each(texts, |text| text.parse().map_err(|source| GrantError::Pattern { key, source }))
    }

    fn each<T, E: Into<GrantError>>(
        &mut self,
        texts: &[Text],
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        texts.iter().filter_map(|text| self.good(text.span().start, parse(text.get_ref()))).collect()
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

fn digest(text: &str) -> Result<String, GrantError> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let digits = text.strip_prefix("sha256:").filter(|hex| hex.len() == 64 && hex.bytes().all(is_digit));
    digits.map(str::to_owned).ok_or_else(|| GrantError::Digest(text.to_owned()))
}

fn list(path: &str) -> Result<PathBuf, GrantError> {
    let path = PathBuf::from(path);
    let is_plain = path.is_absolute() && path.components().all(|part| part != Component::ParentDir);
    if is_plain { Ok(path) } else { Err(GrantError::Programs(path.display().to_string())) }
}

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

#[cfg(test)]
pub(crate) mod tests;
