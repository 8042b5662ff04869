//! `promote` and `abort`: a word to the rollout of an application.

use bpfman_application::orders::ROLLOUT;
use bpfman_proto::printable::lines;
use serde_json::json;

use super::Shown;
use super::arguments::Which;
use super::connect::ClientSession;
use super::error::ClientError;

/// Writes the word where the controller hears it.
pub async fn say(session: &ClientSession, which: &Which, word: &'static str) -> Result<Shown, ClientError> {
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
            format!("{word} was said to {name}, which is {:?}: {}\n", rollout.phase, rollout.message)
        }
        None => format!("{word} was said to {name}; no controller has looked at it yet\n"),
    };
    Ok(Shown { text: lines(&text).into_owned(), well: true })
}
