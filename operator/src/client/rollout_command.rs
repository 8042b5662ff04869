use bpfman_application::orders::ROLLOUT;
use bpfman_application::scope::Scope;
use bpfman_proto::printable::lines;
use serde_json::json;

use super::applications::FoundApplications;
use super::arguments::ApplicationArgument;
use super::connect::ClientSession;
use super::error::ClientError;
use super::{Shown, ShownEnd};

pub async fn send(
    session: &ClientSession,
    which: &ApplicationArgument,
    word: &'static str,
) -> Result<Shown, ClientError> {
    let application = session.application(&which.application).await?;
    write(session, &application, word).await.map(|text| Shown { text: text.into(), end: ShownEnd::Well })
}

pub async fn send_to(
    session: &ClientSession,
    scope: Scope,
    namespace: Option<&str>,
    name: &str,
    word: &'static str,
) -> Result<String, ClientError> {
    let all = session.applications_of(scope, namespace).await?;
    let found = all.iter().find(|one| one.name() == name).ok_or_else(|| ClientError::NoApplication {
        name: name.to_owned(),
        namespace: namespace.unwrap_or_default().to_owned(),
        others: String::new(),
    })?;
    write(session, found, word).await
}

async fn write(
    session: &ClientSession,
    application: &FoundApplications,
    word: &'static str,
) -> Result<String, ClientError> {
    let name = application.full_name();
    if application.rollout.is_none() {
        return Err(ClientError::NoRollout(name, word));
    }
    let patch = json!({ "metadata": { "annotations": { ROLLOUT: word } } });
    session
        .annotate(application, &patch)
        .await
        .map_err(|error| ClientError::of(error, &format!("annotate application {name}"), "its kind"))?;
    let text = match &application.status.rollout {
        Some(rollout) => {
            format!("{word} is requested of {name}, which is {:?}: {}\n", rollout.phase, rollout.message)
        }
        None => format!("{word} is requested of {name}; no controller has reconciled it yet\n"),
    };
    Ok(lines(&text).into_owned())
}
