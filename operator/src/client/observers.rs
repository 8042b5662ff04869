use std::time::Duration;

use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde::Serialize;

use super::applications::list;
use super::ask_pod::{get, node_of, port_of};
use super::connect::ClientSession;
use super::error::ClientError;
use super::progress::gather;

const MAX_CONCURRENT_REQUESTS: usize = 64;

#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct SilentNode {
    pub node: String,
    pub why: String,
}

pub struct Answers<T> {
    pub heard: Vec<(String, T)>,
    pub silent: Vec<SilentNode>,
}

pub async fn query_all_pods<T>(
    session: &ClientSession,
    (name, namespace): (&'static str, Option<&str>),
    path: &str,
    longest: Duration,
    read: impl Fn(&[u8]) -> Result<T, String>,
) -> Result<Answers<T>, ClientError> {
    let api: Api<Pod> = match namespace {
        Some(namespace) => Api::namespaced(session.client.clone(), namespace),
        None => Api::all(session.client.clone()),
    };
    let labels = format!("app.kubernetes.io/name={name}");
    let pods = list(api, ListParams::default().labels(&labels), "Pod").await?;
    // A pod that is not scheduled yet covers no node, so skipping it omits none.
    let pods: Vec<&Pod> = pods.iter().filter(|pod| !node_of(pod).is_empty()).collect();
    if pods.is_empty() {
        return Err(ClientError::NoObservers(name));
    }
    let all = pods.len();
    let asked = pods.into_iter().map(|pod| async move {
        let answer = match port_of(pod, "http") {
            Some(port) => get(session, pod, (port, path), longest).await.map_err(|why| why.to_string()),
            None => Err("its pod has no port named `http`".to_owned()),
        };
        (node_of(pod), answer)
    });
    let answers =
        gather("nodes", all, futures::stream::iter(asked).buffer_unordered(MAX_CONCURRENT_REQUESTS)).await;
    Ok(sort(answers, read))
}

fn sort<T>(
    mut answers: Vec<(String, Result<Vec<u8>, String>)>,
    read: impl Fn(&[u8]) -> Result<T, String>,
) -> Answers<T> {
    answers.sort();
    let mut sorted = Answers { heard: Vec::new(), silent: Vec::new() };
    for (node, answer) in answers {
        match answer.and_then(|body| read(&body)) {
            Ok(answer) => sorted.heard.push((node, answer)),
            Err(why) => sorted.silent.push(SilentNode { node, why }),
        }
    }
    sorted
}

impl<T> Answers<T> {
    /// Prints to standard error, since standard output has the answers.
    pub fn name_silent(&self) {
        for SilentNode { node, why } in &self.silent {
            let line = format!("node {node} did not answer: {why}");
            eprintln!("{}", bpfman_proto::printable::lines(&line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_whose_answer_cannot_be_read_is_among_the_silent() {
        let answers = vec![
            ("c".to_owned(), Err("no answer within 5 s".to_owned())),
            ("b".to_owned(), Ok(b"seven".to_vec())),
            ("a".to_owned(), Ok(b"7".to_vec())),
        ];
        let number = |body: &[u8]| {
            String::from_utf8_lossy(body).parse::<u64>().map_err(|error| format!("no number: {error}"))
        };
        let answers = sort(answers, number);
        assert_eq!(answers.heard, [("a".to_owned(), 7)]);
        let silent: Vec<_> = answers.silent.iter().map(|one| one.node.as_str()).collect();
        assert_eq!(silent, ["b", "c"]);
        assert!(answers.silent[0].why.starts_with("no number: "));
    }
}
