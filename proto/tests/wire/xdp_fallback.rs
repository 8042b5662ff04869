use bpfman_proto::ext::v1::{Link, XdpPlacement};

#[test]
fn only_a_refusal_is_warned_of() {
    let link = |refusal: &str| Link {
        hook: "xdp:eth0".to_owned(),
        xdp: Some(XdpPlacement { mode: "generic".to_owned(), refusal: refusal.to_owned() }),
        ..Link::default()
    };
    assert_eq!(link("").xdp_fallback(), None);
    assert_eq!(Link::default().xdp_fallback(), None);
    let warning = link("Operation not supported").xdp_fallback().unwrap_or_default();
    assert!(warning.starts_with("XDP of eth0 runs in generic mode"), "{warning}");
    assert!(warning.ends_with("(Operation not supported)"), "{warning}");
}
