use std::path::Path;
use std::time::Duration;

use bpfman_profile::Profile;

use super::arguments::ProfileOptions;
use super::connect::ClientSession;
use super::error::ClientError;
use super::observers::{Answers, query_all_pods};
use super::{Shown, ShownEnd};

const PROFILER: &str = "profiler";
const TIMEOUT_MARGIN: Duration = Duration::from_secs(60);

pub async fn profile(
    session: &ClientSession,
    namespace: Option<&str>,
    options: &ProfileOptions,
) -> Result<Shown, ClientError> {
    let path = format!("/profile?seconds={}&format=pprof", options.seconds);
    let longest = Duration::from_secs(options.seconds) + TIMEOUT_MARGIN;
    let read = |body: &[u8]| Profile::from_pprof(body).map_err(|error| format!("its profile: {error}"));
    let answers = query_all_pods(session, (PROFILER, namespace), &path, longest, read).await?;
    answers.name_silent();
    let well = answers.silent.is_empty();
    let Some(merged) = merge(answers) else { return Err(ClientError::AllSilent(PROFILER)) };
    for note in &merged.notes {
        eprintln!("{}", bpfman_proto::printable::lines(note));
    }
    let end = ShownEnd::of(well);
    let bytes = options.output.write(&merged);
    if options.file == Path::new("-") {
        return Ok(Shown { text: bytes, end });
    }
    std::fs::write(&options.file, bytes)
        .map_err(|error| ClientError::Output(format!("{}: {error}", options.file.display())))?;
    Ok(Shown { text: Vec::new(), end })
}

fn merge(answers: Answers<Profile>) -> Option<Profile> {
    let nodes = answers.heard.into_iter().map(|(node, profile)| profile.under(&node));
    nodes.reduce(|mut merged, node| {
        merged.merge(node);
        merged
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::time::SystemTime;

    use bpfman_profile::Weight;

    use super::*;

    fn body(samples: u64) -> Vec<u8> {
        let mut profile = Profile::new(SystemTime::UNIX_EPOCH, Duration::from_secs(1));
        let stack = vec!["shop".to_owned(), "main".to_owned()];
        profile.add(stack, Weight { samples, nanoseconds: samples * 10 });
        profile.to_pprof()
    }

    #[test]
    fn nodes_are_the_roots_of_what_they_run() {
        let heard = [("a", 3), ("b", 4)]
            .map(|(node, samples)| (node.to_owned(), Profile::from_pprof(&body(samples)).unwrap()));
        let merged = merge(Answers { heard: heard.into(), silent: Vec::new() }).unwrap();
        assert_eq!(merged.to_folded(), "a;shop;main 3\nb;shop;main 4\n");
        assert_eq!(merged.total(), Weight { samples: 7, nanoseconds: 70 });
        assert!(merge(Answers { heard: Vec::new(), silent: Vec::new() }).is_none());
    }
}
