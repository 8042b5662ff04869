//! Reading of the command line: what `clap` defines, and the forms that it cannot define.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{FromArgMatches as _, Parser as _};

use super::attach::{Attach, AttachTo};
use super::hook_words::with_flags;
use super::named_hook::point;
use super::run_as::RunAsLine;
use super::{Cli, CliCommand, definition};

/// Commands of the Go rewrite and of other tools, each with the command that does the same.
const OTHER_NAMES: [(&[&str], &str); 16] = [
    (&["program", "list"], "bpfman list programs"),
    (&["program", "get"], "bpfman get program PROGRAM_ID"),
    (&["program", "load"], "bpfman load file … or bpfman load image …"),
    (&["program", "unload"], "bpfman unload PROGRAM_ID"),
    (&["program", "delete"], "bpfman unload PROGRAM_ID"),
    (&["link", "list"], "bpfman list links"),
    (&["link", "get"], "bpfman get link LINK_ID"),
    (&["link", "attach"], "bpfman attach PROGRAM_ID HOOK"),
    (&["link", "detach"], "bpfman detach LINK_ID"),
    (&["link", "delete"], "bpfman detach LINK_ID"),
    (&["dispatcher"], "bpfman chain list"),
    (&["serve"], "bpfmand"),
    (&["status"], "bpfman doctor"),
    (&["ps"], "bpfman list programs"),
    (&["show"], "bpfman list links or bpfman get program PROGRAM_ID"),
    (&["logs"], "bpfman history"),
];

/// Parses the words of a command line, the program's name first. Help and version are errors of `clap`.
pub fn parse(words: &[OsString]) -> Result<Cli, clap::Error> {
    let cli = read(words).map_err(|error| with_tip(error, words))?;
    let CliCommand::Attach(Attach { point: AttachTo::Hook(rest), .. }) = &cli.command else {
        return Ok(cli);
    };
    // The hook and its flags are the last words, because clap parses the hook as a subcommand.
    let (front, rest) = words.split_at(words.len() - rest.len());
    let Some((hook, flags)) = rest.split_first() else { return Ok(cli) };
    let text = hook.to_string_lossy();
    let refused = |why: String| {
        let definition = definition();
        let mut attach = definition.find_subcommand("attach").unwrap_or(&definition).clone();
        attach.error(ErrorKind::InvalidValue, format!("invalid value '{text}' for '<HOOK>': {why}"))
    };
    let parsed = point(&text).map_err(|error| refused(error.why))?;
    let has_priority = flags.iter().any(|flag| {
        let flag = flag.to_string_lossy();
        flag.starts_with("--priority") || (flag.starts_with("-p") && !flag.starts_with("--"))
    });
    let hook = with_flags(&parsed, has_priority).map_err(refused)?;
    let hook = hook.into_iter().map(OsString::from);
    let words: Vec<OsString> = front.iter().cloned().chain(hook).chain(flags.iter().cloned()).collect();
    read(&words)
}

fn read(words: &[OsString]) -> Result<Cli, clap::Error> {
    // Try `run-as` alone first: building the definition of all commands takes as long as starting a session.
    if words.get(1).is_some_and(|word| word == "run-as")
        && let Ok(line) = RunAsLine::try_parse_from(words)
    {
        return Ok(line.into());
    }
    Cli::try_parse_from(words).or_else(|error| match error.kind() {
        // Help needs the whole definition, which takes longer to build than most commands to run.
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let matches = definition().try_get_matches_from(words)?;
            Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut definition()))
        }
        _ => Err(error),
    })
}

