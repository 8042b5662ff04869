//! The policy in force, from files that only root can write; read again on change. While they have a mistake,
//! the last valid policy stays in force, also after a restart; without one, only root and the node agent act.

pub mod check;
pub mod file;
mod last_good;
mod summary;
mod texts;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bpfmand_access::{AccessPolicy, AccessVerb, ApplicationPattern, Grant, GrantCallers, SocketGroup};
use bpfmand_api::{AccessSource, PolicyHealth};
use bpfmand_image::{LegacySigning, Policy};

use crate::config::{Config, POLICY};
use crate::{group, subordinate_users};
use file::{FileStamp, is_absent, read_root_file};
use last_good::{AcceptedPolicy, LastGoodCopy};
use texts::{ParsedPolicy, PolicyMistake, PolicyTexts};

const NODE_AGENT: &str = "node-agent";
const COPY_RETRY: Duration = Duration::from_secs(10);
/// Delay before files with a mistake are read again: a read error may have been temporary.
const MISTAKE_RETRY: Duration = Duration::from_secs(5);
const WRITTEN: Duration = Duration::from_secs(10);
/// Maximum number of attempts to read files that change meanwhile.
const MAX_READINGS: usize = 5;
const MAX_NAMED: usize = 8;

/// The policy, read again when one of its files changes: a revocation must not wait for a restart.
#[derive(Debug)]
pub struct PolicySource {
    file: PathBuf,
    is_required: bool,
    legacy: LegacySigning,
    node_agent: Option<u32>,
    copy: LastGoodCopy,
    state: Mutex<PolicyState>,
}

#[derive(Debug, Default)]
struct PolicyState {
    images: Arc<Policy>,
    access: Arc<AccessPolicy>,
    basis: PolicyBasis,
    good: Option<AcceptedPolicy>,
    good_before: Option<(AcceptedPolicy, Instant)>,
    again: Option<Instant>,
    copy_damage: Option<String>,
    /// Reason why the copy on disk is not of [`Self::good`], and the time of the next attempt.
    copy_failure: Option<(String, Instant)>,
    mistakes: Vec<PolicyMistake>,
    stamps: BTreeMap<PathBuf, Option<FileStamp>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum PolicyBasis {
    File,
    #[default]
    NoFile,
    LastGood,
    /// No valid policy, with the reason: only root and the node agent have access.
    Unknown(String),
}

enum ReadPolicy {
    Whole(PolicyTexts, ParsedPolicy),
    NoFile,
    Mistakes(Option<String>, Vec<PolicyMistake>),
}

pub struct ImagePolicy {
    pub rules: Arc<Policy>,
    pub unknown: Option<String>,
}

impl PolicySource {
    /// Reads the policy. Mistakes are logged and do not prevent the start.
    pub fn open(config: &Config) -> Self {
        let (file, is_required) = config.policy.clone();
        let source = Self {
            file,
            is_required,
            legacy: config.signing,
            node_agent: config.node_agent_user,
            copy: LastGoodCopy::new(&config.state),
            state: Mutex::default(),
        };
        source.begun()
    }

    /// Returns the file unless it is the one that `bpfman policy` takes by default.
    pub fn other_file(&self) -> Option<&Path> {
        Some(self.file.as_path()).filter(|file| *file != Path::new(POLICY))
    }

    fn begun(self) -> Self {
        let mut state = PolicyState::default();
        match self.copy.read(&self.file) {
            Ok(good) => state.good = good,
            Err(error) => {
                tracing::error!(%error, "the copy of the last good policy counts for nothing");
                state.copy_damage = Some(error.to_string());
            }
        }
        self.look(&mut state);
        Self { state: Mutex::new(state), ..self }
    }

    /// Returns the signature rules in force. A change of the rules changes the pointer.
    pub fn images(&self) -> ImagePolicy {
        let state = self.current();
        let unknown = match &state.basis {
            PolicyBasis::Unknown(_) => Some(self.named_mistakes(&state.mistakes)),
            _ => None,
        };
        ImagePolicy { rules: Arc::clone(&state.images), unknown }
    }

    fn current(&self) -> MutexGuard<'_, PolicyState> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = state.again.is_some_and(|again| again <= Instant::now());
        if is_due || state.stamps.iter().any(|(path, seen)| FileStamp::of(path) != *seen) {
            self.look(&mut state);
        }
        if state.copy_failure.as_ref().is_some_and(|(_, again)| *again <= Instant::now()) {
            self.write_copy(&mut state);
        }
        state
    }

