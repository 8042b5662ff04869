//! Environment variables that the container runtime sets.

use std::collections::BTreeMap;

use crate::error::{CniError, INVALID_ENVIRONMENT};

const MAX_INTERFACE: usize = 15;

/// CNI operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CniCommand {
    /// ADD: a container joins the network.
    Add,
    /// DEL: a container leaves the network.
    Del,
    /// CHECK: a container's network is compared with its result of ADD.
    Check,
    /// VERSION: the supported versions are reported.
    Version,
    /// STATUS: readiness to add containers is reported.
    Status,
    /// GC: leftovers are removed.
    Gc,
}

/// Pod of a container, as Kubernetes' runtimes name it in `CNI_ARGS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodName {
    pub namespace: String,
    pub name: String,
    /// Uid of the pod, if the runtime provides it.
    pub uid: Option<String>,
}

/// Container that the operation is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CniContainer {
    pub id: String,
    /// File of its network namespace; may be missing for DEL.
    pub netns: Option<String>,
    pub ifname: String,
    /// Pod of the container, if there is one.
    pub pod: Option<PodName>,
}

pub fn command(variable: &impl Fn(&str) -> Option<String>) -> Result<CniCommand, CniError> {
    match get(variable, "CNI_COMMAND")?.as_str() {
        "ADD" => Ok(CniCommand::Add),
        "DEL" => Ok(CniCommand::Del),
        "CHECK" => Ok(CniCommand::Check),
        "VERSION" => Ok(CniCommand::Version),
        "STATUS" => Ok(CniCommand::Status),
        "GC" => Ok(CniCommand::Gc),
        other => Err(wrong("CNI_COMMAND", other, "there are ADD, DEL, CHECK, STATUS, GC and VERSION")),
    }
}

/// Reads the container of the operation; an error names the variable that is missing or wrong.
pub fn container(
    variable: &impl Fn(&str) -> Option<String>,
    command: CniCommand,
) -> Result<CniContainer, CniError> {
    let id = get(variable, "CNI_CONTAINERID")?;
    let plain = |character: char| character.is_ascii_alphanumeric() || "_.-".contains(character);
    if !id.starts_with(|first: char| first.is_ascii_alphanumeric()) || !id.chars().all(plain) {
        return Err(wrong("CNI_CONTAINERID", &id, "it has to consist of letters, digits, '.', '_' and '-'"));
    }
    let ifname = get(variable, "CNI_IFNAME")?;
    let unfit = |character: char| character == '/' || character == ':' || character.is_whitespace();
    if ifname.len() > MAX_INTERFACE || ifname == "." || ifname == ".." || ifname.contains(unfit) {
        return Err(wrong("CNI_IFNAME", &ifname, "no interface can have this name"));
    }
    let netns = variable("CNI_NETNS").filter(|path| !path.is_empty());
    if netns.is_none() && command != CniCommand::Del {
        return Err(missing("CNI_NETNS"));
    }
    Ok(CniContainer { id, netns, ifname, pod: pod(&variable("CNI_ARGS").unwrap_or_default())? })
}

fn pod(args: &str) -> Result<Option<PodName>, CniError> {
    let mut pairs = BTreeMap::new();
    for pair in args.split(';').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| wrong("CNI_ARGS", args, "it has to be KEY=VALUE;KEY=VALUE"))?;
        pairs.insert(key, value);
    }
    let of = |key: &str| pairs.get(key).filter(|value| !value.is_empty()).map(|value| (*value).to_owned());
    Ok(match (of("K8S_POD_NAMESPACE"), of("K8S_POD_NAME")) {
        (Some(namespace), Some(name)) => Some(PodName { namespace, name, uid: of("K8S_POD_UID") }),
        _ => None,
    })
}

fn get(variable: &impl Fn(&str) -> Option<String>, name: &str) -> Result<String, CniError> {
    variable(name).filter(|value| !value.is_empty()).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> CniError {
    CniError::new(INVALID_ENVIRONMENT, format!("{name} is not set"), "the container runtime has to set it")
}

fn wrong(name: &str, value: &str, why: &str) -> CniError {
    CniError::new(INVALID_ENVIRONMENT, format!("{name} is wrong"), format!("{value:?}: {why}"))
}
