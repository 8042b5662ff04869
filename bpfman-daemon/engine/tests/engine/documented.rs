//! Limits in docs/configuration.md are those of the code.

const PAGE: &str = include_str!("../../../../docs/configuration.md");

#[test]
fn documented_limits_are_those_of_the_code() {
    let members = bpfmand_splice::MAX_MEMBERS;
    assert_eq!(bpfman_model::MAX_CHAIN_MEMBERS, members, "the order and the splicer take the same number");
    for (what, most) in [
        ("members of a chain", members.to_string()),
        ("an object file", format!("{} MiB", bpfmand_object::MAX_OBJECT_BYTES >> 20)),
    ] {
        let row = PAGE.lines().find(|line| line.starts_with(&format!("| {what} |")));
        assert_eq!(row, Some(&*format!("| {what} | {most} |")));
    }
}
