//! The table `[gate]` of `bpfman.toml`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use serde::Deserialize;

const FAIL_OPEN: std::ops::RangeInclusive<u64> = 5..=86_400;
const DEFAULT_FAIL_OPEN: u64 = 60;
/// Capacity of the gate's maps, minus the daemon's own executable.
const MAX_EXECUTABLES: usize = 255;
/// Maximum number of path components of a cgroup that the gate checks, including the root.
const DEEPEST: usize = 12;

/// Exceptions besides the daemon. Unknown keys are errors, since one may be a misspelt exception.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GateTable {
    image: Option<String>,
    executables: Vec<PathBuf>,
    groups: Vec<PathBuf>,
    fail_open_seconds: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateSettings {
    pub image: String,
    pub executables: Vec<PathBuf>,
    /// Cgroups (version 2) with permission to load, as paths in the hierarchy.
    pub groups: Vec<PathBuf>,
    /// Time after which the gate opens unless the daemon renews its timer.
    pub fail_open: Duration,
}

impl GateTable {
    pub fn settings(self) -> anyhow::Result<Option<GateSettings>> {
        let Some(image) = self.image else {
            if self.executables.is_empty() && self.groups.is_empty() && self.fail_open_seconds.is_none() {
                return Ok(None);
            }
            bail!("configuration: [gate] has no image: gate.image names the one with the gate's programs");
        };
        let paths = [("executables", &self.executables), ("groups", &self.groups)];
        for (name, paths) in paths {
            if let Some(path) = paths.iter().find(|path| !path.is_absolute()) {
                bail!("configuration: gate.{name}: \"{}\" does not begin with a slash", path.display());
            }
            if let Some(path) = paths.iter().find(|path| path.components().count() < 2) {
                bail!("configuration: gate.{name}: \"{}\" would be everybody", path.display());
            }
            if let Some(path) =
                paths.iter().find(|path| name == "groups" && path.components().count() > DEEPEST)
            {
                let depth = DEEPEST - 1;
                bail!("configuration: gate.groups: \"{}\" is deeper than {depth} levels", path.display());
            }
            if paths.len() > MAX_EXECUTABLES {
                bail!(
                    "configuration: gate.{name} has {} entries, and {MAX_EXECUTABLES} are the most",
                    paths.len()
                );
            }
        }
        let seconds = self.fail_open_seconds.unwrap_or(DEFAULT_FAIL_OPEN);
        if !FAIL_OPEN.contains(&seconds) {
            let (least, most) = (FAIL_OPEN.start(), FAIL_OPEN.end());
            bail!("configuration: gate.fail_open_seconds {seconds} is not between {least} and {most}");
        }
        let fail_open = Duration::from_secs(seconds);
        Ok(Some(GateSettings { image, executables: self.executables, groups: self.groups, fail_open }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<GateSettings>, String> {
        let table: GateTable = toml::from_str(text).map_err(|error| error.to_string())?;
        table.settings().map_err(|error| error.to_string())
    }

    #[test]
    fn there_is_no_gate_unless_it_is_asked_for() {
        assert_eq!(read(""), Ok(None));
        let gate = read("image = \"example.com/gate:1\"").unwrap().unwrap();
        assert_eq!(gate.fail_open, Duration::from_secs(60));
        assert!(gate.executables.is_empty());
    }

    #[test]
    fn invalid_gate_setting_is_named() {
        let image = "image = \"example.com/gate:1\"\n";
        for (text, words) in [
            ("executables = [\"/usr/sbin/runc\"]", "no image"),
            (&format!("{image}executables = [\"runc\"]"), "gate.executables: \"runc\""),
            (&format!("{image}groups = [\"system.slice\"]"), "gate.groups: \"system.slice\""),
            (&format!("{image}groups = [\"/\"]"), "everybody"),
            (&format!("{image}groups = [\"/a/b/c/d/e/f/g/h/i/j/k/l\"]"), "deeper than 11"),
            (&format!("{image}fail_open_seconds = 1"), "between 5 and 86400"),
            (&format!("{image}executabels = []"), "executabels"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
