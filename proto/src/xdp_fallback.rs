use crate::ext::v1::Link;

/// Returns the warning that an XDP chain runs in generic mode because the driver refused it.
#[must_use]
pub fn xdp_fallback(interface: &str, refusal: &str) -> String {
    format!(
        "XDP of {interface} runs in generic mode, after the socket buffer is allocated, which is slower: the driver refused it \
         ({refusal})"
    )
}

impl Link {
    /// Returns the warning that XDP runs in the generic mode.
    #[must_use]
    pub fn xdp_fallback(&self) -> Option<String> {
        let refusal =
            self.xdp.as_ref().map(|xdp| xdp.refusal.as_str()).filter(|refusal| !refusal.is_empty())?;
        Some(xdp_fallback(self.hook.strip_prefix("xdp:").unwrap_or(&self.hook), refusal))
    }
}
