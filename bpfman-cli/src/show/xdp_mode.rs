//! Text of XDP modes.

use super::json::LinkJson;

/// Formats a kind of attachment with the XDP mode: "xdp, generic (the driver refused it: …)".
pub fn with_xdp_mode(mode: &str, xdp_mode: Option<&str>, refusal: Option<&str>) -> String {
    let Some(xdp_mode) = xdp_mode else { return mode.to_owned() };
    match refusal {
        Some(refusal) => format!("{mode}, {xdp_mode} (the driver refused it: {refusal})"),
        None => format!("{mode}, {xdp_mode}"),
    }
}

/// Returns a warning if the driver refused the chain of a new link.
pub fn fallback_warning(link: &LinkJson) -> Option<String> {
    let refusal = link.xdp_refusal.as_ref()?;
    Some(bpfman_proto::xdp_fallback(link.attach.iface.as_deref().unwrap_or("the interface"), refusal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_has_the_refusal_only_where_there_is_one() {
        assert_eq!(with_xdp_mode("tcx", None, None), "tcx");
        assert_eq!(with_xdp_mode("xdp", Some("native"), None), "xdp, native");
        assert_eq!(
            with_xdp_mode("xdp", Some("generic"), Some("Operation not supported")),
            "xdp, generic (the driver refused it: Operation not supported)"
        );
    }
}
