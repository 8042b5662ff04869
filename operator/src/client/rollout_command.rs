//! `promote` and `abort`: a command to the rollout of an application.

use bpfman_application::orders::ROLLOUT;
use bpfman_proto::printable::lines;
use serde_json::json;

use super::arguments::Which;
use super::connect::ClientSession;
use super::error::ClientError;
use super::{Shown, ShownEnd};

/// Writes the command to the annotation that the controller reads.
pub async fn send(session: &ClientSession, which: &Which, word: &'static str) -> Result<Shown, ClientError> {
    let application = session.application(&which.application).await?;
    let name = application.full_name();
    if application.rollout.is_none() {
        return Err(ClientError::NoRollout(name, word));
    }
    let patch = json!({ "metadata": { "annotations": { ROLLOUT: word } } });
    session
        .annotate(&application, &patch)
        .await
        .map_err(|error| ClientError::of(error, &format!("annotate application {name}"), "its kind"))?;
    let text = match &application.status.rollout {
        Some(rollout) => {
            format!("{word} is requested of {name}, which is {:?}: {}\n", rollout.phase, rollout.message)
        }
        None => format!("{word} is requested of {name}; no controller has reconciled it yet\n"),
    };
    Ok(Shown { text: lines(&text).into_owned(), end: ShownEnd::Well })
}