    fn look(&self, state: &mut PolicyState) {
        let is_first = state.stamps.is_empty();
        let mut read = self.read(&mut state.stamps);
        for _ in 1..MAX_READINGS {
            if state.stamps.iter().all(|(path, seen)| FileStamp::of(path) == *seen) {
                break;
            }
            read = self.read(&mut state.stamps);
        }
        let before = (std::mem::take(&mut state.mistakes), state.basis.clone());
        state.again = None;
        match read {
            ReadPolicy::Whole(texts, parsed) => {
                let grants = Arc::clone(&state.access);
                let is_new = self.accept(state, texts);
                self.put_in_force(state, PolicyBasis::File, parsed);
                if !is_first && (is_new || before.1 != PolicyBasis::File || grants != state.access) {
                    tracing::info!(policy = %self.file.display(), "the policy was read again");
                }
            }
            ReadPolicy::NoFile => {
                // Remove the damaged copy: a later version that can read it would restore a policy that root removed.
                if state.copy_damage.is_some() && self.copy.remove().is_ok() {
                    state.copy_damage = None;
                }
                // Do not keep the default as the last good policy where there never was a file: root did not choose it.
                let is_removed = state.good.is_some() && self.accept(state, PolicyTexts::default());
                self.put_in_force(state, PolicyBasis::NoFile, ParsedPolicy::default());
                if is_removed || before.1 != PolicyBasis::NoFile {
                    tracing::warn!(
                        policy = %self.file.display(),
                        "the policy file was removed: the default policy is in force, no grant and no revocation holds"
                    );
                }
            }
            ReadPolicy::Mistakes(text, mistakes) => {
                state.mistakes = mistakes;
                state.again = Some(Instant::now() + MISTAKE_RETRY);
                self.take_back_unfinished(state, text.as_deref());
                self.fall_back(state);
                if before != (state.mistakes.clone(), state.basis.clone()) {
                    tracing::error!(
                        mistakes = self.named_mistakes(&state.mistakes),
                        "the policy file has mistakes: {}",
                        state.in_force()
                    );
                }
            }
        }
    }

    fn read(&self, stamps: &mut BTreeMap<PathBuf, Option<FileStamp>>) -> ReadPolicy {
        let before = std::mem::take(stamps);
        let was_there = |path: &Path| before.get(path).is_some_and(Option::is_some);
        // Take stamps before reading, so that changes in between are noticed; account files decide about users by name.
        stamps.extend(group::FILES.map(|path| (path.into(), FileStamp::of(Path::new(path)))));
        let mut read_file = |path: &Path| {
            stamps.insert(path.to_owned(), FileStamp::settled(path, was_there(path)));
            read_root_file(path)
        };
        let text = match read_file(&self.file) {
            Ok(text) => text,
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && !self.is_required && self.is_default() =>
            {
                return ReadPolicy::NoFile;
            }
            Err(error) => return ReadPolicy::Mistakes(None, vec![PolicyMistake::of_file(error)]),
        };
        let mut texts = PolicyTexts::default();
        let mut keep = |path: &Path| {
            // Read each file once, so that all rules that name it see the same text.
            if let Some(text) = texts.kept(path) {
                return Ok(text.to_owned());
            }
            let text = read_file(path)?;
            texts.keep(path, &text)?;
            Ok(text)
        };
        match ParsedPolicy::parse(&text, &mut keep) {
            Ok(parsed) => ReadPolicy::Whole(PolicyTexts { policy: Some(text), ..texts }, parsed),
            Err(mistakes) => ReadPolicy::Mistakes(Some(text), mistakes),
        }
    }

    /// Returns whether there is no policy. A folder that is missing may be mounted later, if it ever had one.
    fn is_default(&self) -> bool {
        let has_folder = self.file.parent().is_some_and(Path::exists);
        is_absent(&self.file) || !has_folder && is_absent(self.copy.path())
    }

    /// Takes back a policy that turns out to be the beginning of a slow write: an empty file is a policy.
    fn take_back_unfinished(&self, state: &mut PolicyState, text: Option<&str>) {
        let Some((before, accepted)) = state.good_before.take() else { return };
        let unfinished = state.good.as_ref().and_then(|good| good.texts.policy.as_deref());
        let is_beginning = unfinished.zip(text).is_some_and(|(good, text)| text.starts_with(good));
        if is_beginning && accepted.elapsed() < WRITTEN {
            state.good = Some(before);
            self.write_copy(state);
        }
    }

    /// Makes a policy the last good one, on disk first. Returns whether it differs from the previous one.
    fn accept(&self, state: &mut PolicyState, texts: PolicyTexts) -> bool {
        if state.good.as_ref().is_some_and(|good| good.texts == texts) {
            return false;
        }
        let accepted = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        let good = AcceptedPolicy { file: self.file.clone(), texts, accepted };
        let is_growing = state.good_before.as_ref().is_some_and(|(_, since)| since.elapsed() < WRITTEN);
        match state.good.replace(good) {
            // If one write takes several steps, keep the text before the first step.
            Some(before) if !is_growing => state.good_before = Some((before, Instant::now())),
            _ => {}
        }
        self.write_copy(state);
        #[cfg(debug_assertions)]
        crate::step_kill::at_policy("copied");
        true
    }

