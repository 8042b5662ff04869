//! Specs that no API server would keep.

use super::SpecProblem;
use crate::spec::ApplicationSpec;

/// The largest spec, in bytes of JSON. An API server keeps objects of 1.5 MiB; metadata and the status are in them too,
/// and each revision of a rollout holds the spec once more.
const LARGEST: usize = 1 << 20;

/// A spec that is too large.
pub fn spec(spec: &ApplicationSpec) -> Option<SpecProblem> {
    let json = serde_json::to_vec(&(&spec.common, &spec.programs));
    // It was read from a text: it has a form as JSON.
    let size = json.map_or(0, |json| json.len());
    (size > LARGEST).then(|| SpecProblem {
        path: "spec".to_owned(),
        message: format!(
            "it has {size} bytes as JSON: at most {LARGEST} are kept; select interfaces and pods by patterns and \
             labels, or make several applications"
        ),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;

    fn with_links(count: usize) -> ApplicationSpec {
        let link = json!({ "interfaceSelector": { "interfaces": ["eth0"] } });
        let programs = json!([{ "name": "count", "type": "XDP", "xdp": { "links": vec![link; count] } }]);
        let spec = json!({ "nodeSelector": {}, "byteCode": { "path": "/x.o" }, "programs": programs });
        ApplicationSpec::read(None, spec).unwrap()
    }

    #[test]
    fn a_spec_that_no_server_keeps_is_refused_with_the_bound() {
        assert_eq!(spec(&with_links(1000)), None);
        let problem = spec(&with_links(30_000)).unwrap();
        assert!(problem.path == "spec" && problem.message.contains("at most 1048576"), "{problem}");
    }
}
