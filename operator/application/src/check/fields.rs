use regex::Regex;

use super::SpecProblem;
use super::selectors::label_selector;
use crate::application::ApplicationCommon;
use crate::bytecode::ByteCode;
use crate::map_export::{self, ExportedMap};
use crate::name;
use crate::values::{MAX_NAME, MAX_NAMES, MAX_TEXT};

#[derive(Debug, Default)]
pub struct SpecProblems {
    pub problems: Vec<SpecProblem>,
}

impl SpecProblems {
    pub fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(SpecProblem { path: path.into(), message: message.into() });
    }

    pub fn name(&mut self, path: &str, value: &str) {
        let length = value.chars().count();
        if !(1..=64).contains(&length) || !matches(name::NAME, value) {
            self.add(
                path,
                format!(
                    "\"{value}\" is no name: 3 to 64 characters, a letter first, then letters, digits and _ are allowed"
                ),
            );
        }
    }

    pub fn priority(&mut self, path: &str, value: Option<i32>) {
        if let Some(value) = value.filter(|value| !(0..=1000).contains(value)) {
            self.add(format!("{path}.priority"), format!("{value} is out of range: 0 to 1000 are allowed"));
        }
    }
}

pub fn matches(pattern: &str, value: &str) -> bool {
    // Compilation cannot fail: the patterns are constants, and a test compiles each.
    compiled(pattern).is_ok_and(|pattern| pattern.is_match(value))
}

/// The published patterns write the null byte as `\0`, which this engine does not support.
fn compiled(pattern: &str) -> Result<Regex, regex::Error> {
    Regex::new(&pattern.replace(r"\0", r"\x00"))
}

pub fn common(found: &mut SpecProblems, common: &ApplicationCommon) {
    label_selector(found, "spec.nodeSelector", &common.node_selector);
    byte_code(found, &common.byte_code);
    for name in common.global_data.iter().flatten().map(|(name, _)| name) {
        if name.is_empty() || name.contains('\0') {
            found.add("spec.globalData", format!("{name:?} names no global variable"));
        }
    }
    values(found, common);
    map_exports(found, common.map_exports.as_deref().unwrap_or_default());
}

fn values(found: &mut SpecProblems, common: &ApplicationCommon) {
    let names = |name: &str| !name.is_empty() && name.chars().count() <= MAX_NAME && !name.contains('\0');
    let most = |found: &mut SpecProblems, path: &str, count: usize| {
        if count > MAX_NAMES {
            found.add(path, format!("{count} are too many: at most {MAX_NAMES} are allowed"));
        }
    };
    let globals = common.globals.iter().flatten();
    most(found, "spec.globals", globals.clone().count());
    for (name, text) in globals {
        let path = format!("spec.globals.{name}");
        if !names(name) {
            found.add("spec.globals", format!("{:?} names no global variable", shown(name)));
        } else if common.global_data.iter().flatten().any(|(other, _)| other == name) {
            found.add(path, "spec.globalData has a value for it too: give it one");
        } else if text.chars().count() > MAX_TEXT {
            found.add(path, format!("it has more than {MAX_TEXT} characters"));
        }
    }
    let sizes = common.map_sizes.iter().flatten();
    most(found, "spec.mapSizes", sizes.clone().count());
    for (name, entries) in sizes {
        if !names(name) || name == "*" || !matches(map_export::MAP, name) {
            let message = format!("{:?} is no name of a map: letters, digits, _ and .", shown(name));
            found.add("spec.mapSizes", message);
        } else if *entries == 0 {
            found.add(format!("spec.mapSizes.{name}"), "0 is out of range: 1 to 4294967295 are allowed");
        }
    }
}

fn shown(name: &str) -> String {
    name.chars().take(60).collect()
}

fn map_exports(found: &mut SpecProblems, exports: &[ExportedMap]) {
    let most = map_export::MAX_EXPORTS;
    if exports.len() > most {
        found.add("spec.mapExports", format!("{} are too many: at most {most} are allowed", exports.len()));
    }
    for (i, export) in exports.iter().enumerate() {
        let path = format!("spec.mapExports[{i}]");
        if export.map.len() > 64 || !matches(map_export::MAP, &export.map) {
            let message = format!("{:?} is no name of a map: letters, digits, _ and ., or *", export.map);
            found.add(format!("{path}.map"), message);
        }
        let path = format!("{path}.namespaces");
        if !(1..=most).contains(&export.namespaces.len()) {
            let message = format!("{} namespaces: 1 to {most} are allowed", export.namespaces.len());
            found.add(&*path, message);
        }
        for name in export.namespaces.iter().filter(|name| !matches(map_export::NAMESPACE, name)) {
            found.add(
                &*path,
                format!("{name:?} is no name of a namespace: small letters, digits and -, or *"),
            );
        }
    }
}

fn byte_code(found: &mut SpecProblems, code: &ByteCode) {
    let path = "spec.byteCode";
    match (&code.image, &code.path) {
        (Some(_), Some(_)) => {
            found.add(path, "image and path are both given: exactly one of them is allowed")
        }
        (None, None) => found.add(path, "neither image nor path is given: exactly one of them is needed"),
        (Some(image), None) => {
            if image.url.chars().count() > 525 || !matches(name::IMAGE, &image.url) {
                found.add(
                    format!("{path}.image.url"),
                    format!(
                        "\"{}\" is no image reference: REGISTRY/REPOSITORY:TAG of at most 525 characters",
                        image.url
                    ),
                );
            }
            if let Some(secret) = &image.image_pull_secret {
                for (field, value) in [("name", &secret.name), ("namespace", &secret.namespace)] {
                    if value.is_empty() {
                        found.add(
                            format!("{path}.image.imagePullSecret.{field}"),
                            "it is empty: a name is needed",
                        );
                    }
                }
            }
        }
        (None, Some(file)) => {
            if !matches(name::PATH, file) {
                found.add(format!("{path}.path"), format!("\"{file}\" is no absolute path of a file"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_patterns_compile() {
        for pattern in [name::NAME, name::IMAGE, name::PATH] {
            assert!(compiled(pattern).is_ok(), "{pattern}");
        }
    }
}
