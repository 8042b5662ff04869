//! The table `[radar]` of `bpfman.toml`, and the object with the radar's programs.

use std::fmt;
use std::path::PathBuf;

use anyhow::bail;
use bpfman_model::{BytecodeSource, PullPolicy};
use serde::Deserialize;

/// The table as written. Unknown keys are errors, since one may be misspelt.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RadarTable {
    image: Option<String>,
    file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RadarObject {
    File(PathBuf),
    Image(String),
}

impl RadarTable {
    pub fn settings(self) -> anyhow::Result<Option<RadarObject>> {
        Ok(match (self.image, self.file) {
            (None, None) => None,
            (Some(_), Some(_)) => bail!("configuration: [radar] has both image and file: which is it?"),
            (Some(image), None) if image.is_empty() => bail!("configuration: radar.image is empty"),
            (Some(image), None) => Some(RadarObject::Image(image)),
            (None, Some(file)) if !file.is_absolute() => {
                bail!("configuration: radar.file: \"{}\" does not begin with a slash", file.display())
            }
            (None, Some(file)) => Some(RadarObject::File(file)),
        })
    }
}

impl RadarObject {
    pub fn source(&self) -> BytecodeSource {
        match self {
            Self::File(path) => BytecodeSource::File(path.clone()),
            Self::Image(url) => BytecodeSource::Image {
                url: url.clone(),
                pull_policy: PullPolicy::IfNotPresent,
                credentials: None,
            },
        }
    }

    pub fn of(source: &BytecodeSource) -> Self {
        match source {
            BytecodeSource::File(path) => Self::File(path.clone()),
            BytecodeSource::Image { url, .. } => Self::Image(url.clone()),
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(' ')? {
            ("file", path) => Some(Self::File(path.into())),
            ("image", url) => Some(Self::Image(url.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for RadarObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Image(url) => write!(f, "image {url}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<RadarObject>, String> {
        let table: RadarTable = toml::from_str(text).map_err(|error| error.to_string())?;
        table.settings().map_err(|error| error.to_string())
    }

    #[test]
    fn radar_is_off_by_default_and_invalid_settings_are_named() {
        assert_eq!(read(""), Ok(None));
        let object = read("file = \"/usr/lib/bpfman/radar.o\"").unwrap().unwrap();
        assert_eq!(RadarObject::parse(&object.to_string()), Some(object));
        let object = read("image = \"example.com/radar:1\"").unwrap().unwrap();
        assert_eq!(RadarObject::parse(&object.to_string()), Some(object));
        for (text, words) in [
            ("file = \"radar.o\"", "radar.file: \"radar.o\" does not begin with a slash"),
            ("file = \"/a\"\nimage = \"b\"", "both image and file"),
            ("image = \"\"", "radar.image is empty"),
            ("imgae = \"b\"", "imgae"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(RadarObject::parse("elsewhere x"), None);
    }
}