/// Adds our command for the name of another tool's, or an example of a missing hook in place of its 30 kinds.
fn with_tip(mut error: clap::Error, words: &[OsString]) -> clap::Error {
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidSubcommand) else { return error };
    let tip = match error.kind() {
        ErrorKind::MissingSubcommand if name == "bpfman attach" => {
            "name a hook after the program, such as xdp:eth0 or kprobe:vfs_unlink".to_owned()
        }
        ErrorKind::InvalidSubcommand => {
            let from = words.iter().skip_while(|word| word.to_str() != Some(name.as_str()));
            let given: Vec<&str> = from.filter_map(|word| word.to_str()).collect();
            let known = OTHER_NAMES.iter().find(|(names, _)| given.starts_with(names));
            let Some((_, ours)) = known else { return error };
            format!("the command for it is: {ours}")
        }
        _ => return error,
    };
    error.remove(ContextKind::ValidSubcommand);
    error.remove(ContextKind::SuggestedSubcommand);
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Cli, clap::Error> {
        parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    fn debug(line: &str) -> String {
        format!("{:?}", parse_line(line).unwrap_or_else(|error| panic!("{line}: {error}")))
    }

    #[test]
    fn hook_is_read_as_the_form_with_flags() {
        for (hook, flags) in [
            ("xdp:eth0", "xdp -i eth0 -p 50"),
            ("xdp:eth0 -p 7 --proceed-on drop", "xdp -i eth0 -p 7 --proceed-on drop"),
            ("xdp:eth0@/run/netns/b -p50", "xdp -i eth0 -n /run/netns/b -p 50"),
            ("tc:eth0:ingress --priority=3 -m a=b", "tc -d ingress -i eth0 -p 3 -m a=b"),
            ("tcx:eth0:egress", "tcx -d egress -i eth0 -p 50"),
            ("tracepoint:sched/sched_switch", "tracepoint -t sched/sched_switch"),
            ("raw_tracepoint:sched_switch", "raw-tracepoint -t sched_switch"),
            ("kprobe:vfs_unlink+0x10", "kprobe -f vfs_unlink --offset 16"),
            ("uprobe:libc:malloc --pid 3", "uprobe -t libc -f malloc --pid 3"),
            ("kprobe_multi:tcp_*,udp_*", "kprobe-multi -f tcp_*,udp_*"),
            ("uprobe_multi:libc:malloc,free", "uprobe-multi -t libc -f malloc,free"),
            ("fentry", "fentry"),
            ("tp_btf", "tp-btf"),
            ("cgroup:/system.slice", "cgroup -p /system.slice"),
            ("netns", "netns"),
            ("netns:/run/netns/b", "netns -n /run/netns/b"),
            ("netfilter:ipv4:input:-100", "netfilter -f ipv4 --hook input -p -100"),
            ("perf_event:cpu-clock:99", "perf-event -e cpu-clock -f 99"),
            ("sockmap:socks", "sockmap --map socks"),
            ("struct_ops:algorithm", "struct-ops --map algorithm"),
            ("usdt:libc:libc:setjmp", "usdt -t libc -n libc:setjmp"),
            ("ksyscall:openat", "ksyscall -n openat"),
            ("netkit:nk0", "netkit -i nk0"),
        ] {
            // In probes, -o has always been the offset.
            if !hook.contains("probe:") {
                let both = [hook, flags].map(|form| debug(&format!("bpfman -q attach 7 {form} -o json")));
                assert_eq!(both[0], both[1], "{hook}");
            }
            let both = [hook, flags].map(|form| debug(&format!("bpfman attach 7 {form}")));
            assert_eq!(both[0], both[1], "{hook}");
        }
    }

    #[test]
    fn run_as_is_read_as_by_the_whole_definition() {
        for line in [
            "bpfman run-as -- ls -l --help",
            "bpfman run-as --grant g --kallsyms -o json ls -o x",
            "bpfman run-as --unit x --socket-path /s -q",
        ] {
            let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            let whole = Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(debug(line), format!("{whole:?}"), "{line}");
        }
        for line in ["bpfman run-as", "bpfman run-as --help", "bpfman run-as --unit x ls"] {
            assert!(parse_line(line).is_err(), "{line}");
        }
    }

    #[test]
    fn text_that_is_no_hook_is_refused_with_a_suggestion() {
        for (line, parts) in [
            ("bpfman attach 7 xpd:eth0", &["invalid value 'xpd:eth0'", "did you mean xdp"][..]),
            ("bpfman attach 7 xdp:eth0:ingress", &["xdp has no direction"]),
            ("bpfman attach 7 fentry:vfs_open", &["loaded for its target", "write fentry without vfs_open"]),
            ("bpfman attach 7 xdp:eth0 --colour", &["--colour"]),
            ("bpfman attach x:y xdp:eth0", &["'x:y'"]),
        ] {
            let error = parse_line(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            for part in parts {
                assert!(error.to_string().contains(part), "{line}: {error}");
            }
        }
    }

    #[test]
    fn commands_of_other_tools_are_answered_with_ours() {
        for (line, ours) in [
            ("bpfman program list", "bpfman list programs"),
            ("bpfman -o json link attach xdp 7 eth0", "bpfman attach PROGRAM_ID HOOK"),
            ("bpfman dispatcher list", "bpfman chain list"),
            ("bpfman status", "bpfman doctor"),
        ] {
            let text = parse_line(line).unwrap_err().to_string();
            assert!(text.contains(ours), "{line}: {text}");
        }
        assert!(parse_line("bpfman lod").unwrap_err().to_string().contains("'load'"));
        let text = parse_line("bpfman -o json attach 7").unwrap_err().to_string();
        assert!(text.contains("such as xdp:eth0") && !text.contains("raw_tracepoint"), "{text}");
    }

    #[test]
    fn commands_that_are_named_exist() {
        for (_, ours) in OTHER_NAMES.iter().filter(|(_, ours)| *ours != "bpfmand") {
            for line in ours.split(" or ") {
                let words = line.replace('…', "-h").replace("PROGRAM_ID", "7").replace("LINK_ID", "7");
                match parse_line(&words.replace("HOOK", "xdp:eth0")) {
                    Ok(_) => {}
                    Err(error) => assert_eq!(error.kind(), ErrorKind::DisplayHelp, "{line}: {error}"),
                }
            }
        }
    }
}
