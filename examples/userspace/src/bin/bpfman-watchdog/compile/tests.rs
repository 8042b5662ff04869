use super::*;
use crate::list::parse;

fn compiled(text: &str) -> Compiled {
    compile(&parse(text, "rules").unwrap().rules)
}

#[test]
fn a_longer_path_has_the_rules_of_the_folders_around_it() {
    let compiled = compiled(
        "rules:\n\
         - {name: a, event: open, when: {path: [/etc/]}, action: alert}\n\
         - {name: b, event: open, access: write, when: {path: [/etc/ssl/, /etc]}, action: kill}\n\
         - {name: c, event: open, unless: {path: [/etc/ssl/key]}, action: alert}\n",
    );
    let paths: Vec<(&str, Rules)> =
        compiled.paths.iter().map(|(path, rules)| (path.0.as_str(), *rules)).collect();
    assert_eq!(paths, [("/etc", 0b110), ("/etc/", 0b101), ("/etc/ssl/", 0b111), ("/etc/ssl/key", 0b011)]);
    assert_eq!(compiled.set.otherwise[Condition::Path as usize], 0b100);
    assert_eq!(compiled.set.asking[Condition::Path as usize], 0b111);
    assert_eq!(compiled.set.of_event, [0, 0b101, 0b111, 0, 0]);
    assert_eq!((compiled.set.kill, compiled.set.forbid), (0b010, 0));
}

#[test]
fn addresses_of_both_versions_are_in_one_table() {
    let compiled = compiled(
        "rules:\n\
         - {name: a, event: connect, when: {to: [10.0.0.0/8]}, action: alert}\n\
         - {name: b, event: connect, when: {to: [\"::/0\"], port: [80]}, action: forbid}\n",
    );
    let found: Vec<(u32, Rules)> =
        compiled.destinations.iter().map(|(_, length, rules)| (*length, *rules)).collect();
    assert_eq!(found, [(104, 0b11), (0, 0b10)]);
    assert_eq!(compiled.values, [(Condition::Port, word(80), 0b11)]);
}

#[test]
fn protocols_are_by_name_and_number() {
    let compiled = compiled(
        "rules:\n\
         - {name: a, event: connect, when: {protocol: [udp, tcp]}, action: alert}\n\
         - {name: b, event: connect, unless: {protocol: [\"17\"]}, action: alert}\n",
    );
    let values = [(Condition::Protocol, word(6), 0b11), (Condition::Protocol, word(17), 0b01)];
    assert_eq!(compiled.values, values);
    assert_eq!(compiled.set.otherwise[Condition::Protocol as usize], 0b10);
}

#[test]
fn a_group_counts_for_those_below_it() {
    let compiled = compiled(
        "rules:\n\
         - {name: a, event: exec, when: {cgroup: [/system]}, unless: {cgroup: [/system/good]}, action: kill}\n\
         - {name: b, event: exec, when: {cgroup: [/system2, /system/good]}, action: alert}\n",
    );
    let groups: Vec<(&str, Rules)> =
        compiled.groups.iter().map(|(group, rules)| (group.0.as_str(), *rules)).collect();
    assert_eq!(groups, [("/system", 0b01), ("/system/good", 0b10), ("/system2", 0b10)]);
}
