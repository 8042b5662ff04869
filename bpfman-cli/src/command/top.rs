use std::io::{self, IsTerminal};

use bpfman_client::Services;
use bpfman_proto::ext::v1 as ext;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::sync::mpsc;

use super::chain_measurements::ChainMeasurements;
use super::connect_fresh;
use super::figure_readings::{FigureReadings, FiguresUpdate, milliseconds, older};
use super::open_output::OpenOutput;
use super::run::signals::Signals;
use crate::args::top::ShowTop;
use crate::args::{Global, OutputForm};
use crate::error::CliError;
use crate::show;
use crate::show::history::HistoryJson;
use crate::show::json::ProgramJson;
use crate::show::origin::origin_lines;
use crate::show::screen::{Screen, is_plain_terminal};
use crate::show::top_table::TopTable;
use crate::top::{DetailSubject, KeyEffect, LoadedDetails, TopScreen, draw};

const HISTORY: u32 = 50;

pub async fn run(global: &Global, command: ShowTop) -> Result<(), CliError> {
    let client = connect_fresh(global).await?;
    let request = ext::FollowFiguresRequest {
        interval_ms: milliseconds(command.interval),
        others: command.others,
        time_runs: true,
        ..Default::default()
    };
    let services = client.services();
    let mut readings = FigureReadings::begin(client.clone(), request).await.map_err(older)?;
    if !command.once {
        readings = readings.measuring(ChainMeasurements::times(client));
    }
    let is_screen = !command.once
        && global.output == OutputForm::Table
        && !global.quiet
        && io::stdout().is_terminal()
        && !is_plain_terminal();
    if is_screen {
        screen(&command, readings, services).await
    } else {
        lines(global, &command, readings).await
    }
}

async fn lines(global: &Global, command: &ShowTop, mut readings: FigureReadings) -> Result<(), CliError> {
    let mut output = OpenOutput::of_stdout();
    loop {
        let news = tokio::select! {
            () = output.closed() => return Ok(()),
            news = readings.next() => news?,
        };
        let FiguresUpdate::Rates(rates) = news.noted(command.once)? else { continue };
        if let Some(note) = rates.note.as_ref().filter(|_| global.output == OutputForm::Table) {
            show::note(note);
        }
        let answer = TopTable { rates, view: command.view };
        if command.once {
            return show::answer(global, &answer);
        }
        if !show::write_while_read(show::tick(global, &answer)?.as_bytes())? {
            return Ok(());
        }
    }
}

enum TopEvent {
    Input(Event),
    News(Result<FiguresUpdate, CliError>),
    Details(LoadedDetails),
    End,
}

async fn screen(command: &ShowTop, readings: FigureReadings, services: Services) -> Result<(), CliError> {
    let mut signals = Signals::new()?;
    let mut figures = read_figures(readings);
    // Dropping this value restores the terminal, also before the message of a panic.
    let mut shown = OpenScreen::begin()?;
    let mut input = read_input();
    let (details, mut loaded) = mpsc::channel(4);
    let mut state = TopScreen::new(command.view, command.interval, Screen::of_stdout().colour);
    loop {
        shown.0.draw(|frame| draw(frame, &mut state)).map_err(CliError::Output)?;
        let happened = tokio::select! {
            () = signals.any() => TopEvent::End,
            event = input.recv() => event.map_or(TopEvent::End, TopEvent::Input),
            Some(news) = figures.recv() => TopEvent::News(news),
            Some(loaded) = loaded.recv() => TopEvent::Details(loaded),
        };
        match happened {
            TopEvent::End => return Ok(()),
            TopEvent::Details(loaded) => state.tell(loaded),
            TopEvent::News(news) => match news? {
                FiguresUpdate::Rates(rates) => state.take(rates),
                FiguresUpdate::Away(why) => state.lose(why),
                FiguresUpdate::Back => state.find(),
            },
            TopEvent::Input(Event::Key(key)) => match state.press(key) {
                KeyEffect::Draw => {}
                KeyEffect::Quit => return Ok(()),
                KeyEffect::Load(subject) => {
                    let (details, services) = (details.clone(), services.clone());
                    tokio::spawn(async move {
                        let _closed = details.send(load(services, subject).await).await;
                    });
                }
            },
            // Drawing detects a new size.
            TopEvent::Input(_) => {}
        }
    }
}

struct OpenScreen(DefaultTerminal);

impl OpenScreen {
    fn begin() -> Result<Self, CliError> {
        ratatui::try_init().map(Self).map_err(|error| {
            ratatui::restore();
            CliError::Output(error)
        })
    }
}

impl Drop for OpenScreen {
    fn drop(&mut self) {
        // If the terminal is gone, there is nothing to restore.
        let _gone = ratatui::try_restore();
    }
}

/// Reads keys and sizes in a thread, which runs until the process ends: nothing can wake it.
fn read_input() -> mpsc::Receiver<Event> {
    let (events, input) = mpsc::channel(64);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if events.blocking_send(event).is_err() {
                return;
            }
        }
    });
    input
}

fn read_figures(mut readings: FigureReadings) -> mpsc::Receiver<Result<FiguresUpdate, CliError>> {
    let (news, figures) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let next = readings.next().await;
            let is_last = next.is_err();
            if news.send(next).await.is_err() || is_last {
                return;
            }
        }
    });
    figures
}

async fn load(services: Services, subject: DetailSubject) -> LoadedDetails {
    let mut lines = Vec::new();
    let (id, hook) = match &subject {
        DetailSubject::Program(id) => {
            lines.push(String::new());
            lines.extend(provenance(services.clone(), *id).await);
            (*id, String::new())
        }
        DetailSubject::Chain(hook) => (0, hook.clone()),
        DetailSubject::Map(_) => return LoadedDetails { subject, lines },
    };
    lines.extend([String::new(), "History, newest first".to_owned()]);
    lines.extend(history(services, id, hook).await);
    LoadedDetails { subject, lines }
}

async fn provenance(mut services: Services, id: u32) -> Vec<String> {
    let answer = services.ext.get_program(ext::GetProgramRequest { id }).await;
    match answer.map(|answer| answer.into_inner().program) {
        Ok(Some(program)) => origin_lines(&ProgramJson::new(&program)),
        Ok(None) => Vec::new(),
        Err(status) => vec![format!("the daemon does not tell more: {}", status.message())],
    }
}

async fn history(mut services: Services, id: u32, hook: String) -> Vec<String> {
    let request = ext::HistoryRequest { limit: HISTORY, id, hook, ..Default::default() };
    let read = async {
        let mut pages = services.node.history(request).await?.into_inner();
        let mut history = HistoryJson::default();
        while let Some(page) = pages.message().await? {
            history.add(&page);
        }
        Ok::<_, tonic::Status>(history)
    };
    match read.await {
        Ok(history) if history.entries.is_empty() => vec!["nothing that the journal keeps".to_owned()],
        Ok(history) => history
            .entries
            .iter()
            .map(|entry| {
                let (time, who) = (entry.short_time(), entry.who());
                format!("{time}  {}  {}  {who}  {}", entry.call(), entry.result, entry.came())
            })
            .collect(),
        Err(status) => vec![format!("the daemon does not tell: {}", status.message())],
    }
}
