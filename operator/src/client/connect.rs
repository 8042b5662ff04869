use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::arguments::ClientArguments;
use super::error::ClientError;
use bpfman_runtime::manager::Manager;

pub struct ClientSession {
    pub client: Client,
    pub namespace: String,
}

impl ClientSession {
    pub async fn open(arguments: &ClientArguments) -> Result<Self, ClientError> {
        let unusable = |error: &dyn std::fmt::Display| ClientError::Configuration(error.to_string());
        let mut config = config(arguments).await?;
        Manager::Client.introduce(&mut config);
        config.connect_timeout = Some(Duration::from_secs(10));
        let namespace = arguments.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).map_err(|error| unusable(&error))?;
        Ok(Self { client, namespace })
    }
}

pub async fn config(arguments: &ClientArguments) -> Result<Config, ClientError> {
    let unusable = |error: &dyn std::fmt::Display| ClientError::Configuration(error.to_string());
    let options = KubeConfigOptions { context: arguments.context.clone(), ..KubeConfigOptions::default() };
    let mut config = match (&arguments.kubeconfig, &arguments.context) {
        (Some(file), _) => {
            let kubeconfig = Kubeconfig::read_from(file).map_err(|error| unusable(&error))?;
            Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| unusable(&error))?
        }
        (None, Some(_)) => Config::from_kubeconfig(&options).await.map_err(|error| unusable(&error))?,
        (None, None) => Config::infer().await.map_err(|error| unusable(&error))?,
    };
    if let Some(user) = &arguments.as_user {
        config.auth_info.impersonate = Some(user.clone());
        config.auth_info.impersonate_groups =
            Some(arguments.as_group.clone()).filter(|groups| !groups.is_empty());
    }
    Ok(config)
}
