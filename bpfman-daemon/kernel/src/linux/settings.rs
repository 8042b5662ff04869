use std::path::Path;

pub fn read() -> Vec<(&'static str, String)> {
    let number = |path: &str, words: &[&'static str]| -> Option<String> {
        let text = std::fs::read_to_string(path).ok()?;
        let value = text.trim().parse::<usize>().ok()?;
        Some(words.get(value).map_or_else(|| value.to_string(), |word| (*word).to_owned()))
    };
    let there = |path: &str| Some(if Path::new(path).exists() { "yes" } else { "no" }.to_owned());
    let settings = [
        ("types of the kernel (BTF)", there("/sys/kernel/btf/vmlinux")),
        (
            "compiler (JIT)",
            number("/proc/sys/net/core/bpf_jit_enable", &["off", "on", "on, with its output logged"]),
        ),
        (
            "hardening of compiled programs",
            number("/proc/sys/net/core/bpf_jit_harden", &["off", "for unprivileged users", "for all"]),
        ),
        (
            "bpf(2) for unprivileged users",
            number(
                "/proc/sys/kernel/unprivileged_bpf_disabled",
                &["allowed", "forbidden until reboot", "forbidden"],
            ),
        ),
        ("lockdown", lockdown()),
        ("security modules", std::fs::read_to_string("/sys/kernel/security/lsm").ok()),
        ("run counters (bpf_stats_enabled)", number("/proc/sys/kernel/bpf_stats_enabled", &["off", "on"])),
        (
            "most events a second (perf_event_max_sample_rate)",
            number("/proc/sys/kernel/perf_event_max_sample_rate", &[]),
        ),
        (
            "trace points (tracefs)",
            there("/sys/kernel/tracing/events")
                .filter(|text| text == "yes")
                .or_else(|| there("/sys/kernel/debug/tracing/events")),
        ),
    ];
    settings.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn lockdown() -> Option<String> {
    let text = std::fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    let (_, chosen) = text.split_once('[')?;
    Some(chosen.split_once(']')?.0.to_owned())
}
