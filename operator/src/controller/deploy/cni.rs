use bpfman_application::config::{CniSpec, ConfigSpec};
use serde_json::{Value, json};

use super::agent::USER;
use super::images::DeployImages;
use super::manifest::{host_folder, namespace, push, resources};

const FOLDERS: [(&str, &str); 2] =
    [("cni-socket", "/run/bpfman-agent"), ("cni-state", "/var/lib/bpfman-agent")];

const BIN: &str = "/host/opt/cni/bin";
const CONF: &str = "/host/etc/cni/net.d";

pub fn add(set: &mut Value, spec: &ConfigSpec, images: &DeployImages) {
    let Some(cni) = &spec.cni else { return };
    let pod = &mut set["spec"]["template"]["spec"];
    let folders = [
        host_folder("cni-bin", cni.bin_dir.as_deref().unwrap_or("/opt/cni/bin")),
        host_folder("cni-conf", cni.conf_dir.as_deref().unwrap_or("/etc/cni/net.d")),
    ];
    push(&mut pod["volumes"], folders.into_iter().chain(FOLDERS.map(|(name, path)| host_folder(name, path))));
    let exempt = format!("--exempt-namespaces=kube-system,{}", namespace(spec));
    pod["initContainers"] = json!([match cni.remove {
        true => container("bpfman-cni-remove", cni, images, &["uninstall".to_owned()], &[]),
        // The agent cannot write to the host: it becomes the owner of these folders. The init container installs the
        // plugin before the agent reports that pods may start.
        false => {
            let words = ["prepare".to_owned(), format!("--agent-user={USER}"), exempt.clone()];
            container("bpfman-cni-prepare", cni, images, &words, &["CHOWN"])
        }
    }]);
    if cni.remove {
        return;
    }
    let agent = &mut pod["containers"][0];
    push(&mut agent["args"], [json!(format!("--cni-socket={}", bpfman_cni::SOCKET))]);
    push(&mut agent["volumeMounts"], FOLDERS.map(|(name, path)| json!({ "name": name, "mountPath": path })));
    let words = ["install".to_owned(), "--watch".to_owned(), exempt];
    push(&mut pod["containers"], [container("bpfman-cni", cni, images, &words, &[])]);
}

fn container(
    name: &str,
    cni: &CniSpec,
    images: &DeployImages,
    words: &[String],
    capabilities: &[&str],
) -> Value {
    let folders = [("cni-bin", BIN), ("cni-conf", CONF)].into_iter().chain(FOLDERS);
    let mounts: Vec<Value> = folders.map(|(name, path)| json!({ "name": name, "mountPath": path })).collect();
    let places = [format!("--bin-dir={BIN}"), format!("--conf-dir={CONF}")];
    json!({
        "name": name,
        "image": cni.image,
        "imagePullPolicy": images.pull_policy,
        "command": ["/usr/bin/bpfman-cni"],
        "args": words.iter().chain(&places).collect::<Vec<_>>(),
        "securityContext": {
            "runAsNonRoot": false,
            "runAsUser": 0,
            "runAsGroup": 0,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"], "add": capabilities }
        },
        "resources": resources(cni.resources.as_ref(), "1m", "4Mi"),
        "volumeMounts": mounts
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::deploy::agent::daemon_set;

    fn set(cni: Option<CniSpec>) -> Value {
        let images = DeployImages {
            daemon: "d".into(),
            agent: "a".into(),
            pull_policy: "Always".into(),
            home: "bpfman".into(),
        };
        daemon_set(&ConfigSpec { cni, ..ConfigSpec::default() }, &images)["spec"]["template"]["spec"].clone()
    }

    #[test]
    fn plugin_is_deployed_on_request_and_gives_the_agent_no_rights() {
        let without = set(None);
        assert!(without.get("initContainers").is_none());
        let with = set(Some(CniSpec { image: "c".into(), ..CniSpec::default() }));
        assert_eq!(with["containers"][0]["securityContext"], without["containers"][0]["securityContext"]);
        assert!(
            with["containers"][0]["args"].to_string().contains("--cni-socket=/run/bpfman-agent/cni.sock")
        );
        let sidecar = &with["containers"][1];
        assert_eq!(sidecar["securityContext"]["capabilities"], json!({ "drop": ["ALL"], "add": [] }));
        for writer in [sidecar, &with["initContainers"][0]] {
            assert!(
                writer["args"].to_string().contains("--exempt-namespaces=kube-system,bpfman"),
                "{writer}"
            );
        }
        let mounts: Vec<_> = with["containers"][0]["volumeMounts"].as_array().into_iter().flatten().collect();
        assert!(
            mounts.iter().all(|mount| mount["name"] != "cni-conf"),
            "the agent does not see the node's networks"
        );
    }

    #[test]
    fn plugin_is_removed_before_the_agent_starts() {
        let removing = set(Some(CniSpec { image: "c".into(), remove: true, ..CniSpec::default() }));
        assert_eq!(removing["initContainers"][0]["args"][0], "uninstall");
        assert_eq!(removing["containers"].as_array().map(Vec::len), Some(1));
        assert!(!removing["containers"][0]["args"].to_string().contains("--cni-socket"));
    }
}
