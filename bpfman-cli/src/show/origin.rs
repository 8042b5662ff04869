//! Source of a program, in few lines.

use super::json::ProgramJson;

/// Returns owner, source, verification, caller, time and state of a program.
#[must_use]
pub fn origin_lines(program: &ProgramJson) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |name: &str, value: Option<String>| {
        lines.extend(value.map(|value| format!("{name} {value}")));
    };
    line("owner", program.owner.clone());
    line("application", program.application.clone());
    let bytecode = program.bytecode.as_ref();
    let image =
        bytecode.and_then(|from| from.image_url.as_ref().map(|url| (url, from.image_digest.as_ref())));
    line(
        "from",
        match image {
            Some((url, Some(digest))) => Some(format!("{url} ({digest})")),
            Some((url, None)) => Some(url.clone()),
            None => bytecode.and_then(|from| from.path.clone()),
        },
    );
    line("verified by", bytecode.and_then(|from| from.verified_by.clone()));
    line("asked for by user", program.loaded_by_uid.map(|uid| uid.to_string()));
    line("loaded at", program.kernel.as_ref().map(|kernel| kernel.loaded_at.clone()));
    line("limit", program.cpu_limit.clone());
    line("state", Some(program.state.clone()).filter(|state| !state.is_empty()));
    lines
}

#[cfg(test)]
mod tests {
    use bpfman_proto::ext::v1 as ext;
    use bpfman_proto::v1;
    use bpfman_proto::v1::bytecode_location::Location;

    use super::*;

    #[test]
    fn an_image_is_named_with_who_signed_it_and_by_which_rule() {
        let image = v1::BytecodeImage { url: "r/x:1".into(), ..Default::default() };
        let program = ext::Program {
            info: Some(v1::ProgramInfo {
                name: "filter".into(),
                bytecode: Some(v1::BytecodeLocation { location: Some(Location::Image(image)) }),
                ..Default::default()
            }),
            image_digest: "sha256:ab".into(),
            verified_by: "key sha256:cd (rule r/*)".into(),
            owner: "user:7".into(),
            loaded_by_uid: Some(7),
            state: "ok".into(),
            ..Default::default()
        };
        assert_eq!(
            origin_lines(&ProgramJson::new(&program)),
            [
                "owner user:7",
                "from r/x:1 (sha256:ab)",
                "verified by key sha256:cd (rule r/*)",
                "asked for by user 7",
                "state ok"
            ]
        );
    }
}
