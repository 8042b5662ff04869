//! Input of the CNI plugin: variables and data of a container runtime, and its directory of configurations.

use bpfman_cni::environment;
use bpfman_cni::network::PodNetwork;
use bpfman_cni::{conflist, plugin};
use conflist::{ConflistChange, PluginEntry};

/// Reads variables (`NAME=VALUE` lines), a zero byte, and data for standard input.
pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (variables, input) = text.split_once('\0').unwrap_or((&text, ""));
    let variable = |name: &str| {
        variables.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=').map(ToOwned::to_owned))
    };
    let _refused = PodNetwork::read(input.as_bytes());
    if let Ok(command) = environment::command(&variable) {
        let _refused = environment::container(&variable, command);
        // Other commands would call an agent.
        if command == environment::CniCommand::Version {
            let _refused = plugin::run(&variable, input.as_bytes());
        }
    }
    conflists(input.as_bytes());
}

/// Panics if the plugin is not in the list after it was added, or is still there after it was removed.
fn conflists(text: &[u8]) {
    let _unfit = conflist::without(text);
    let Ok(ConflistChange::List(with) | ConflistChange::FromSingle(with)) =
        conflist::with(text, &PluginEntry::default())
    else {
        return;
    };
    let with = with.to_string();
    let again = conflist::with(with.as_bytes(), &PluginEntry::default());
    assert_eq!(again, Ok(ConflistChange::Same), "{with}");
    let without = conflist::without(with.as_bytes()).expect("it was just read").expect("it is in the list");
    assert_eq!(conflist::without(without.to_string().as_bytes()), Ok(None), "{without}");
}

pub fn seeds() -> Vec<Vec<u8>> {
    let variables = "CNI_COMMAND=ADD\nCNI_CONTAINERID=abc\nCNI_IFNAME=eth0\nCNI_NETNS=/run/netns/a\n\
         CNI_ARGS=K8S_POD_NAMESPACE=team;K8S_POD_NAME=web\n";
    let network = r#"{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"bridge"}],"prevResult":{"interfaces":[]},
         "type":"bpfman-cni","agent":"/run/bpfman-cni/agent.sock","strict":true}"#;
    vec![
        format!("{variables}\0{network}").into_bytes(),
        b"CNI_COMMAND=VERSION\n\0{\"cniVersion\":\"1.0.0\"}".to_vec(),
    ]
}
