use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};

use bpfman_model::{FileIdentity, FunctionPattern};

use super::attr::{self, Command};
use super::{features, kallsyms, perf, sys};
use crate::{KernelError, ProbeTargetError};

const MODULES_SINCE: (u32, u32) = (6, 2);
const ON_RETURN: u32 = 1;
/// A pattern for all traceable functions of a kernel matches 60,000.
const MAX_FUNCTIONS: usize = 1 << 17;
/// Takes one CPU about a second: a caller's patterns are compared with the names of all functions.
const MAX_COMPARISONS: u64 = 300_000_000;
/// Functions named in an error.
const MAX_NAMED: usize = 3;

pub fn attach_kprobes(
    program: &OwnedFd,
    functions: &[FunctionPattern],
    (on_return, attach_type): (bool, u32),
    cookie: u64,
) -> Result<OwnedFd, KernelError> {
    let subject = || format!("kernel functions {}", named(functions));
    let names = names(functions)?;
    let texts: Vec<CString> = names.into_iter().filter_map(|name| CString::new(name).ok()).collect();
    let pointers: Vec<u64> = texts.iter().map(|text| text.as_ptr() as u64).collect();
    let cookies = vec![cookie; pointers.len()];
    let mut request = attr::LinkCreateKprobes {
        prog_fd: program.as_raw_fd(),
        attach_type,
        probe_flags: if on_return { ON_RETURN } else { 0 },
        count: pointers.len() as u32,
        names: pointers.as_ptr() as u64,
        cookies: if cookie == 0 { 0 } else { cookies.as_ptr() as u64 },
        ..Default::default()
    };
    sys::bpf_fd(Command::LinkCreate, &mut request).map_err(|source| match source.raw_os_error() {
        Some(libc::ESRCH | libc::ENOENT) => {
            let names: BTreeSet<&str> = texts.iter().filter_map(|text| text.to_str().ok()).collect();
            why_not(&names, subject(), source)
        }
        _ => KernelError::call("attach", format!("a program to {}", subject()), source),
    })
}

/// Finds the functions that cannot be probed: the kernel refuses all functions without naming the cause.
fn why_not(names: &BTreeSet<&str>, all: String, source: std::io::Error) -> KernelError {
    let known = kallsyms::addresses(names).unwrap_or_default();
    if let Some(name) = names.iter().find(|name| !known.contains_key(**name)) {
        let target = format!("kernel function \"{name}\"");
        return KernelError::CannotProbe { target, reason: perf::no_kernel_function(name) };
    }
    if features::version() < MODULES_SINCE {
        let in_modules = kallsyms::in_modules(names).unwrap_or_default();
        if let Some(module) = in_modules.values().next().cloned() {
            let named = in_modules.keys().take(MAX_NAMED).map(String::as_str).collect::<Vec<_>>();
            let target = format!("kernel functions {}", named.join(", "));
            let reason = ProbeTargetError::OfModule { module, release: features::release() };
            return KernelError::CannotProbe { target, reason };
        }
    }
    let traceable = perf::traceable_functions().unwrap_or_default();
    let traceable: BTreeSet<&str> =
        traceable.lines().filter_map(|line| line.split_whitespace().next()).collect();
    // The kernel lists a function under one of its names: compare addresses.
    let places: BTreeSet<u64> =
        kallsyms::addresses(&traceable).unwrap_or_default().into_values().flatten().collect();
    let is_traceable = |name: &str| known.get(name).is_some_and(|at| !at.is_disjoint(&places));
    let forbidden: Vec<&str> =
        names.iter().copied().filter(|name| !is_traceable(name)).take(MAX_NAMED).collect();
    let target = match traceable.is_empty() || forbidden.is_empty() {
        true => all,
        false => format!("kernel functions {}", forbidden.join(", ")),
    };
    KernelError::CannotProbe { target, reason: ProbeTargetError::Forbidden { source } }
}

