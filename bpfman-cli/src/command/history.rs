use bpfman_proto::ext::v1 as ext;

use super::connect;
use crate::args::Global;
use crate::args::history::{History, HistoryAbout};
use crate::error::CliError;
use crate::show;
use crate::show::history::HistoryJson;

pub async fn run(global: &Global, command: History) -> Result<(), CliError> {
    let mut client = connect(global).await?;
    let (id, hook) = match command.about {
        None => (0, String::new()),
        Some(HistoryAbout::Id(id)) => (id, String::new()),
        Some(HistoryAbout::Hook(hook)) => (0, hook),
    };
    let request = ext::HistoryRequest {
        limit: command.limit,
        before: 0,
        since: command.since.map(|since| since.0).unwrap_or_default(),
        id,
        hook,
        by: command.by.unwrap_or_default(),
        accesses: command.accesses,
    };
    let mut pages = client.node.history(request).await?.into_inner();
    let mut history = HistoryJson::default();
    while let Some(page) = pages.message().await? {
        history.add(&page);
    }
    history.oldest_first();
    show::answer(global, &history)
}
