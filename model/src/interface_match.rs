//! Selection of interfaces for an attachment, present and future.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{BadGlob, Glob, IfIndex, InterfaceFacts, NetnsPattern};

/// Selection of interfaces, by name or index, in one or more network namespaces.
///
/// An interface is selected if a name or an index matches and no exception does. The name `*` alone selects interfaces
/// only once they are up, including the loopback; every other selection applies as soon as the interface exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceMatch {
    names: Vec<Glob>,
    except: Vec<Glob>,
    indexes: Vec<IfIndex>,
    netns: Vec<NetnsPattern>,
}

/// Invalid selection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadMatch {
    /// Invalid pattern of interfaces.
    #[error("interface {0}")]
    Name(#[from] BadGlob),
    /// Invalid pattern of namespaces.
    #[error("network namespace {0}")]
    Netns(BadGlob),
    /// Selection that can never match.
    #[error("the interface match names no interface, neither by name nor by index")]
    Empty,
    /// Exception that excludes everything that a name selects.
    #[error(
        "the interface match contradicts itself: \"{name}\" is to match, and the exception \"{except}\" takes it out again"
    )]
    Contradiction {
        /// Name or pattern.
        name: String,
        /// Exception that excludes it.
        except: String,
    },
    /// Too many entries in a list.
    #[error("the interface match has {count} {what}; the most is {limit}")]
    TooMany {
        /// Kind of the entries.
        what: &'static str,
        /// Number of entries.
        count: usize,
        /// Maximum number of entries.
        limit: usize,
    },
    /// Index 0, which no interface has.
    #[error("interface index 0 is no interface")]
    NoIndex,
}

const MAX_PATTERNS: usize = 256;

