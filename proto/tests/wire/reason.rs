use bpfman_proto::Reason;

#[test]
fn every_reason_is_found_by_its_name_and_no_other_is() {
    for reason in Reason::ALL {
        assert_eq!(Reason::from_name(reason.name()), Some(reason));
    }
    assert_eq!(Reason::from_name("a-later-reason"), None);
}
