use std::collections::BTreeMap;

use crate::media;

/// Types of programs and maps by name, in the words of [`crate::vocabulary`]. Advisory: the object decides.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Labels {
    /// Types of programs by function name.
    pub programs: BTreeMap<String, String>,
    /// Types of maps by name.
    pub maps: BTreeMap<String, String>,
}

/// Error of a label that is not a JSON object of strings.
#[derive(Debug, thiserror::Error)]
#[error("the image's label {label} is not a JSON object of strings: {source}; it is `{value}`")]
pub struct LabelError {
    /// Name of the label.
    pub label: &'static str,
    /// Value of the label, shortened to 200 characters.
    pub value: String,
    /// Error of the JSON parser.
    pub source: serde_json::Error,
}

impl Labels {
    /// Reads an image's labels, the current or the four legacy ones. The result is empty if there are none.
    pub fn read(labels: &BTreeMap<String, String>) -> Result<Self, LabelError> {
        let (programs, maps) = (labels.get(media::LABEL_PROGRAMS), labels.get(media::LABEL_MAPS));
        if programs.is_none() && maps.is_none() {
            return Ok(Self::read_legacy(labels).unwrap_or_default());
        }
        Ok(Self {
            programs: object(media::LABEL_PROGRAMS, programs)?,
            maps: object(media::LABEL_MAPS, maps)?,
        })
    }

    fn read_legacy(labels: &BTreeMap<String, String>) -> Option<Self> {
        // All four labels are required, although only two are used.
        labels.get(media::LEGACY_PROGRAM_NAME)?;
        labels.get(media::LEGACY_FILENAME)?;
        let function = labels.get(media::LEGACY_FUNCTION_NAME)?;
        let kind = labels.get(media::LEGACY_PROGRAM_TYPE)?;
        Some(Self { programs: BTreeMap::from([(function.clone(), kind.clone())]), maps: BTreeMap::new() })
    }

    /// Returns the text of the label `io.ebpf.programs`.
    #[must_use]
    pub fn programs_json(&self) -> String {
        json(&self.programs)
    }

    /// Returns the text of the label `io.ebpf.maps`; `{}` without maps, because v0.6.0 requires the label.
    #[must_use]
    pub fn maps_json(&self) -> String {
        json(&self.maps)
    }

    /// Returns both labels as they are in an image's configuration.
    #[must_use]
    pub fn write(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (media::LABEL_PROGRAMS.to_owned(), self.programs_json()),
            (media::LABEL_MAPS.to_owned(), self.maps_json()),
        ])
    }
}

fn json(names: &BTreeMap<String, String>) -> String {
    let names = names.iter().map(|(name, kind)| (name.clone(), kind.as_str().into()));
    serde_json::Value::Object(names.collect()).to_string()
}

fn object(label: &'static str, value: Option<&String>) -> Result<BTreeMap<String, String>, LabelError> {
    let Some(value) = value else { return Ok(BTreeMap::new()) };
    serde_json::from_str(value).map_err(|source| LabelError {
        label,
        value: value.chars().take(200).collect(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn labels_read_back_what_they_write() {
        let labels = Labels { programs: map(&[("pass", "xdp"), ("a\"b", "tc")]), maps: map(&[]) };
        assert_eq!(labels.maps_json(), "{}");
        assert_eq!(Labels::read(&labels.write()).unwrap(), labels);
    }

    #[test]
    fn labels_of_a_single_program_in_the_old_form_are_read() {
        let mut old = map(&[
            ("io.ebpf.program_name", "counter"),
            ("io.ebpf.bpf_function_name", "xdp_stats"),
            ("io.ebpf.program_type", "xdp"),
            ("io.ebpf.filename", "bpf.o"),
        ]);
        assert_eq!(Labels::read(&old).unwrap().programs, map(&[("xdp_stats", "xdp")]));
        old.remove("io.ebpf.filename");
        assert_eq!(Labels::read(&old).unwrap(), Labels::default());
    }

    #[test]
    fn labels_that_are_not_objects_of_strings_are_named() {
        for value in ["", "[]", "{\"a\":1}", "{\"a\":\"xdp\"", "null"] {
            let error = Labels::read(&map(&[("io.ebpf.programs", value)])).unwrap_err();
            assert!(error.to_string().contains("io.ebpf.programs"), "{error}");
        }
    }
}
