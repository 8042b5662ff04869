//! Last word of a command line, if live objects can complete it.

use clap::{Arg, Command};

use super::definition;

/// Objects that complete a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompletedValue {
    /// Programs, by id and name.
    Programs,
    /// Links, by id.
    Links,
    /// Hooks with a chain, and hooks of interfaces.
    Hooks,
    /// Interfaces.
    Interfaces,
    /// Functions of the kernel.
    Functions,
    /// Maps, as PROGRAM_ID:NAME.
    Maps,
    /// Sessions.
    Sessions,
    /// Applications.
    Applications,
}

/// Returns the objects for the last word of a line, and that word.
#[must_use]
pub fn completed_value(line: &str) -> Option<(CompletedValue, String)> {
    let mut words: Vec<&str> = line.split_whitespace().collect();
    let last = if line.ends_with(char::is_whitespace) { "" } else { words.pop()? };
    let root = definition();
    let (mut command, mut positionals, mut flag) = (&root, 0, None::<&Arg>);
    for word in words.into_iter().skip(1) {
        if let Some(written) = word.strip_prefix('-').filter(|written| !written.is_empty()) {
            flag = flag_of(command, written).filter(|_| !word.contains('='));
            continue;
        }
        if let Some(taking) = flag {
            flag = flag.filter(|_| takes_several(taking));
            continue;
        }
        match command.find_subcommand(word) {
            Some(sub) => (command, positionals) = (sub, 0),
            None => positionals += 1,
        }
    }
    if let Some((written, value)) = last.split_once('=').filter(|(written, _)| written.starts_with("--")) {
        return Some((of_arg(command, flag_of(command, &written[1..])?)?, value.to_owned()));
    }
    if last.starts_with('-') {
        return None;
    }
    // The hook takes the place of a subcommand.
    if flag.is_none() && command.get_name() == "attach" && positionals == 1 {
        return Some((CompletedValue::Hooks, last.to_owned()));
    }
    let arg = flag.or_else(|| positional(command, positionals))?;
    Some((of_arg(command, arg)?, last.to_owned()))
}

/// Finds the flag, given as `written` without its first dash.
fn flag_of<'c>(command: &'c Command, written: &str) -> Option<&'c Arg> {
    let takes_value = |arg: &&Arg| arg.get_action().takes_values();
    match written.strip_prefix('-') {
        Some(long) => command.get_arguments().filter(takes_value).find(|arg| arg.get_long() == Some(long)),
        None => {
            let mut letters = written.chars();
            let short = letters.next();
            let arg = command.get_arguments().filter(takes_value).find(|arg| arg.get_short() == short);
            arg.filter(|_| letters.next().is_none())
        }
    }
}

fn takes_several(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|count| count.max_values() > 1)
}

fn positional(command: &Command, index: usize) -> Option<&Arg> {
    let last = command.get_positionals().last().filter(|arg| takes_several(arg));
    command.get_positionals().nth(index).or(last)
}

fn of_arg(command: &Command, arg: &Arg) -> Option<CompletedValue> {
    use CompletedValue as V;
    let name = arg.get_value_names().and_then(|names| names.first()).map_or("", |name| name.as_str());
    Some(match (arg.get_long().unwrap_or_default(), name) {
        ("iface", _) => V::Interfaces,
        ("fn-name", _) => V::Functions,
        (_, "ID|NAME" | "PROGRAM_ID") => V::Programs,
        ("program", "ID") => V::Programs,
        (_, "LINK_ID" | "LINK_ID|PIN") => V::Links,
        (_, "HOOK" | "[PROGRAM=]HOOK" | "ID|HOOK") => V::Hooks,
        (_, "MAP") => V::Maps,
        (_, "SESSION") => V::Sessions,
        ("application", "NAME") => V::Applications,
        ("", "NAME") if command.get_name() == "delete" => V::Applications,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_completed_where_objects_stand() {
        use CompletedValue as V;
        for (line, wanted) in [
            ("bpfman unload ", Some((V::Programs, ""))),
            ("bpfman unload 7 xdp_", Some((V::Programs, "xdp_"))),
            ("bpfman get program 1", Some((V::Programs, "1"))),
            ("bpfman -o json get link ", Some((V::Links, ""))),
            ("bpfman detach 1", Some((V::Links, "1"))),
            ("bpfman attach 7 xdp:e", Some((V::Hooks, "xdp:e"))),
            ("bpfman attach 7 xdp --iface et", Some((V::Interfaces, "et"))),
            ("bpfman attach 7 xdp --iface=et", Some((V::Interfaces, "et"))),
            ("bpfman attach 7 kprobe --fn-name vfs_", Some((V::Functions, "vfs_"))),
            ("bpfman chain show ", Some((V::Hooks, ""))),
            ("bpfman run x.o --attach ", Some((V::Hooks, ""))),
            ("bpfman map dump ", Some((V::Maps, ""))),
            ("bpfman delete ", Some((V::Applications, ""))),
            ("bpfman list links --program-id ", Some((V::Programs, ""))),
            ("bpfman ", None),
            ("bpfman un", None),
            ("bpfman unload --a", None),
            ("bpfman list programs --interval ", None),
            ("bpfman load file ", None),
            ("", None),
        ] {
            assert_eq!(completed_value(line), wanted.map(|(of, word)| (of, word.to_owned())), "{line}");
        }
    }
}
