use super::connect;
use crate::args::Global;
use crate::args::history::History;
use crate::error::CliError;
use crate::show;
use crate::show::history::HistoryJson;

pub async fn run(global: &Global, command: History) -> Result<(), CliError> {
    let mut client = connect(global).await?;
    let mut pages = client.node.history(command.request()).await?.into_inner();
    let mut history = HistoryJson::default();
    while let Some(page) = pages.message().await? {
        history.add(&page);
    }
    history.oldest_first();
    show::answer(global, &history)
}
