use std::collections::HashMap;

use bpfman_client::{Client, Error};
use bpfman_proto::ext::v1 as ext;

use super::chain_measurements::{ChainMeasurements, SeenChain};
use super::connect_fresh;
use super::figure_readings::{FigureReadings, FiguresUpdate, milliseconds, older};
use super::kernel_reasons::KernelReasons;
use super::open_output::OpenOutput;
use super::run::signals::Signals;
use crate::args::drops::ShowDrops;
use crate::args::{Global, OutputForm};
use crate::drops::Drops;
use crate::error::CliError;
use crate::figures::FigureRates;
use crate::show;

pub async fn run(global: &Global, command: ShowDrops) -> Result<(), CliError> {
    let client = connect_fresh(global).await?;
    let mut signals = Signals::new()?;
    let mut output = OpenOutput::of_stdout();
    tokio::select! {
        // The daemon ends leases and measurements of a client that leaves.
        () = signals.any() => Ok(()),
        () = output.closed() => Ok(()),
        shown = follow(global, &command, client) => shown,
    }
}

async fn follow(global: &Global, command: &ShowDrops, client: Client) -> Result<(), CliError> {
    let request = ext::FollowFiguresRequest {
        interval_ms: milliseconds(command.interval),
        others: true,
        ..Default::default()
    };
    let mut chains = ChainMeasurements::verdicts(client.clone());
    chains.follow(&chains_now(&client).await.map_err(CliError::Client).map_err(older)?).await;
    let mut counted = CountedReasons::begin(&client).await;
    let readings = FigureReadings::begin(client.clone(), request).await.map_err(older)?;
    let mut readings = readings.measuring(chains);
    let mut notes = Vec::new();
    loop {
        let rates = match readings.next().await?.noted(!command.watch)? {
            FiguresUpdate::Rates(rates) => rates,
            FiguresUpdate::Away(_) => continue,
            FiguresUpdate::Back => {
                counted = CountedReasons::begin(&client).await;
                continue;
            }
        };
        let drops = drops(&client, &rates, &readings, &mut counted).await;
        if global.output == OutputForm::Table && drops.notes != notes {
            drops.notes.iter().for_each(|text| show::note(text));
            notes.clone_from(&drops.notes);
        }
        if !command.watch {
            return show::answer(global, &drops);
        }
        if !show::write_while_read(show::tick(global, &drops)?.as_bytes())? {
            return Ok(());
        }
    }
}

/// Returns the chains to measure before the first reading that is shown.
async fn chains_now(client: &Client) -> Result<Vec<SeenChain>, Error> {
    let request = ext::FollowFiguresRequest::default();
    let mut stream = client.services().figures.follow_figures(request).await?.into_inner();
    let reading = stream.message().await?.unwrap_or_default();
    Ok(reading.chains.iter().map(SeenChain::from).collect())
}

async fn drops(
    client: &Client,
    rates: &FigureRates,
    readings: &FigureReadings,
    counted: &mut CountedReasons,
) -> Drops {
    let refusal = |hook: &str| readings.measured().and_then(|chains| chains.refusal(hook));
    let (kernel, note) = match counted {
        CountedReasons::Counted(reasons) => (Some(reasons.rates()), None),
        CountedReasons::Refused(why) => (None, Some(why.clone())),
    };
    let mut drops = Drops::of_reading(rates, refusal, &places_of_others(client).await, kernel);
    drops.notes.extend(note);
    drops
}

enum CountedReasons {
    Counted(Box<KernelReasons>),
    Refused(String),
}

impl CountedReasons {
    async fn begin(client: &Client) -> Self {
        match KernelReasons::begin(client).await {
            Ok(reasons) => Self::Counted(Box::new(reasons)),
            Err(error) => Self::Refused(format!("the kernel's drop reasons are not counted: {error}")),
        }
    }
}

/// Returns attach points of third-party programs, by program id; only attachments by kernel link are known.
async fn places_of_others(client: &Client) -> HashMap<u32, String> {
    let request = ext::ListLinksRequest { others: true, ..Default::default() };
    let Ok(answer) = client.services().ext.list_links(request).await else { return HashMap::new() };
    let links = answer.into_inner().links;
    links.into_iter().filter(|link| link.id == 0).map(|link| (link.program_id, link.attachment)).collect()
}
