use std::fmt::Write as _;
use std::path::Path;

use bpfman_metrics::section_difference;
use bpfmand_access::ObjectClass;

use super::*;

fn names(method: Method) -> (&'static str, &'static str) {
    let path = method.path().trim_start_matches('/');
    path.split_once('/').unwrap_or_default()
}

const fn shown(rule: ObjectRule) -> &'static str {
    match rule {
        Unused => "",
        Shown => "shown",
        Concerned => "concerned",
        Covered => "covered",
        Carried => "carried",
        Root => "root",
    }
}

fn table() -> String {
    let mut text = String::new();
    let mut service = "";
    for method in Method::ALL {
        let (of, name) = names(*method);
        if of != service {
            let _first = if service.is_empty() { "" } else { "\n" };
            let _written = write!(
                text,
                "{_first}`{of}`\n\n| call | verb | journal | programs | links | maps | hooks | bytecode | places | applications |\n\
                 | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
            );
            service = of;
        }
        let row = row_of(*method);
        let mut verb = match row.needs {
            CallNeeds::Nothing => "none".to_owned(),
            CallNeeds::Verb(verb) => verb.to_string(),
        };
        verb.extend(row.besides.map(|verb| format!(", {verb}")));
        let journal = match row.journal {
            Change => "always",
            Access => "always, among reads",
            Refusal => "refusals",
        };
        let cells: Vec<_> = ObjectClass::ALL.map(|class| shown(row.rule(class))).into();
        let _written = writeln!(text, "| {name} | {verb} | {journal} | {} |", cells.join(" | "));
    }
    text
}

#[test]
fn page_shows_the_table() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/calls.md");
    assert_eq!(
        section_difference(&page, "table of calls", &table()).unwrap_or_else(|why| panic!("{why}")),
        None
    );
}

#[test]
fn only_root_makes_calls_that_no_grant_allows() {
    for method in Method::ALL {
        let row = row_of(*method);
        let rules = ObjectClass::ALL.map(|class| row.rule(class));
        let is_roots = row.needs == CallNeeds::Verb(Verb::Administer);
        assert!(is_roots || !rules.contains(&Root), "{method:?}");
        assert!(!(is_roots && rules.contains(&Covered)), "{method:?}");
    }
}

#[test]
fn classes_stand_in_the_order_of_their_numbers() {
    for (place, class) in ObjectClass::ALL.into_iter().enumerate() {
        assert_eq!(class as usize, place);
    }
}

#[test]
fn call_asks_for_no_right_that_its_row_lacks() {
    let row = row_of(Method::BpfmanDetach);
    assert!(row.has(Verb::Attach, [ObjectClass::Link].into_iter()));
    assert!(!row.has(Verb::Attach, [ObjectClass::Link, ObjectClass::Program].into_iter()));
    assert!(!row.has(Verb::Load, [ObjectClass::Link].into_iter()));
    let attach = row_of(Method::BpfmanChainsAttach);
    assert!(attach.has(Verb::Settings, [ObjectClass::Hook, ObjectClass::Place].into_iter()));
}
