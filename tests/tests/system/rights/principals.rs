//! Callers of each kind, and the policy that gives them their rights.

use super::table::{Class, Foreign, Row};

pub const IMAGES: &str = "[[images]]\npattern = \"127.0.0.1:1/*\"\nunsigned = true\n";

const VERBS: &str =
    r#"["read", "load", "attach", "replace", "trace", "settings", "maps-read", "maps-write"]"#;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Principal {
    Root,
    ClusterApplication,
    NamespaceApplication,
    User,
    Scoped,
    Stranger,
    /// Caller in a pod that has no grant.
    Pod,
    GrantedPod,
    Agent,
}

impl Principal {
    pub const ALL: [Self; 9] = [
        Self::Root,
        Self::ClusterApplication,
        Self::NamespaceApplication,
        Self::User,
        Self::Scoped,
        Self::Stranger,
        Self::Pod,
        Self::GrantedPod,
        Self::Agent,
    ];

    pub const fn user(self) -> u32 {
        match self {
            Self::Root => 0,
            other => 64_240 + other as u32,
        }
    }

    /// Uid of the pod in whose cgroup the caller is.
    pub fn pod(self) -> Option<String> {
        let number = match self {
            Self::Pod => 1,
            Self::GrantedPod => 2,
            _ => return None,
        };
        Some(format!("0a1b2c3d-4e5f-6071-829{number}-{:012x}", std::process::id()))
    }

    pub const fn claim(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::ClusterApplication => Some(("", "wall")),
            Self::NamespaceApplication => Some(("shop", "web")),
            _ => None,
        }
    }

    pub const fn owner(self) -> Option<&'static str> {
        match self {
            Self::Root => Some("root"),
            Self::ClusterApplication => Some("application:wall"),
            Self::NamespaceApplication => Some("application:shop/web"),
            Self::User => Some("grant:user"),
            Self::Scoped => Some("grant:scoped"),
            Self::GrantedPod => Some("grant:pod"),
            Self::Agent => Some("grant:node-agent"),
            Self::Stranger | Self::Pod => None,
        }
    }

    pub fn pairs() -> impl Iterator<Item = (Self, Self)> {
        let owners = Self::ALL.into_iter().filter(|one| one.owner().is_some());
        owners
            .flat_map(|other| Self::ALL.map(|caller| (caller, other)))
            .filter(|(caller, other)| caller != other)
    }

    const fn is_application(self) -> bool {
        self.claim().is_some()
    }

    pub fn may_on_others(self, row: &Row, foreign: Foreign, other: Self, agents_verbs: &[String]) -> bool {
        self.may(row, agents_verbs)
            && match (self, row.rule(foreign.class())) {
                (Self::Root, _) | (_, "" | "shown" | "concerned" | "carried") => true,
                (Self::Agent, "covered") if foreign == Foreign::Bytecode => {
                    row.rule(Class::Program) != "covered" || row.call.ends_with("/DryRun")
                }
                (Self::Agent, "covered")
                    if matches!(foreign, Foreign::Program | Foreign::Map)
                        && row.rule(Class::Application) == "covered" =>
                {
                    foreign == Foreign::Program
                        && row.call.ends_with("/ReplaceLoad")
                        && other.is_application()
                }
                // All owners have members at this hook.
                (Self::Agent, "covered") if foreign == Foreign::Hook => false,
                // Root has members at the hook that stands for hooks of others in this test.
                (Self::Agent, "covered") if foreign == Foreign::Interface => {
                    row.rule(Class::Hook) != "covered" || row.rule(Class::Program) == "covered"
                }
                // The agent has no patterns, and no right over objects of root and of grants.
                (Self::Agent, "covered") => {
                    !matches!(foreign, Foreign::Link | Foreign::Program | Foreign::Map)
                        || other.is_application()
                }
                (_, "covered" | "root") => false,
                (_, rule) => panic!("\"{rule}\" is no rule of a cell: say here who has the right"),
            }
    }

    pub fn may(self, row: &Row, agents_verbs: &[String]) -> bool {
        let needs_root = row.needs("administer") || row.needs("radar");
        match self {
            Self::Root => true,
            Self::Stranger | Self::Pod => row.verbs.is_empty() || row.needs("read"),
            Self::Agent => row.is_allowed_by(agents_verbs),
            _ => !needs_root,
        }
    }
}

pub fn policy(folder: &str) -> String {
    let pod = format!("pods = [{:?}]\n", Principal::GrantedPod.pod().unwrap());
    let mut text = format!("{IMAGES}[files]\nusers = {:?}\n", Principal::ALL.map(Principal::user));
    for principal in Principal::ALL {
        let user = principal.user();
        let (name, more) = match principal {
            Principal::ClusterApplication => ("wall", "applications = [\"wall\"]\n"),
            Principal::NamespaceApplication => ("web", "applications = [\"shop/web\"]\n"),
            Principal::User => ("user", ""),
            Principal::Scoped => ("scoped", "scope = \"cgroup\"\n"),
            Principal::GrantedPod => ("pod", pod.as_str()),
            Principal::Root | Principal::Stranger | Principal::Pod | Principal::Agent => continue,
        };
        text += &grant(folder, name, user, more);
    }
    text
}

pub fn grant(folder: &str, name: &str, user: u32, more: &str) -> String {
    use super::things::SHARED;
    // Programs that a command loads itself have no guard.
    let raw = if more.contains("scope") { "" } else { ", \"raw\"" };
    let users = if more.contains("pods") { String::new() } else { format!("users = [{user}]\n") };
    format!(
        "[[grants]]\nname = \"{name}\"\n{users}allow = {VERBS}\ntypes = [\"xdp\", \"freplace\"]\n\
         hooks = [\"xdp:{SHARED}\", \"xdp:own*\"]\ntargets = [\"freplace:*\"]\npriorities = \"0-900\"\n\
         files = [\"{folder}{user}.o\"]\nimages = [\"127.0.0.1:1/own/*\"]\n{more}\
         [[grants]]\nname = \"{name}-adopts\"\n{users}allow = [\"adopt\"{raw}]\npriorities = \"0-900\"\n{more}"
    )
}