pub fn attach_uprobes(
    program: &OwnedFd,
    place: &perf::UserPlaces<'_>,
    (on_return, known_only, attach_type): (bool, bool, u32),
    cookie: u64,
) -> Result<(OwnedFd, FileIdentity), KernelError> {
    let perf::FoundPlaces { file, identity, offsets } = perf::user_places(place, on_return, known_only)?;
    let perf::UserPlaces { target, scope, .. } = *place;
    let fail = |reason| KernelError::CannotProbe { target: format!("\"{target}\""), reason };
    let path = CString::new(file.reopen_path()).map_err(|error| fail(error.into()))?;
    let cookies = vec![cookie; offsets.len()];
    let mut request = attr::LinkCreateUprobes {
        prog_fd: program.as_raw_fd(),
        attach_type,
        path: path.as_ptr() as u64,
        offsets: offsets.as_ptr() as u64,
        cookies: if cookie == 0 { 0 } else { cookies.as_ptr() as u64 },
        count: offsets.len() as u32,
        probe_flags: if on_return { ON_RETURN } else { 0 },
        pid: scope.pid.unwrap_or(0),
        ..Default::default()
    };
    let link = sys::bpf_fd(Command::LinkCreate, &mut request).map_err(|source| {
        match (source.raw_os_error(), scope.pid) {
            (Some(libc::ESRCH), Some(pid)) => fail(ProbeTargetError::NoProcess(pid)),
            _ => KernelError::call("attach", format!("a program to functions of {target}"), source),
        }
    })?;
    Ok((link, identity))
}

fn names(functions: &[FunctionPattern]) -> Result<BTreeSet<String>, KernelError> {
    let no_such = |pattern: &FunctionPattern| KernelError::CannotProbe {
        target: format!("kernel functions {pattern}"),
        reason: ProbeTargetError::NoMatch,
    };
    let mut names: BTreeSet<String> =
        functions.iter().filter_map(FunctionPattern::name).map(str::to_owned).collect();
    let patterns: Vec<_> = functions.iter().filter(|pattern| pattern.name().is_none()).collect();
    if !patterns.is_empty() {
        let traceable = perf::traceable_functions()?;
        // The name of a module may follow.
        let all = traceable.lines().filter_map(|line| line.split_whitespace().next());
        let Some((found, unmatched)) = matching(&patterns, all, MAX_COMPARISONS) else {
            let target = format!("kernel functions {}", named(functions));
            return Err(KernelError::CannotProbe { target, reason: ProbeTargetError::TooSlow });
        };
        if let Some(pattern) = unmatched {
            return Err(no_such(pattern));
        }
        names.extend(found);
    }
    if names.len() > MAX_FUNCTIONS {
        return Err(KernelError::CannotProbe {
            target: format!("kernel functions {}", named(functions)),
            reason: ProbeTargetError::TooMany { found: names.len(), most: MAX_FUNCTIONS },
        });
    }
    Ok(names)
}

/// Returns the matching names, and the first pattern without any; `None` if they take too many comparisons.
fn matching<'p, 'n>(
    patterns: &[&'p FunctionPattern],
    all: impl Iterator<Item = &'n str>,
    most: u64,
) -> Option<(BTreeSet<String>, Option<&'p FunctionPattern>)> {
    let (mut names, mut found, mut compared) = (BTreeSet::new(), vec![false; patterns.len()], 0);
    for name in all {
        let characters: Vec<char> = name.chars().collect();
        for (pattern, found) in patterns.iter().zip(&mut found) {
            if pattern.glob().matches_counted(&characters, &mut compared) {
                names.insert(name.to_owned());
                *found = true;
            }
        }
        if compared > most {
            return None;
        }
    }
    let unmatched = patterns.iter().zip(&found).find(|(_, found)| !**found);
    Some((names, unmatched.map(|(pattern, _)| *pattern)))
}

fn named(functions: &[FunctionPattern]) -> String {
    functions.iter().take(MAX_NAMED).map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_take_long_are_refused() {
        let names: Vec<String> = (0..1_000).map(|number| format!("vfs_function_{number}")).collect();
        let all = || names.iter().map(String::as_str);
        let pattern = |text: &str| text.parse::<FunctionPattern>().unwrap();
        let (plain, none) = (pattern("vfs_*_77?"), pattern("tcp_*"));
        let (found, unmatched) = matching(&[&plain, &none], all(), 100_000).unwrap();
        assert_eq!((found.len(), unmatched), (10, Some(&none)));
        let slow = pattern("*????????Z");
        assert_eq!(matching(&[&slow; 12], all(), 100_000), None);
        assert!(matching(&[&slow; 12], all().take(1), 100_000).is_some());
    }
}
