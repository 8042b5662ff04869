use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use bpfman_client::MapAccess;
use bpfman_examples::source::MapSource;
use bpfman_profile::Profile;

use crate::debug_files::DebugFiles;
use crate::lease::{Lease, LeaseMap, RENEWAL, Scope, nanoseconds, now};
use crate::missing;
use crate::names::{LOST, Names, calls};
use crate::samples::{Counters, Frames, Samples, Seen};

pub struct Profiler {
    lease: LeaseMap,
    samples: Samples,
    debug_files: Option<DebugFiles>,
}

impl Profiler {
    pub fn open(maps: &MapSource, debug_files: Option<DebugFiles>) -> Result<Self> {
        let lease = maps.open("lease", MapAccess::Write)?;
        Ok(Self { lease, samples: Samples::open(maps)?, debug_files })
    }

    pub fn take(&mut self, scope: Scope, duration: Duration) -> Result<Profile> {
        let started = SystemTime::now();
        let mut lease = Lease::take(&mut self.lease, scope)?;
        self.samples.clear()?;
        let before = self.samples.counters()?;
        let end = now() + nanoseconds(duration);
        let mut gaps = 0;
        loop {
            gaps += u32::from(!lease.renew(end)?);
            let left = Duration::from_nanos(end.saturating_sub(now()));
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(RENEWAL));
        }
        let counters = self.samples.counters()?.since(before);
        let seen = self.samples.read()?;
        // Release the lease early: resolving names takes time, and another profile may start meanwhile.
        drop(lease);
        let mut profile =
            profile(&seen, &mut self.debug_files, counters, gaps, Profile::new(started, duration));
        profile.notes.extend(self.debug_files.iter().flat_map(DebugFiles::notes));
        Ok(profile)
    }
}

fn profile(
    seen: &[Seen],
    files: &mut Option<DebugFiles>,
    counters: Counters,
    gaps: u32,
    mut profile: Profile,
) -> Profile {
    let names = names(seen, files);
    let mut unnamed = 0;
    for one in seen {
        let mut stack = vec![one.name.clone()];
        stack.extend(named(&one.user, |frames| names.user_stack(one.process, frames)));
        stack.extend(named(&one.kernel, |frames| names.kernel_stack(frames)));
        if names.unreadable.contains(&one.process) {
            unnamed += one.weight.samples;
        }
        profile.add(stack, one.weight);
    }
    let counted = profile.total().samples;
    let all = counters.samples + counters.idle + counters.others;
    profile.notes.push(format!("{all} samples: {counted} counted, {} of idle CPUs", counters.idle));
    let mut note = |number: u64, words: &str| {
        if number > 0 {
            profile.notes.push(format!("{number} {words}"));
        }
    };
    note(counters.others, "samples of others than asked for");
    note(counters.lost_samples, "samples lost: their map was full");
    note(counters.samples.saturating_sub(counters.lost_samples + counted), "samples not read");
    note(counters.lost_stacks, "stacks lost: their map was full");
    note(unnamed, "samples without names: their process has ended, or may not be read by this user");
    note(gaps.into(), "gaps: this process was stopped for longer than it had the program sample");
    if all == 0 {
        profile.notes.push("nothing was sampled: is the program attached to cpu-clock?".to_owned());
    }
    if names.kernel_hidden {
        profile.notes.push("the kernel hides its names from this user: that takes CAP_SYSLOG".to_owned());
    }
    profile
}

fn named(frames: &Frames, names: impl FnOnce(&[u64]) -> Vec<String>) -> Vec<String> {
    frames.as_ref().map_or_else(|| vec![LOST.to_owned()], |frames| names(frames))
}

fn names(seen: &[Seen], files: &mut Option<DebugFiles>) -> Names {
    let mut kernel = BTreeSet::new();
    let mut processes: BTreeMap<u32, BTreeSet<u64>> = BTreeMap::new();
    for one in seen {
        kernel.extend(one.kernel.iter().flat_map(|frames| calls(frames)));
        let user = one.user.as_deref().unwrap_or_default();
        if !user.is_empty() {
            processes.entry(one.process).or_default().extend(calls(user));
        }
    }
    let mut names = Names::new(&kernel);
    for (process, addresses) in &processes {
        names.add_process(*process, addresses);
    }
    if let Some(files) = files {
        files.begin();
        for (process, addresses) in &processes {
            let missing = names.missing(*process, addresses);
            if !missing.is_empty() {
                names.add(*process, missing::names(files, *process, &missing));
            }
        }
    }
    names
}
