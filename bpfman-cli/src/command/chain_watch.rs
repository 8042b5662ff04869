use bpfman_proto::ext::v1 as ext;

use super::chain_measurements::ChainMeasurements;
use super::connect_fresh;
use super::figure_readings::{FigureReadings, FiguresUpdate, milliseconds, older};
use super::open_output::OpenOutput;
use super::run::signals::Signals;
use crate::args::Global;
use crate::args::chain::WatchChain;
use crate::error::CliError;
use crate::show;
use crate::show::chain_tick::ChainTick;

pub async fn run(global: &Global, command: WatchChain) -> Result<(), CliError> {
    let client = connect_fresh(global).await?;
    let hook = command.at.hook;
    let mut signals = Signals::new()?;
    let mut output = OpenOutput::of_stdout();
    let mut timing = ChainMeasurements::times(client.clone());
    if command.timing {
        timing.begin_one(&hook).await?;
    }
    let request = ext::FollowFiguresRequest {
        interval_ms: milliseconds(command.interval),
        hook: hook.to_string(),
        time_runs: true,
        ..Default::default()
    };
    let mut readings = FigureReadings::begin(client.clone(), request).await.map_err(older)?;
    let mut ticks = 0;
    let mut is_noted = false;
    while command.count.is_none_or(|count| ticks < count) {
        let news = tokio::select! {
            // The daemon ends the timing when this process closes the stream.
            () = signals.any() => return Ok(()),
            () = output.closed() => return Ok(()),
            news = readings.next() => news?,
        };
        let rates = match news.noted(false)? {
            FiguresUpdate::Rates(rates) => rates,
            FiguresUpdate::Away(_) => continue,
            FiguresUpdate::Back => {
                if command.timing {
                    timing.restart();
                    timing.begin_one(&hook).await?;
                }
                continue;
            }
        };
        if let Some(note) = rates.note.as_ref().filter(|_| !is_noted) {
            show::note(note);
            is_noted = true;
        }
        let tick = ChainTick::new(&hook.to_string(), rates);
        if !show::write_while_read(show::tick(global, &tick)?.as_bytes())? {
            return Ok(());
        }
        ticks += 1;
    }
    Ok(())
}
