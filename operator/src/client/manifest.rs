use std::io::Read as _;

use bpfman_application::check;
use bpfman_application::scope::Scope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::Value;

use super::error::ClientError;

/// Maximum size of a manifest: the API server accepts no larger object.
const MAX_MANIFEST: u64 = 3 << 20;

#[derive(Clone, Debug)]
pub struct ApplicationManifest {
    pub scope: Scope,
    pub name: String,
    pub namespace: Option<String>,
    pub selector: LabelSelector,
    pub spec: Value,
}

impl ApplicationManifest {
    pub fn read(path: &str) -> Result<Self, ClientError> {
        let unusable = |why: String| ClientError::Manifest(path.to_owned(), why);
        let mut text = String::new();
        let read = if path == "-" {
            std::io::stdin().take(MAX_MANIFEST + 1).read_to_string(&mut text)
        } else {
            std::fs::File::open(path).and_then(|file| file.take(MAX_MANIFEST + 1).read_to_string(&mut text))
        };
        read.map_err(|error| unusable(error.to_string()))?;
        if text.len() as u64 > MAX_MANIFEST {
            return Err(unusable(format!("it has more than {MAX_MANIFEST} bytes")));
        }
        Self::parse(&text).map_err(unusable)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let object: Value = serde_norway::from_str(text).map_err(|error| error.to_string())?;
        let word = |at: &str| object.pointer(at).and_then(Value::as_str).map(str::to_owned);
        let kind = word("/kind").unwrap_or_default();
        let scope =
            [Scope::Cluster, Scope::Namespaced].into_iter().find(|scope| scope.application_kind() == kind);
        let scope = scope
            .ok_or_else(|| format!("its kind is `{kind}`, not ClusterBpfApplication or BpfApplication"))?;
        // Older API servers silently drop unknown fields.
        let problems: Vec<String> = check::manifest(&object).iter().map(ToString::to_string).collect();
        if !problems.is_empty() {
            return Err(problems.join("; "));
        }
        let spec = object.get("spec").cloned().ok_or("it has no spec")?;
        let selector =
            spec.get("nodeSelector").cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new()));
        Ok(Self {
            scope,
            name: word("/metadata/name").ok_or("it has no metadata.name")?,
            namespace: word("/metadata/namespace"),
            selector: serde_json::from_value(selector)
                .map_err(|error| format!("spec.nodeSelector: {error}"))?,
            spec,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn invalid_application_is_refused_with_its_field() {
        let good = "kind: ClusterBpfApplication\nmetadata: {name: a}\nspec: {nodeSelector: {matchLabels: {zone: one}}, \
            byteCode: {path: /a.o}, programs: [{name: pass, type: XDP, xdp: {}}]}\n";
        let read = ApplicationManifest::parse(good).unwrap();
        assert_eq!((read.name.as_str(), read.scope), ("a", Scope::Cluster));
        assert_eq!(read.selector.match_labels.unwrap()["zone"], "one");
        for (text, why) in [
            ("kind: Pod\nmetadata: {name: a}\nspec: {}", "`Pod`"),
            (&good.replace("name: a}\nspec", "labels: {}}\nspec"), "metadata.name"),
            ("kind: BpfApplication\nmetadata: {name: a}", "spec: it is missing"),
            (&good.replace("{matchLabels: {zone: one}}", "all"), "spec.nodeSelector"),
            (&good.replace("programs", "programms"), "spec.programms"),
            ("{", "line"),
            (&format!("{good}---\n{good}"), "more than one document"),
        ] {
            let error = ApplicationManifest::parse(text).unwrap_err();
            assert!(error.contains(why), "{why}: {error}");
        }
    }
}