    fn write_copy(&self, state: &mut PolicyState) {
        let Some(good) = &state.good else { return };
        let Err(error) = self.copy.write(good) else {
            (state.copy_failure, state.copy_damage) = (None, None);
            return;
        };
        // No copy is safer than an older one, which may grant more than the current policy.
        let older = match self.copy.remove() {
            Ok(()) => "there is none",
            Err(_) => "an older one may be there",
        };
        let why = format!("{}: {error}; {older}", self.copy.path().display());
        if state.copy_failure.is_none() {
            tracing::error!(why, "the last good policy cannot be kept for the next start");
        }
        state.copy_failure = Some((why, Instant::now() + COPY_RETRY));
    }

    fn put_in_force(&self, state: &mut PolicyState, basis: PolicyBasis, parsed: ParsedPolicy) {
        let ParsedPolicy { images, mut access } = parsed;
        access.grants.extend(self.node_agent.map(node_agent_grant));
        state.images = Arc::new(Policy::resolve(images, self.legacy));
        state.access = Arc::new(access);
        state.basis = basis;
    }

    fn fall_back(&self, state: &mut PolicyState) {
        let why = match state.good.as_ref().map(|good| ParsedPolicy::parse_again(&good.texts)) {
            Some(Ok(parsed)) => return self.put_in_force(state, PolicyBasis::LastGood, parsed),
            Some(Err(mistakes)) => {
                format!("the last good one is not understood: {}", self.named_mistakes(&mistakes))
            }
            None => {
                state.copy_damage.clone().unwrap_or_else(|| "there was none without a mistake".to_owned())
            }
        };
        let access = AccessPolicy { grants: Vec::new(), socket_group: SocketGroup::Nothing };
        self.put_in_force(state, PolicyBasis::Unknown(why), ParsedPolicy { images: None, access });
        // The keys of v0.6.0 would loosen the default policy, and less than the default is allowed here.
        state.images = Arc::default();
    }

    fn named_mistakes(&self, mistakes: &[PolicyMistake]) -> String {
        let more = mistakes.len().saturating_sub(MAX_NAMED);
        let mut named: Vec<String> =
            mistakes.iter().take(MAX_NAMED).map(|mistake| mistake.at(&self.file)).collect();
        named.extend((more > 0).then(|| format!("{more} more")));
        named.join("; ")
    }
}

impl PolicyState {
    fn in_force(&self) -> String {
        match (&self.basis, &self.good) {
            (PolicyBasis::Unknown(why), _) => format!(
                "no policy is known ({why}): only root and the node agent may do anything, and no image is loaded"
            ),
            (_, Some(good)) => format!(
                "the policy of {} stays in force; nothing that was changed since then holds, a new revocation neither",
                good.accepted
            ),
            (_, None) => "the default policy is in force".to_owned(),
        }
    }
}

impl AccessSource for PolicySource {
    fn policy(&self) -> Arc<AccessPolicy> {
        Arc::clone(&self.current().access)
    }

    fn health(&self) -> PolicyHealth {
        let state = self.current();
        let has_mistakes = !state.mistakes.is_empty();
        let removed = state.good.as_ref().filter(|good| good.texts.policy.is_none());
        PolicyHealth {
            file: self.file.clone(),
            other_file: self.other_file().map(Path::to_owned),
            mistakes: has_mistakes.then(|| self.named_mistakes(&state.mistakes)),
            in_force: if has_mistakes { state.in_force() } else { String::new() },
            is_unknown: matches!(state.basis, PolicyBasis::Unknown(_)),
            copy_failure: state.copy_failure.as_ref().map(|(why, _)| why.clone()),
            removed: removed.filter(|_| !has_mistakes).map(|good| good.accepted.clone()),
            users_failure: subordinate_users::failure(),
        }
    }
}

/// Verbs of the node agent: those of the calls that it makes, and no others.
const NODE_AGENT_VERBS: [AccessVerb; 6] = [
    // Lists, watches, containers, events.
    AccessVerb::Read,
    AccessVerb::Load,
    AccessVerb::Attach,
    AccessVerb::Replace,
    // Runs during a rollout's soak, and CPU times of its metrics.
    AccessVerb::Trace,
    // Counters of hooks during a soak.
    AccessVerb::Settings,
];

/// Returns the grant of the node agent, on objects of applications; it holds with any policy and with none.
fn node_agent_grant(user: u32) -> Grant {
    let every_name = "*".parse::<ApplicationPattern>();
    Grant {
        name: NODE_AGENT.to_owned(),
        callers: GrantCallers { users: [user].into(), beside_daemon: true, ..GrantCallers::default() },
        verbs: NODE_AGENT_VERBS.into(),
        applications: every_name.into_iter().collect(),
        ..Grant::default()
    }
}

#[cfg(test)]
mod tests;
