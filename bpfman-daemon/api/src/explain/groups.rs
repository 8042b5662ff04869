//! Describes the order of the programs at the hooks of a cgroup.

use bpfman_model::CgroupPath;
use bpfmand_engine::{Engine, EngineError, GroupProgram, GroupPrograms};
use bpfmand_kernel::Kernel;

pub fn explain_group<K: Kernel>(
    engine: &Engine<K>,
    path: &CgroupPath,
    member: Option<&str>,
) -> Result<Vec<String>, EngineError> {
    let hooks = engine.group_programs(path)?;
    if hooks.is_empty() {
        return Err(EngineError::NoChain { hook: format!("cgroup {path}") });
    }
    let link = |program: &GroupProgram| program.link.map(|id| id.0);
    let is_it = |program: &GroupProgram, wanted: &str| {
        program.link.is_some() && (program.name == wanted || link(program) == wanted.parse().ok())
    };
    let has = |hook: &&GroupPrograms| {
        member.is_none_or(|wanted| hook.own.iter().any(|program| is_it(program, wanted)))
    };
    let found: Vec<String> = hooks.iter().filter(has).flat_map(findings).collect();
    match member {
        Some(wanted) if found.is_empty() => {
            let own = hooks.iter().flat_map(|hook| &hook.own);
            let there = own.filter_map(|one| one.link.map(|link| format!("{} (link {link})", one.name)));
            Err(EngineError::NoMember {
                member: wanted.to_owned(),
                hook: format!("cgroup {path}"),
                there: there.collect::<Vec<_>>().join(", "),
            })
        }
        _ => Ok(found),
    }
}

fn findings(hook: &GroupPrograms) -> Vec<String> {
    let at = &hook.hook;
    let mut found = Vec::new();
    if hook.own.is_empty() {
        found.push(format!(
            "no program of the cgroup itself runs at {at}: bpfman's links there are lost (bpfman doctor)"
        ));
    } else if hook.is_order_known {
        found.push(format!("programs run at {at} in this order: {}", texts(&hook.own)));
    } else {
        found.push(format!(
            "at {at} run: {}; in which order is unknown: the list changes, or one program is attached several times",
            texts(&hook.own)
        ));
    }
    if hook.own.iter().chain(&hook.above_first).any(|program| program.preorder == Some(true)) {
        found.push(format!(
            "programs with BPF_F_PREORDER run before all others at {at}, whatever --before asks for: bpfman attaches \
             none with that flag"
        ));
    }
    let unknown: Vec<_> = hook.own.iter().filter(|one| one.preorder.is_none()).cloned().collect();
    if !unknown.is_empty() {
        found.push(format!(
            "at {at} the kernel does not report whether these have BPF_F_PREORDER, with which --before is refused: {}",
            texts(&unknown)
        ));
    }
    if !hook.above_first.is_empty() {
        found.push(format!("before them run those of cgroups above: {}", texts(&hook.above_first)));
    }
    if !hook.above_last.is_empty() {
        found.push(format!("after them run those of cgroups above: {}", texts(&hook.above_last)));
    }
    found
}

fn texts(programs: &[GroupProgram]) -> String {
    programs.iter().map(text).collect::<Vec<_>>().join("; ")
}

fn text(program: &GroupProgram) -> String {
    if let Some(link) = program.link {
        return format!("{} (link {link})", program.name);
    }
    let mut text = format!("program {} ({})", program.program, program.name);
    if program.is_third_party {
        text.push_str(", third-party");
    }
    if let Some(link) = program.kernel_link {
        text.push_str(&format!(", kernel link {link}"));
    }
    if program.preorder == Some(true) {
        text.push_str(", BPF_F_PREORDER");
    }
    if !program.held_by.is_empty() {
        text.push_str(&format!(", held by {}", program.held_by.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use bpfman_model::{KernelLinkId, LinkId, ProgramId};

    use super::*;

    fn program(id: u32, name: &str, preorder: Option<bool>) -> GroupProgram {
        GroupProgram {
            program: ProgramId(id),
            name: name.to_owned(),
            link: None,
            is_third_party: true,
            kernel_link: Some(KernelLinkId(id + 10)),
            preorder,
            held_by: vec!["guard (7)".to_owned()],
        }
    }

    fn ours(name: &str) -> GroupProgram {
        let (link, held_by) = (Some(LinkId(5)), Vec::new());
        GroupProgram { link, held_by, is_third_party: false, ..program(3, name, Some(false)) }
    }

    fn hook(own: Vec<GroupProgram>) -> GroupPrograms {
        GroupPrograms {
            hook: "ingress of cgroup /web".to_owned(),
            above_first: Vec::new(),
            own,
            above_last: Vec::new(),
            is_order_known: true,
        }
    }

    #[test]
    fn program_with_preorder_is_named_with_its_flag() {
        let found = findings(&hook(vec![
            program(1, "early", Some(true)),
            ours("mine"),
            program(2, "plain", Some(false)),
        ]));
        assert_eq!(
            found[0],
            "programs run at ingress of cgroup /web in this order: program 1 (early), third-party, kernel link \
             11, BPF_F_PREORDER, held by guard (7); mine (link 5); program 2 (plain), third-party, kernel link 12, held \
             by guard (7)"
        );
        assert!(found[1].contains("run before all others"), "{found:?}");
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn program_whose_flag_is_unknown_is_named() {
        let found = findings(&hook(vec![program(1, "early", None), ours("mine")]));
        assert!(found[1].contains("does not report") && found[1].contains("(early)"), "{found:?}");
        assert!(!found[1].contains("mine"), "{found:?}");
    }

    #[test]
    fn unknown_order_and_programs_of_groups_above_are_named() {
        let unknown = GroupPrograms { is_order_known: false, ..hook(vec![ours("mine")]) };
        assert!(findings(&unknown)[0].contains("in which order is unknown"));
        let above = GroupPrograms {
            above_first: vec![program(8, "first", Some(true))],
            above_last: vec![program(9, "last", Some(false))],
            ..hook(vec![ours("mine")])
        };
        let found = findings(&above).join("\n");
        assert!(found.contains("before them run those of cgroups above: program 8 (first)"), "{found}");
        assert!(found.contains("after them run those of cgroups above: program 9 (last)"), "{found}");
    }
}
