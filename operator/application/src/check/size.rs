use super::SpecProblem;
use crate::spec::ApplicationSpec;

/// An API server stores objects of up to 1.5 MiB, with metadata and status.
const MAX_SPEC: usize = 1 << 20;

pub fn spec(spec: &ApplicationSpec) -> Option<SpecProblem> {
    let json = serde_json::to_vec(&(&spec.common, &spec.programs));
    let size = json.map_or(0, |json| json.len());
    (size > MAX_SPEC).then(|| SpecProblem {
        path: "spec".to_owned(),
        message: format!(
            "it has {size} bytes as JSON: at most {MAX_SPEC} are kept; select interfaces and pods by patterns and \
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
