//! Words for `kubectl bpfman` on the command line of a shell, in kubectl's protocol for plugins: one per line, then a number.

use clap::{Command, CommandFactory};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::ListParams;

use super::applications::list;
use super::arguments::ClientArguments;
use super::connect::ClientSession;
use super::error::ClientError;

/// Program that kubectl runs for words: it has to be executable, on PATH.
pub const SCRIPT: &str = "\
#!/bin/sh
# kubectl runs this for the words of `kubectl bpfman`. It has to be called kubectl_complete-bpfman, and to be on PATH.
exec kubectl-bpfman __complete \"$@\"
";
/// Directive of kubectl: no names of files.
const NO_FILES: &str = ":4\n";

/// Returns the words that begin as the last one does. Failures leave only the words of the command line itself.
pub async fn complete(arguments: &ClientArguments, words: &[String]) -> String {
    let (before, last) = words.split_last().map_or((&[][..], ""), |(last, before)| (before, last.as_str()));
    let root = ClientArguments::command();
    let found = before.iter().find_map(|word| root.find_subcommand(word));
    let mut all = match found {
        _ if last.starts_with('-') => flags(found.unwrap_or(&root)),
        None => names(&root),
        Some(command) => live(arguments, command.get_name()).await.unwrap_or_default(),
    };
    all.retain(|word| word.starts_with(last));
    all.sort_unstable();
    all.iter().map(|word| format!("{word}\n")).collect::<String>() + NO_FILES
}

fn names(root: &Command) -> Vec<String> {
    let visible = root.get_subcommands().filter(|command| !command.is_hide_set());
    visible.map(|command| command.get_name().to_owned()).collect()
}

fn flags(command: &Command) -> Vec<String> {
    let global = ClientArguments::command();
    let longs = command.get_arguments().chain(global.get_arguments().filter(|arg| arg.is_global_set()));
    longs.filter(|arg| !arg.is_hide_set()).filter_map(|arg| Some(format!("--{}", arg.get_long()?))).collect()
}

async fn live(arguments: &ClientArguments, command: &str) -> Result<Vec<String>, ClientError> {
    let session = ClientSession::open(arguments).await?;
    match command {
        "status" | "promote" | "abort" => {
            let all = session.applications(Some(&session.namespace)).await?;
            Ok(all.iter().map(|application| application.name().to_owned()).collect())
        }
        "explain" => {
            let nodes: Vec<Node> =
                list(Api::all(session.client.clone()), ListParams::default(), "Node").await?;
            Ok(nodes.into_iter().filter_map(|node| node.metadata.name).collect())
        }
        _ => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use clap::Parser as _;

    use super::*;

    async fn words(line: &[&str]) -> String {
        let arguments =
            ClientArguments::try_parse_from(["kubectl-bpfman", "--kubeconfig", "/nonexistent", "completion"])
                .unwrap();
        let words: Vec<String> = line.iter().map(|word| (*word).to_owned()).collect();
        complete(&arguments, &words).await
    }

    #[tokio::test]
    async fn words_of_the_command_line_need_no_server() {
        assert_eq!(words(&["st"]).await, "status\n:4\n");
        assert!(words(&[""]).await.contains("drops\n") && !words(&[""]).await.contains("__complete"));
        let flags = words(&["status", "--a"]).await;
        assert!(flags.contains("--all\n") && flags.contains("--as\n"), "{flags}");
        assert_eq!(words(&["status", ""]).await, ":4\n", "no server answers");
    }
}
