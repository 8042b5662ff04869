//! Resource limits of the client, which also apply to the command of its session.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Names in `/proc/PID/limits`. Locked memory is left out: programs raise that limit, which means nothing since Linux 5.11.
const NAMES: [(&str, Resource); 15] = [
    ("Max cpu time", Resource::Cpu),
    ("Max file size", Resource::Fsize),
    ("Max data size", Resource::Data),
    ("Max stack size", Resource::Stack),
    ("Max core file size", Resource::Core),
    ("Max resident set", Resource::Rss),
    ("Max processes", Resource::Nproc),
    ("Max open files", Resource::Nofile),
    ("Max address space", Resource::As),
    ("Max file locks", Resource::Locks),
    ("Max pending signals", Resource::Sigpending),
    ("Max msgqueue size", Resource::Msgqueue),
    ("Max nice priority", Resource::Nice),
    ("Max realtime priority", Resource::Rtprio),
    ("Max realtime timeout", Resource::Rttime),
];

pub fn parse(text: &str) -> Vec<(Resource, Rlimit)> {
    let value = |word: &str| word.parse().ok();
    let of = |name: &str, resource| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let mut words = line.split_whitespace();
        let (current, maximum) = (value(words.next()?), value(words.next()?));
        Some((resource, Rlimit { current, maximum }))
    };
    NAMES.iter().filter_map(|(name, resource)| of(name, *resource)).collect()
}

/// Sets the limits for this process and its children, none of them above this process's own.
pub fn set(limits: &[(Resource, Rlimit)]) {
    for (resource, limit) in limits {
        let own = getrlimit(*resource).maximum.unwrap_or(u64::MAX);
        let within =
            |value: Option<u64>| Some(value.unwrap_or(u64::MAX).min(own)).filter(|value| *value != u64::MAX);
        let limit = Rlimit { current: within(limit.current), maximum: within(limit.maximum) };
        let _refused = setrlimit(*resource, limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_the_kernel_writes_them() {
        let text = std::fs::read_to_string("/proc/self/limits").unwrap_or_else(|error| panic!("{error}"));
        let limits = parse(&text);
        assert_eq!(limits.len(), NAMES.len());
        for (resource, limit) in limits {
            assert_eq!(limit, getrlimit(resource), "{resource:?}");
        }
    }
}
