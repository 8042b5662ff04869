//! Behaviour of the plugin for each of the runtime's commands.

use std::time::Duration;

use serde_json::{Value, json};

use crate::ask::ask;
use crate::environment::{self, CniCommand, CniContainer, PodName};
use crate::error::{CniError, INVALID_CONFIGURATION, NOT_AVAILABLE, NOT_PROTECTED, TRY_AGAIN_LATER};
use crate::network::{NEWEST, PodNetwork, VERSIONS};
use crate::protocol::{PluginAnswer, PluginRequest, Verb};
use crate::rules::Rules;

const DEL_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Done {
    pub output: Option<Value>,
    /// Messages for standard error, which the runtime logs.
    pub notes: Vec<String>,
}

/// Executes the runtime's command; the error is for the runtime.
pub fn run(variable: &impl Fn(&str) -> Option<String>, input: &[u8]) -> Result<Done, CniError> {
    let command = environment::command(variable)?;
    if command == CniCommand::Version {
        return Ok(version(input));
    }
    let network = PodNetwork::read(input)?;
    let done = match command {
        CniCommand::Add => {
            let container = environment::container(variable, command)?;
            let result = previous(&network)?;
            protect(&network, &container, Verb::Add).map(|notes| Done { output: Some(result), notes })
        }
        CniCommand::Check => {
            let container = environment::container(variable, command)?;
            previous(&network)?;
            protect(&network, &container, Verb::Check).map(|notes| Done { output: None, notes })
        }
        CniCommand::Del => {
            let container = environment::container(variable, command)?;
            Ok(farewell(&network, &container))
        }
        CniCommand::Status => status(&network),
        // Links disappear with their network namespaces.
        CniCommand::Gc | CniCommand::Version => Ok(Done::default()),
    };
    done.map_err(|error| CniError { version: network.cni_version.clone(), ..error })
}

fn version(input: &[u8]) -> Done {
    let asked = serde_json::from_slice::<Value>(input).unwrap_or_default();
    let asked = asked["cniVersion"].as_str().filter(|version| VERSIONS.contains(version));
    let version = asked.unwrap_or(NEWEST);
    let output = json!({ "cniVersion": version, "supportedVersions": VERSIONS });
    Done { output: Some(output), notes: Vec::new() }
}

fn previous(network: &PodNetwork) -> Result<Value, CniError> {
    network.prev_result.clone().filter(Value::is_object).ok_or_else(|| {
        CniError::new(
            INVALID_CONFIGURATION,
            "there is no prevResult",
            "bpfman-cni makes no network itself: it has to follow another plugin in a .conflist",
        )
    })
}

fn request(verb: Verb, container: &CniContainer, pod: &PodName) -> PluginRequest {
    PluginRequest {
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        netns: container.netns.clone().unwrap_or_default(),
        ifname: container.ifname.clone(),
        container: container.id.clone(),
        ..PluginRequest::of(verb)
    }
}

fn protect(network: &PodNetwork, container: &CniContainer, verb: Verb) -> Result<Vec<String>, CniError> {
    let Some(pod) = &container.pod else { return Ok(Vec::new()) };
    let request = request(verb, container, pod);
    match ask(&network.agent_socket, &request, network.timeout()) {
        Ok(PluginAnswer { refuse: Some(why), .. }) => Err(CniError::new(
            NOT_PROTECTED,
            format!("pod {}/{} must not run without its eBPF programs", pod.namespace, pod.name),
            why,
        )),
        Ok(PluginAnswer { unknown: Some(why), .. }) => {
            by_rules(network, pod, &format!("the node's agent: {why}"))
        }
        Ok(answer) => Ok(answer.problems.into_iter().map(|problem| problem.message).collect()),
        Err(error) => {
            let socket = network.agent_socket.display();
            by_rules(network, pod, &format!("bpfman's agent of this node, at {socket}: {error}"))
        }
    }
}

fn by_rules(network: &PodNetwork, pod: &PodName, why: &str) -> Result<Vec<String>, CniError> {
    let exempt = network.exempt_namespaces.contains(&pod.namespace);
    let file = network.state_file.display();
    let refused = |rule: &str| {
        Err(CniError::new(
            TRY_AGAIN_LATER,
            format!("pod {}/{} has to wait for bpfman's agent", pod.namespace, pod.name),
            format!("{why}; {rule}"),
        ))
    };
    match Rules::read(&network.state_file) {
        Ok(None) => Ok(vec![format!("{why}; there is no {file}: the pod starts")]),
        Ok(Some(rules)) => match rules.forbids(&pod.namespace) {
            Some(rule) if !exempt && rules.agent_namespace != pod.namespace => {
                let means = match rule.by_labels {
                    true => "may mean this pod, whose labels are not known",
                    false => "means every pod of this namespace",
                };
                refused(&format!(
                    "{}: {} is onUnavailable: {} and {means} ({file})",
                    rule.application, rule.program, rule.on_unavailable
                ))
            }
            _ => Ok(vec![format!("{why}; no rule is for this namespace: the pod starts")]),
        },
        Err(error) if exempt => Ok(vec![format!("{why}; {file}: {error}; the namespace is exempt")]),
        Err(error) => refused(&format!("what holds meanwhile cannot be read from {file}: {error}")),
    }
}

fn farewell(network: &PodNetwork, container: &CniContainer) -> Done {
    let Some(pod) = &container.pod else { return Done::default() };
    let told = ask(&network.agent_socket, &request(Verb::Del, container, pod), DEL_TIMEOUT);
    let note = told.err().map(|error| format!("the agent was not notified: {error}"));
    Done { output: None, notes: note.into_iter().collect() }
}

fn status(network: &PodNetwork) -> Result<Done, CniError> {
    let why = match ask(&network.agent_socket, &PluginRequest::of(Verb::Status), network.timeout()) {
        Ok(PluginAnswer { unknown: None, .. }) => return Ok(Done::default()),
        Ok(PluginAnswer { unknown: Some(why), .. }) => why,
        Err(error) => format!("{}: {error}", network.agent_socket.display()),
    };
    match Rules::read(&network.state_file) {
        Ok(None) => Ok(Done::default()),
        Ok(Some(rules)) if rules.rules.is_empty() => Ok(Done::default()),
        _ => Err(CniError::new(NOT_AVAILABLE, "bpfman's agent of this node is not ready", why)),
    }
}
