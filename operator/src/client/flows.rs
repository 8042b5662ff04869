//! `kubectl bpfman flows`: who talks to whom on all nodes, and what was dropped, by the observers on them.

use std::time::Duration;

use serde_json::{Map, Value};

use super::arguments::FlowsOptions;
use super::connect::ClientSession;
use super::error::ClientError;
use super::observers::ask_all;
use super::table::table;
use super::{Shown, ShownEnd};

/// Label of the pods: the observer's user-space side.
const FLOWS: &str = "flows";
/// A node that does not answer within this time is named.
const LONGEST: Duration = Duration::from_secs(30);

/// A flow as its node tells it. What it tells besides what tables show is kept for programs.
type Flow = Map<String, Value>;

/// Asks all observers at the same time.
pub async fn flows(
    session: &ClientSession,
    namespace: Option<&str>,
    options: &FlowsOptions,
) -> Result<Shown, ClientError> {
    let answers = ask_all(session, (FLOWS, namespace), "/flows", LONGEST, read).await?;
    answers.name_silent();
    let end = ShownEnd::of(answers.silent.is_empty());
    if answers.heard.is_empty() {
        return Err(ClientError::AllSilent(FLOWS));
    }
    let mut flows: Vec<Flow> = Vec::new();
    for (node, heard) in answers.heard {
        flows.extend(heard.into_iter().map(|flow| on(&node, flow)));
    }
    let text = if options.json { lines(flows)? } else { people(flows) };
    Ok(Shown { text: text.into(), end })
}

/// A JSON object a line.
fn read(body: &[u8]) -> Result<Vec<Flow>, String> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|error| format!("its flows: {error}"))).collect()
}

fn on(node: &str, mut flow: Flow) -> Flow {
    flow.insert("node".to_owned(), node.into());
    flow
}

fn lines(flows: Vec<Flow>) -> Result<String, ClientError> {
    let mut text = String::new();
    for flow in flows {
        let line = serde_json::to_string(&flow).map_err(|error| ClientError::Output(error.to_string()))?;
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

/// A table, those with most bytes first.
fn people(mut flows: Vec<Flow>) -> String {
    let number = |flow: &Flow, key: &str| flow.get(key).and_then(Value::as_u64).unwrap_or(0);
    flows.sort_by_key(|flow| std::cmp::Reverse(number(flow, "bytes")));
    let rows: Vec<_> = flows
        .iter()
        .map(|flow| {
            [
                word(flow, "node"),
                endpoint(flow, "source"),
                endpoint(flow, "destination"),
                word(flow, "protocol"),
                number(flow, "packets").to_string(),
                number(flow, "bytes").to_string(),
                verdict(flow),
            ]
        })
        .collect();
    let text = table(["NODE", "SOURCE", "DESTINATION", "PROTOCOL", "PACKETS", "BYTES", "VERDICT"], &rows);
    bpfman_proto::printable::lines(&text).into_owned()
}

/// A value as people read it; nothing where a node does not tell it.
fn word(flow: &Flow, key: &str) -> String {
    match flow.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

/// Address and port; protocols without ports have 0 there, or nothing.
fn endpoint(flow: &Flow, which: &str) -> String {
    let (address, port) = (word(flow, which), word(flow, &format!("{which}_port")));
    match port.as_str() {
        "" | "0" => address,
        port if address.contains(':') => format!("[{address}]:{port}"),
        port => format!("{address}:{port}"),
    }
}

/// What became of it, with the kernel's reason.
fn verdict(flow: &Flow) -> String {
    [word(flow, "verdict"), word(flow, "drop_reason"), word(flow, "direction")]
        .into_iter()
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn flows_are_shown_with_their_node_most_bytes_first_and_programs_get_all() {
        let body = b"{\"source\":\"10.0.0.1\",\"source_port\":40000,\"destination\":\"fd00::1\",\"destination_port\":443,\
            \"protocol\":\"tcp\",\"packets\":2,\"bytes\":120,\"verdict\":\"seen\",\"direction\":\"egress\",\"more\":1}\n\
            {\"source\":\"10.0.0.2\",\"source_port\":0,\"destination\":\"10.0.0.1\",\"protocol\":\"icmp\",\"packets\":9,\
            \"bytes\":900,\"verdict\":\"dropped\",\"drop_reason\":\"NO_SOCKET\"}\n\n";
        let flows: Vec<Flow> = read(body).unwrap().into_iter().map(|flow| on("a", flow)).collect();
        assert!(lines(flows.clone()).unwrap().contains("\"more\":1,\"node\":\"a\""));
        assert_eq!(
            people(flows),
            "NODE  SOURCE          DESTINATION    PROTOCOL  PACKETS  BYTES  VERDICT\n\
             a     10.0.0.2        10.0.0.1       icmp      9        900    dropped NO_SOCKET\n\
             a     10.0.0.1:40000  [fd00::1]:443  tcp       2        120    seen egress\n"
        );
        assert!(read(b"<html>").unwrap_err().starts_with("its flows: "));
    }
}