impl InterfaceMatch {
    /// Parses a selection.
    pub fn parse<'a>(
        names: impl IntoIterator<Item = &'a str>,
        except: impl IntoIterator<Item = &'a str>,
        indexes: impl IntoIterator<Item = u32>,
        netns: impl IntoIterator<Item = &'a Path>,
    ) -> Result<Self, BadMatch> {
        let globs = |texts: Vec<&str>| texts.into_iter().map(Glob::parse).collect::<Result<Vec<_>, _>>();
        let chosen = Self {
            names: globs(names.into_iter().collect())?,
            except: globs(except.into_iter().collect())?,
            indexes: indexes.into_iter().map(IfIndex).collect(),
            netns: netns.into_iter().map(NetnsPattern::parse).collect::<Result<_, _>>()?,
        };
        let counts = [
            ("names", chosen.names.len()),
            ("exceptions", chosen.except.len()),
            ("indexes", chosen.indexes.len()),
            ("network namespaces", chosen.netns.len()),
        ];
        if let Some((what, count)) = counts.into_iter().find(|(_, count)| *count > MAX_PATTERNS) {
            return Err(BadMatch::TooMany { what, count, limit: MAX_PATTERNS });
        }
        if chosen.names.is_empty() && chosen.indexes.is_empty() {
            return Err(BadMatch::Empty);
        }
        if chosen.indexes.contains(&IfIndex(0)) {
            return Err(BadMatch::NoIndex);
        }
        chosen.refuse_contradiction()?;
        Ok(chosen)
    }

    fn refuse_contradiction(&self) -> Result<(), BadMatch> {
        let index = self.indexes.first().map(|index| format!("index {index}"));
        let all = self.except.iter().find(|except| except.takes_all());
        for name in self.names.iter().map(|name| name.as_str().to_owned()).chain(index) {
            if let Some(except) = all {
                return Err(BadMatch::Contradiction { name, except: except.to_string() });
            }
        }
        for name in &self.names {
            let literal = name.literal();
            let takes_it_all = |except: &&Glob| {
                except.as_str() == name.as_str()
                    || literal.as_deref().is_some_and(|literal| except.matches(literal))
            };
            if let Some(except) = self.except.iter().find(takes_it_all) {
                let (name, except) = (name.to_string(), except.to_string());
                return Err(BadMatch::Contradiction { name, except });
            }
        }
        Ok(())
    }

    /// Returns whether an interface is selected, by any of its names; an exception counts for each of them.
    #[must_use]
    pub fn chooses(&self, interface: &InterfaceFacts) -> bool {
        self.chooses_at(interface, interface.up)
    }

    fn chooses_at(&self, interface: &InterfaceFacts, up: bool) -> bool {
        let by_name =
            |glob: &Glob| interface.names().any(|name| glob.matches(name)) && (up || !glob.takes_all());
        (self.indexes.contains(&interface.ifindex) || self.names.iter().any(by_name))
            && !interface.names().any(|name| self.excludes(name))
    }

    /// Returns whether an interface that was selected still is: switching it off does not deselect it.
    #[must_use]
    pub fn keeps(&self, interface: &InterfaceFacts) -> bool {
        self.chooses_at(interface, true)
    }

    fn excludes(&self, name: &str) -> bool {
        self.except.iter().any(|except| except.matches(name))
    }

    /// Returns names and patterns.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(Glob::as_str)
    }

    /// Returns the exceptions.
    pub fn except(&self) -> impl Iterator<Item = &str> {
        self.except.iter().map(Glob::as_str)
    }

    /// Returns the indexes.
    #[must_use]
    pub fn indexes(&self) -> &[IfIndex] {
        &self.indexes
    }

    /// Returns the patterns of names.
    #[must_use]
    pub fn patterns(&self) -> &[Glob] {
        &self.names
    }

    /// Returns the namespaces; empty for the daemon's own.
    #[must_use]
    pub fn netns(&self) -> &[NetnsPattern] {
        &self.netns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(
        names: &[&str],
        except: &[&str],
        indexes: &[u32],
        netns: &[&str],
    ) -> Result<InterfaceMatch, BadMatch> {
        InterfaceMatch::parse(
            names.iter().copied(),
            except.iter().copied(),
            indexes.iter().copied(),
            netns.iter().map(Path::new),
        )
    }

    fn interface(name: &str, index: u32, up: bool) -> InterfaceFacts {
        let other_names = Vec::new();
        InterfaceFacts { name: name.to_owned(), other_names, ifindex: IfIndex(index), up, kind: None }
    }

    #[test]
    fn alternative_names_count_for_patterns_and_exceptions() {
        let chosen = parse(&["uplink-*"], &["spare-*"], &[], &[]).unwrap();
        let with = |others: &[&str]| {
            let other_names = others.iter().map(|name| (*name).to_owned()).collect();
            InterfaceFacts { other_names, ..interface("enp3s0", 3, false) }
        };
        assert!(!chosen.chooses(&with(&["lan"])));
        assert!(chosen.chooses(&with(&["lan", "uplink-of-the-second-rack"])));
        assert!(!chosen.keeps(&with(&["uplink-1", "spare-1"])));
    }

    #[test]
    fn interfaces_are_chosen_by_name_or_index_unless_excepted() {
        let chosen = parse(&["eth*", "wan"], &["eth1*"], &[7], &[]).unwrap();
        for (name, index, wanted) in
            [("eth0", 1, true), ("wan", 2, true), ("eth10", 3, false), ("lo", 4, false), ("odd", 7, true)]
        {
            assert_eq!(chosen.chooses(&interface(name, index, false)), wanted, "{name}");
        }
        assert!(!chosen.chooses(&interface("eth1", 7, true)), "an exception is stronger than an index");
    }

    #[test]
    fn a_star_waits_until_an_interface_is_up_and_then_keeps_it() {
        let all = parse(&["*"], &["lo"], &[], &[]).unwrap();
        assert!(!all.chooses(&interface("eth0", 2, false)));
        assert!(all.chooses(&interface("eth0", 2, true)));
        assert!(all.keeps(&interface("eth0", 2, false)));
        assert!(!all.chooses(&interface("lo", 1, true)));
    }

    #[test]
    fn choices_that_contradict_themselves_are_refused() {
        for (names, except) in [
            (&["eth0"][..], &["eth*"][..]),
            (&["eth*"], &["eth*"]),
            (&["wan", "eth0"], &["eth0"]),
            (&["eth*"], &["*"]),
        ] {
            let error = parse(names, except, &[], &[]).unwrap_err();
            assert!(matches!(error, BadMatch::Contradiction { .. }), "{error}");
        }
        assert!(matches!(parse(&[], &["*"], &[3], &[]), Err(BadMatch::Contradiction { .. })));
        parse(&["eth*"], &["eth0"], &[], &[]).unwrap();
    }

    #[test]
    fn malformed_choices_are_refused() {
        assert_eq!(parse(&[], &["lo"], &[], &[]), Err(BadMatch::Empty));
        assert_eq!(parse(&[], &[], &[0], &[]), Err(BadMatch::NoIndex));
        assert!(matches!(parse(&["eth["], &[], &[], &[]), Err(BadMatch::Name(_))));
        let many = vec!["a"; 257];
        assert!(matches!(parse(&many, &[], &[], &[]), Err(BadMatch::TooMany { .. })));
        for path in [
            "netns/a",
            "/",
            "/run/*/a",
            "/run/netns/../x",
            "/proc/12/ns/net",
            "/proc/*/ns/net",
            "/run/netns/[a",
        ] {
            let error = parse(&["eth0"], &[], &[], &[path]).unwrap_err();
            assert!(matches!(error, BadMatch::Netns(_)) && error.to_string().contains(path), "{error}");
        }
    }
}
