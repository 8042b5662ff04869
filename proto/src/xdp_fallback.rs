//! The words for a chain that its driver refused.

use crate::ext::v1::Link;

/// Warns that an XDP chain runs in generic mode because the driver refused it.
#[must_use]
pub fn xdp_fallback(interface: &str, refusal: &str) -> String {
    format!(
        "XDP of {interface} runs in generic mode, after the socket buffer is allocated, which is slower: the driver refused it \
         ({refusal})"
    )
}

impl Link {
    /// [`xdp_fallback`] for the hook of a link; none where the driver took the chain.
    #[must_use]
    pub fn xdp_fallback(&self) -> Option<String> {
        let refusal =
            self.xdp.as_ref().map(|xdp| xdp.refusal.as_str()).filter(|refusal| !refusal.is_empty())?;
        Some(xdp_fallback(self.hook.strip_prefix("xdp:").unwrap_or(&self.hook), refusal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext::v1::XdpPlacement;

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
}
