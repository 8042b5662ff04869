//! Commands that a newcomer of each role copies until the first own program is in effect, counted from the tutorials.
//! Other tests show that they work: `tutorials`, those of a cluster, and `tests/packages/install` on clean machines.

use bpfman_tests::page;

/// Page of the role, beginning of the command that reaches the goal, and the maximum number of commands.
const GOALS: [(&str, &str, usize); 4] = [
    ("one-machine", "bpfman-xdp-firewall --app xdp-firewall add ", 3),
    ("program-author", "bpfman run lengths.o ", 8),
    ("platform-team", "kubectl bpfman status lengths --follow", 9),
    ("migration", "bpfman attach pass ", 4),
];

#[test]
fn each_role_reaches_its_goal_in_few_commands() {
    for (name, goal, most) in GOALS {
        let page = format!("docs/tutorials/{name}.md");
        let commands = page::command_lines(&page);
        let reached = commands.iter().position(|command| command.text.starts_with(goal));
        let needed = reached.unwrap_or_else(|| panic!("{page} has no command `{goal}`")) + 1;
        let copied: Vec<_> = commands[..needed].iter().map(|command| command.text.as_str()).collect();
        println!("{name}: {needed} commands of at most {most}: {copied:#?}");
        assert!(needed <= most, "{page} needs {needed} commands: {copied:#?}");
    }
}
