//! Chains that the daemon times or counts for this client, until [`ChainMeasurements`] is dropped or the process ends.

use std::collections::{BTreeMap, BTreeSet};

use bpfman_client::{Client, Error};
use bpfman_model::HookName;
use bpfman_proto::ext::v1 as ext;
use tonic::Streaming;

use crate::error::CliError;
use crate::figures::ChainRates;

/// Maximum number of hooks per call.
const HOOKS_OF_A_CALL: usize = 64;
/// Number of streams above which all hooks move to new streams: the daemon allows 8 per user.
const MAX_STREAMS: usize = 4;

#[derive(Debug)]
pub struct SeenChain {
    hook: String,
    counters: bool,
    members: usize,
}

impl From<&ChainRates> for SeenChain {
    fn from(chain: &ChainRates) -> Self {
        Self { hook: chain.hook.clone(), counters: chain.counters, members: chain.members.len() }
    }
}

impl From<&ext::ChainFigures> for SeenChain {
    fn from(chain: &ext::ChainFigures) -> Self {
        Self { hook: chain.hook.clone(), counters: chain.counters, members: chain.members.len() }
    }
}

#[derive(Debug)]
pub struct ChainMeasurements {
    client: Client,
    verdicts: bool,
    streams: Vec<Streaming<ext::TimeMembersEvent>>,
    measured: BTreeSet<String>,
    /// Reasons why hooks are not measured, by hook.
    refusals: BTreeMap<String, String>,
}

impl ChainMeasurements {
    /// Measures the run times of members, for chains with several members.
    pub const fn times(client: Client) -> Self {
        Self::new(client, false)
    }

    /// Counts the verdicts of members, for chains without counters of their own.
    pub const fn verdicts(client: Client) -> Self {
        Self::new(client, true)
    }

    const fn new(client: Client, verdicts: bool) -> Self {
        Self { client, verdicts, streams: Vec::new(), measured: BTreeSet::new(), refusals: BTreeMap::new() }
    }

    /// Forgets all measurements and refusals, after the connection to the daemon was lost.
    pub fn restart(&mut self) {
        self.streams.clear();
        self.measured.clear();
        self.refusals.clear();
    }

    /// Starts to measure the new chains of a reading. A hook that the daemon refused is not requested again.
    pub async fn follow(&mut self, chains: &[SeenChain]) {
        let is_there = |hook: &String| chains.iter().any(|chain| chain.hook == *hook);
        self.measured.retain(is_there);
        self.refusals.retain(|hook, _| is_there(hook));
        let needed =
            chains.iter().filter(|chain| if self.verdicts { !chain.counters } else { chain.members > 1 });
        let new: Vec<String> = needed
            .filter(|chain| !self.measured.contains(&chain.hook) && !self.refusals.contains_key(&chain.hook))
            .map(|chain| chain.hook.clone())
            .collect();
        if new.is_empty() {
            return;
        }
        let is_full = self.streams.len() >= MAX_STREAMS;
        // Start the new streams before the old ones end, so that the daemon does not rebuild the chains.
        let old = if is_full { std::mem::take(&mut self.streams) } else { Vec::new() };
        let again = if is_full { self.measured.iter().cloned().collect() } else { Vec::new() };
        for hooks in [new, again].concat().chunks(HOOKS_OF_A_CALL) {
            if let Err(error) = self.begin(hooks).await {
                let why = error.to_string();
                self.measured.retain(|hook| !hooks.contains(hook));
                self.refusals.extend(hooks.iter().map(|hook| (hook.clone(), why.clone())));
            }
        }
        drop(old);
    }

    /// Measures one hook.
    ///
    /// # Errors
    /// The daemon refuses.
    pub async fn begin_one(&mut self, hook: &HookName) -> Result<(), CliError> {
        self.begin(&[hook.to_string()]).await.map_err(CliError::Client)
    }

    async fn begin(&mut self, names: &[String]) -> Result<(), Error> {
        let hooks = names.iter().filter_map(|name| name.parse::<HookName>().ok());
        let mut hooks: Vec<ext::Hook> = hooks.map(|hook| ext::Hook::from(&hook)).collect();
        // An earlier daemon reads only the field for a single hook.
        let hook = if hooks.len() == 1 { hooks.pop() } else { None };
        let request = ext::TimeMembersRequest { hook, verdicts: self.verdicts, hooks };
        let mut stream = self.client.services().chains.time_members(request).await?.into_inner();
        for _ in names {
            let Some(event) = stream.message().await? else { break };
            if event.why_not.is_empty() {
                self.measured.insert(event.hook);
            } else {
                self.measured.remove(&event.hook);
                self.refusals.insert(event.hook, event.why_not);
            }
        }
        self.streams.push(stream);
        Ok(())
    }

    /// Returns why a hook is not measured.
    pub fn refusal(&self, hook: &str) -> Option<&str> {
        self.refusals.get(hook).map(String::as_str)
    }

    /// Returns one sentence per reason with its hooks, or none if all hooks are measured.
    pub fn note(&self) -> Option<String> {
        let mut hooks_of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (hook, why) in &self.refusals {
            hooks_of.entry(why).or_default().push(hook);
        }
        let measured = if self.verdicts { "counted" } else { "timed" };
        let notes = hooks_of.into_iter().map(|(why, hooks)| match hooks[..] {
            [hook] => format!("{hook} is not {measured}: {why}"),
            [first, ref others @ ..] => {
                format!("{first} and {} more hooks are not {measured}: {why}", others.len())
            }
            [] => String::new(),
        });
        let notes: Vec<String> = notes.collect();
        (!notes.is_empty()).then(|| notes.join("; "))
    }
}
