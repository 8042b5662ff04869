//! Restrictions of a grant, as in `policy.toml`.

use std::fmt::Display;

use crate::grant::NetnsRule;
use crate::{Grant, GrantLimits};

impl Grant {
    /// Returns one line per key: `hooks = ["xdp:eth*"]`.
    #[must_use]
    pub fn restrictions(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut list = |key: &str, texts: Option<Vec<String>>| {
            lines.extend(texts.map(|texts| format!("{key} = [{}]", texts.join(", "))));
        };
        list("images", self.images.as_ref().map(quoted));
        list("files", self.files.as_ref().map(quoted));
        list("types", self.types.as_ref().map(quoted));
        list("hooks", self.hooks.as_ref().map(quoted));
        list("targets", self.targets.as_ref().map(quoted));
        list(
            "netns",
            self.netns.as_ref().map(|netns| match netns {
                NetnsRule::Own => quoted(["own"]),
                NetnsRule::Files(files) => quoted(files),
            }),
        );
        list("applications", (!self.applications.is_empty()).then(|| quoted(&self.applications)));
        lines.extend(
            self.priorities
                .as_ref()
                .map(|range| format!("priorities = \"{}-{}\"", range.start(), range.end())),
        );
        lines.extend(self.tenant.as_ref().map(|_| "scope = \"cgroup\"".to_owned()));
        let helpers =
            self.tenant.as_ref().map(|tenant| &tenant.helpers).filter(|helpers| !helpers.is_empty());
        lines.extend(helpers.map(|helpers| format!("helpers = [{}]", quoted(helpers).join(", "))));
        lines.extend(self.over_all.then(|| "over = \"all\"".to_owned()));
        lines.extend(self.executables.as_ref().map(|digests| {
            let digests = digests.iter().map(|digest| format!("sha256:{digest}"));
            format!("executables = [{}]", quoted(digests).join(", "))
        }));
        lines.extend(self.programs.as_ref().map(|list| format!("programs = \"{}\"", list.display())));
        lines.extend(self.keep.then(|| "keep = true".to_owned()));
        let GrantLimits { programs, links, map_memory, verified_instructions, calls, cpu } = self.limits;
        for (key, limit) in [
            ("programs", programs),
            ("links", links),
            ("map_memory", map_memory),
            ("verified_instructions", verified_instructions),
            ("calls", calls),
        ] {
            lines.extend(limit.map(|limit| format!("limits.{key} = {limit}")));
        }
        lines.extend(cpu.map(|cpu| format!("limits.cpu = \"{}\"", cpu.share)));
        lines.extend(cpu.map(|cpu| format!("limits.over_cpu = \"{}\"", cpu.action.name())));
        lines
    }
}

fn quoted<T: Display>(texts: impl IntoIterator<Item = T>) -> Vec<String> {
    texts.into_iter().map(|text| format!("\"{text}\"")).collect()
}
