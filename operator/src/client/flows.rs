use std::time::Duration;

use serde_json::{Map, Value};

use super::arguments::{FlowsOptions, OutputFormat};
use super::connect::ClientSession;
use super::error::ClientError;
use super::observers::query_all_pods;
use super::structured::{json_line, yaml};
use super::table::table;
use super::{Shown, ShownEnd};

const FLOWS: &str = "flows";
const MAX_TIME: Duration = Duration::from_secs(30);

type Flow = Map<String, Value>;

pub async fn flows(
    session: &ClientSession,
    namespace: Option<&str>,
    options: &FlowsOptions,
) -> Result<Shown, ClientError> {
    let answers = query_all_pods(session, (FLOWS, namespace), "/flows", MAX_TIME, read).await?;
    answers.name_silent();
    let end = ShownEnd::of(answers.silent.is_empty());
    if answers.heard.is_empty() {
        return Err(ClientError::AllSilent(FLOWS));
    }
    let mut flows: Vec<Flow> = Vec::new();
    for (node, heard) in answers.heard {
        flows.extend(heard.into_iter().map(|flow| on(&node, flow)));
    }
    let text = match options.output {
        OutputFormat::Json => lines(flows)?,
        OutputFormat::Table if options.json => lines(flows)?,
        OutputFormat::Table => people(flows),
        OutputFormat::Yaml => yaml(&flows)?,
    };
    Ok(Shown { text: text.into(), end })
}

fn read(body: &[u8]) -> Result<Vec<Flow>, String> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    lines.map(|line| serde_json::from_slice(line).map_err(|error| format!("its flows: {error}"))).collect()
}

fn on(node: &str, mut flow: Flow) -> Flow {
    flow.insert("node".to_owned(), node.into());
    flow
}

fn lines(flows: Vec<Flow>) -> Result<String, ClientError> {
    flows.iter().map(json_line).collect()
}

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

fn word(flow: &Flow, key: &str) -> String {
    match flow.get(key) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

fn endpoint(flow: &Flow, which: &str) -> String {
    let (address, port) = (word(flow, which), word(flow, &format!("{which}_port")));
    match port.as_str() {
        "" | "0" => address,
        port if address.contains(':') => format!("[{address}]:{port}"),
        port => format!("{address}:{port}"),
    }
}

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

    /// Response to `GET /flows` in the test `observers` on Linux 6.18: two ports, one without a listener, and a drop.
    const RECORDED: &[u8] = include_bytes!("recorded_flows.ndjson");

    #[test]
    fn flows_are_shown_with_node_largest_first_and_json_has_all() {
        let flows: Vec<Flow> = read(RECORDED).unwrap().into_iter().map(|flow| on("node-b", flow)).collect();
        assert_eq!(
            people(flows.clone()),
            "NODE    SOURCE                     DESTINATION        PROTOCOL  PACKETS  BYTES   VERDICT\n\
             node-b  198.51.100.1:49664         198.51.100.2:7001  tcp       73       100602  seen ingress\n\
             node-b  fe80::f4c7:41ff:feb5:67dd  ff02::2            icmpv6    2        112     dropped NOT_SPECIFIED\n\
             node-b  198.51.100.1:59098         198.51.100.2:7002  tcp       1        74      seen ingress\n\
             node-b  198.51.100.1:59098         198.51.100.2:7002  tcp       1        40      dropped NO_SOCKET\n"
        );
        let told = lines(flows).unwrap();
        assert_eq!(told.lines().count(), 4);
        let first = told.lines().next().unwrap();
        for part in ["\"flags\":[\"FIN\",\"SYN\",\"PSH\",\"ACK\"]", "\"interface\":2", "\"node\":\"node-b\""]
        {
            assert!(first.contains(part), "{part}: {first}");
        }
    }

    #[test]
    fn address_has_brackets_with_colons_and_a_port_only_if_known() {
        for (flow, shown) in [
            (r#"{"source":"fd00::1","source_port":443}"#, "[fd00::1]:443"),
            (r#"{"source":"fd00::1","source_port":0}"#, "fd00::1"),
            (r#"{"source":"10.0.0.1"}"#, "10.0.0.1"),
            ("{}", ""),
        ] {
            assert_eq!(endpoint(&serde_json::from_str(flow).unwrap(), "source"), shown);
        }
    }

    #[test]
    fn control_characters_of_a_node_are_escaped() {
        let flow: Flow = serde_json::from_str("{\"drop_reason\":\"\u{9b}2J\u{202e}\u{7f}\"}").unwrap();
        assert_eq!(lines(vec![flow]).unwrap(), "{\"drop_reason\":\"\\u009b2J\\u202e\\u007f\"}\n");
    }

    #[test]
    fn invalid_flows_are_reported() {
        assert!(read(b"<html>").unwrap_err().starts_with("its flows: "));
        assert_eq!(read(b"\n\n"), Ok(Vec::new()));
    }
}
