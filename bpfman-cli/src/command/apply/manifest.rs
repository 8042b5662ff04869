//! Reading of manifests. All are read and checked before any change.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bpfman_application::application::{ClusterBpfApplication, ClusterBpfApplicationSpec};
use bpfman_application::{check, spec::ApplicationSpec};
use bpfman_apply::desired::ProgramOwner;
use serde::Deserialize as _;
use serde_json::Value;

use crate::error::CliError;
use crate::show::applications::LOCAL_UID;

/// Maximum size of a manifest, in bytes; the API server has the same limit.
const MAX_MANIFEST: u64 = 3 << 20;

/// Only kind of manifest that is applied on a machine without a cluster.
pub const KIND: &str = "ClusterBpfApplication";

const API_VERSION: &str = "bpfman.io/v1alpha1";

#[derive(Clone, Debug)]
pub struct ManifestApplication {
    pub name: String,
    pub spec: ClusterBpfApplicationSpec,
}

impl ManifestApplication {
    pub fn owner(&self) -> ProgramOwner {
        owner(&self.name)
    }
}

/// Returns the owner, made of kind and name: the same for every user and every file.
pub fn owner(name: &str) -> ProgramOwner {
    ProgramOwner { namespace: None, name: name.to_owned(), uid: format!("{LOCAL_UID}{KIND}/{name}") }
}

struct Document {
    value: Value,
    place: String,
}

pub fn applications(files: &[PathBuf]) -> Result<Vec<ManifestApplication>, CliError> {
    let documents = documents(files)?;
    let names = named(&documents)?;
    let mut problems = Vec::new();
    let mut applications = Vec::new();
    for (document, name) in documents.iter().zip(names) {
        match application(&document.value, name) {
            Ok(application) => applications.push(application),
            Err(found) => problems.extend(found.into_iter().map(|one| format!("{} {one}", document.place))),
        }
    }
    refuse(problems)?;
    Ok(applications)
}

/// Returns the names of the applications in all files. Ignores errors in other fields.
pub fn names(files: &[PathBuf]) -> Result<Vec<String>, CliError> {
    named(&documents(files)?)
}

fn refuse(problems: Vec<String>) -> Result<(), CliError> {
    match &problems[..] {
        [] => Ok(()),
        [one] => Err(invalid(one.clone())),
        several => Err(invalid(format!("{} problems\n  {}", several.len(), several.join("\n  ")))),
    }
}

fn invalid(what: String) -> CliError {
    CliError::Invalid { what, hint: Some("nothing was changed; correct the manifest".into()) }
}

fn documents(files: &[PathBuf]) -> Result<Vec<Document>, CliError> {
    let mut documents = Vec::new();
    for file in files {
        let name =
            if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
        let text = read(file)?;
        for (at, document) in serde_norway::Deserializer::from_str(&text).enumerate() {
            let place = format!("{name}, document {}:", at + 1);
            let value = Value::deserialize(document)
                .map_err(|error| invalid(format!("{place} it is neither YAML nor JSON: {error}")))?;
            match value.get("items").and_then(Value::as_array) {
                // The document has only comments.
                None if value.is_null() => {}
                Some(items) if value.get("kind").and_then(Value::as_str) == Some("List") => {
                    documents.extend(items.iter().enumerate().map(|(item, value)| Document {
                        value: value.clone(),
                        place: format!("{name}, document {}, item {}:", at + 1, item + 1),
                    }));
                }
                _ => documents.push(Document { value, place }),
            }
        }
    }
    match documents.len() {
        0 => Err(invalid("the manifest is empty".to_owned())),
        _ => Ok(documents),
    }
}

fn read(file: &Path) -> Result<String, CliError> {
    let failed = |source| CliError::File { path: file.to_path_buf(), source };
    let mut text = String::new();
    let length = if file == Path::new("-") {
        io::stdin().lock().take(MAX_MANIFEST + 1).read_to_string(&mut text)
    } else {
        fs::File::open(file).map_err(failed)?.take(MAX_MANIFEST + 1).read_to_string(&mut text)
    };
    if length.map_err(failed)? as u64 > MAX_MANIFEST {
        return Err(invalid(format!("{} is longer than {} MiB", file.display(), MAX_MANIFEST >> 20)));
    }
    Ok(text)
}

fn named(documents: &[Document]) -> Result<Vec<String>, CliError> {
    let mut problems = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for Document { value, place } in documents {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let name = text("/metadata/name");
        match (text("/apiVersion"), text("/kind")) {
            (API_VERSION, KIND) if !is_name(name) => problems.push(format!(
                "{place} metadata.name: \"{name}\" is no name: letters a to z, digits, - and . are allowed, 253 at most"
            )),
            (API_VERSION, KIND) if names.iter().any(|other| other == name) => {
                problems.push(format!("{place} {KIND} {name} is there twice"));
            }
            (API_VERSION, KIND) => names.push(name.to_owned()),
            (API_VERSION, "BpfApplication") => problems.push(format!(
                "{place} kind: BpfApplication attaches within pods, and there are none without a cluster; \
                 only {KIND} is applied here"
            )),
            (version, kind) => problems.push(format!(
                "{place} kind: \"{kind}\" of \"{version}\" is not known here; only {KIND} of {API_VERSION} is applied"
            )),
        }
    }
    refuse(problems)?;
    Ok(names)
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=253).contains(&name.len())
        && name.chars().all(|c| plain(c) || matches!(c, '-' | '.'))
        && name.starts_with(plain)
        && name.ends_with(plain)
}

fn application(value: &Value, name: String) -> Result<ManifestApplication, Vec<String>> {
    let text =
        |problems: Vec<check::SpecProblem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    let problems = check::manifest(value);
    if !problems.is_empty() {
        return Err(text(problems));
    }
    let object: ClusterBpfApplication =
        serde_json::from_value(without_nulls(value)).map_err(|error| vec![format!("spec: {error}")])?;
    let problems = check::application(&ApplicationSpec::from(object.spec.clone()));
    if problems.is_empty() {
        Ok(ManifestApplication { name, spec: object.spec })
    } else {
        Err(text(problems))
    }
}

/// Removes fields that are `null`, which the API server treats as absent.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name.clone(), without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_nulls).collect()),
        other => other.clone(),
    }
}
