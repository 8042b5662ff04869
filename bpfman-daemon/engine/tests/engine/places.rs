//! Positions at which the tests of faults fail a call or kill the daemon.

/// Returns positions, counted from 1; with nextest's profile `short`, only the first and the last of each name.
pub fn places<N: AsRef<str>>(names: &[N]) -> Vec<usize> {
    let is_short = std::env::var("NEXTEST_PROFILE").is_ok_and(|profile| profile == "short");
    let all = 1..=names.len();
    if is_short { all.filter(|at| is_end_of_its_name(names, *at)).collect() } else { all.collect() }
}

fn is_end_of_its_name<N: AsRef<str>>(names: &[N], at: usize) -> bool {
    let name = names[at - 1].as_ref();
    let is_other = |other: &N| other.as_ref() != name;
    names[..at - 1].iter().all(is_other) || names[at..].iter().all(is_other)
}

#[test]
fn short_form_has_the_first_and_the_last_place_of_each_name() {
    let names = ["load", "pin", "pin", "pin", "load", "attach"];
    let ends: Vec<_> = (1..=names.len()).filter(|at| is_end_of_its_name(&names, *at)).collect();
    assert_eq!(ends, [1, 2, 4, 5, 6]);
}
