use bpfman_application::config::{AgentSpec, CONFIG_NAME, Config, ConfigSpec, DaemonSpec};

use super::images::DeployImages;

/// Signatures are verified, and images without one loaded with a warning, as in the published default.
const CONFIGURATION: &str = "\
[database]
max_retries = 30
millisec_delay = 10000

[signing]
allow_unsigned = true
verify_enabled = true
";

/// Builds the default `Config` with the images of the environment.
#[must_use]
pub fn default_config(images: &DeployImages, namespace: &str) -> Config {
    Config::new(
        CONFIG_NAME,
        ConfigSpec {
            namespace: Some(namespace.to_owned()),
            configuration: CONFIGURATION.to_owned(),
            agent: AgentSpec {
                image: images.agent.clone(),
                log_level: Some("info".to_owned()),
                health_probe_port: 8175,
                metrics_certificate: None,
                resources: None,
            },
            daemon: DaemonSpec {
                image: images.daemon.clone(),
                log_level: Some("info".to_owned()),
                csi: None,
                csi_registrar_image: None,
                resources: None,
            },
            ..ConfigSpec::default()
        },
    )
}
