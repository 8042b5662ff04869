//! Drawing of the screen: title, views, rows of one view or its details, and keys.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

use super::grid::{Grid, GridColumn, GridRow};
use super::screen::{TopScreen, VIEWS};
use crate::args::top::TopView;
use crate::show::amounts::percent;
use crate::show::screen::cell;

/// Minimum size of a readable screen, columns and rows.
const MIN_SCREEN: (u16, u16) = (30, 6);

const HELP: [&str; 15] = [
    "1 2 3 4, Tab       programs, chains, maps, owners",
    "j k, arrows        next and previous row; PgUp PgDn, g G: pages and ends",
    "Enter              one program, chain or map; an owner's programs",
    "/ text Enter       only rows in which the text is; Esc: all again",
    "s                  sort by the next column",
    "r                  the other way round",
    "q, Esc             back; q ends at last, and so does Ctrl-C",
    "",
    "CPU %     of one CPU: own runs, and the program's part of the chains it is in",
    "0.2+      a part is not known: a chain of several programs whose timing is off",
    "-         not known",
    "PER RUN   mean of the runs between the readings",
    "VERDICTS  packets a second that ended with a member, and those that all let through",
    "MEMORY    of the kernel; of maps up to a minute old",
    "",
];

pub fn draw(frame: &mut Frame<'_>, screen: &mut TopScreen) {
    let area = frame.area();
    let pen = TextStyles { colour: screen.colour };
    let buffer = frame.buffer_mut();
    if area.width < MIN_SCREEN.0 || area.height < MIN_SCREEN.1 {
        let text = format!(
            "{}x{} is too small: {}x{} at least",
            area.width, area.height, MIN_SCREEN.0, MIN_SCREEN.1
        );
        return wrapped(buffer, area, &text);
    }
    line(buffer, area, 0, &title(screen), pen.title());
    views(buffer, area, screen, pen);
    let body = Rect { y: area.y + 2, height: area.height - 3, ..area };
    screen.rows = usize::from(body.height) - 1;
    if screen.has_help {
        HELP.iter().zip(0..body.height).for_each(|(text, at)| line(buffer, body, at, text, Style::default()));
    } else if let Some(rates) = screen.rates.as_ref().filter(|_| screen.details.is_some()) {
        let lines = screen.details.as_ref().map(|details| details.lines(rates)).unwrap_or_default();
        if let Some(details) = &mut screen.details {
            let lines = pieces(&lines, usize::from(body.width));
            let room = usize::from(body.height);
            details.scrolled = details.scrolled.min(lines.len().saturating_sub(room));
            for (text, at) in lines.iter().skip(details.scrolled).zip(0..body.height) {
                let style = if at == 0 && details.scrolled == 0 { pen.heading() } else { Style::default() };
                line(buffer, body, at, text, style);
            }
        }
    } else {
        screen.scroll();
        rows(buffer, body, screen, pen);
    }
    foot(buffer, area, screen, pen);
}

/// Styles, with the terminal's own colours only, since it may be light or dark.
#[derive(Clone, Copy)]
struct TextStyles {
    colour: bool,
}

impl TextStyles {
    fn title(self) -> Style {
        Style::default().add_modifier(Modifier::BOLD)
    }

    fn heading(self) -> Style {
        Style::default().add_modifier(Modifier::BOLD)
    }

    fn chosen(self) -> Style {
        Style::default().add_modifier(Modifier::REVERSED)
    }

    /// Returns the style of warnings. Red is visible on light and on dark.
    fn alarm(self) -> Style {
        let style = Style::default().add_modifier(Modifier::BOLD);
        if self.colour { style.fg(Color::Red) } else { style }
    }
}

fn line(buffer: &mut Buffer, area: Rect, at: u16, text: &str, style: Style) {
    if at < area.height {
        buffer.set_stringn(area.x, area.y + at, text, area.width.into(), style);
    }
}

fn wrapped(buffer: &mut Buffer, area: Rect, text: &str) {
    let characters: Vec<char> = text.chars().collect();
    for (piece, at) in characters.chunks(usize::from(area.width.max(1))).zip(0..area.height) {
        line(buffer, area, at, &piece.iter().collect::<String>(), Style::default());
    }
}

fn pieces(lines: &[String], width: usize) -> Vec<String> {
    let pieces = |line: &String| -> Vec<String> {
        let characters: Vec<char> = line.chars().collect();
        match characters.len() {
            0 => vec![String::new()],
            _ => characters.chunks(width.max(1)).map(|piece| piece.iter().collect()).collect(),
        }
    };
    lines.iter().flat_map(pieces).collect()
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn title(screen: &TopScreen) -> String {
    let every = humantime::format_duration(screen.interval);
    let Some(rates) = &screen.rates else { return format!("bpfman top   every {every}   reading twice…") };
    let cpu = rates.cpu_percent.map_or_else(|| "CPU -".to_owned(), |cpu| format!("CPU {} %", percent(cpu)));
    format!(
        "bpfman top   {cpu}   {}   {}   {}   every {every}",
        counted(rates.programs.len(), "program"),
        counted(rates.chains.len(), "chain"),
        counted(rates.maps.len(), "map")
    )
}

fn views(buffer: &mut Buffer, area: Rect, screen: &TopScreen, pen: TextStyles) {
    let mut x = area.x;
    for (at, (view, name)) in VIEWS.iter().enumerate() {
        let style = if *view == screen.view { pen.chosen() } else { Style::default() };
        let room = area.right().saturating_sub(x);
        let (end, _) = buffer.set_stringn(x, area.y + 1, format!(" {} {name} ", at + 1), room.into(), style);
        x = end;
    }
    if !screen.filter.is_empty() && !screen.is_filtering {
        let text = format!("  only: {}", cell(&screen.filter));
        buffer.set_stringn(x, area.y + 1, text, area.right().saturating_sub(x).into(), Style::default());
    }
}

fn rows(buffer: &mut Buffer, body: Rect, screen: &TopScreen, pen: TextStyles) {
    let Some(grid) = &screen.grid else { return };
    let place = &screen.places[screen.view_index()];
    let widths = widths(grid, body.width);
    let header = |column: usize| {
        let arrow = if place.sort.is_reversed { "^" } else { "*" };
        let title = grid.columns[column].title;
        if place.sort.column == column { format!("{arrow}{title}") } else { title.to_owned() }
    };
    let titles: Vec<String> = (0..grid.columns.len()).map(header).collect();
    cells(buffer, body, 0, &grid.columns, &widths, &titles, pen.heading());
    if grid.rows.is_empty() {
        return line(buffer, body, 1, nothing(screen), Style::default());
    }
    let shown = grid.rows.iter().enumerate().skip(place.scrolled);
    for ((index, row), at) in shown.zip(1..body.height) {
        let style = match (index == place.index, row.is_heading) {
            (true, _) => pen.chosen(),
            (false, true) => pen.heading(),
            (false, false) => Style::default(),
        };
        if index == place.index {
            buffer.set_style(Rect { y: body.y + at, height: 1, ..body }, style);
        }
        cells(buffer, body, at, &grid.columns, &widths, &row.cells, style);
    }
}

fn nothing(screen: &TopScreen) -> &'static str {
    match screen.view {
        _ if !screen.filter.is_empty() => "nothing with this text; Esc shows all again",
        TopView::Programs => "no programs are loaded; --others shows those of others",
        TopView::Chains => "no hook has programs",
        TopView::Maps => "no program has maps",
        TopView::Owners => "no user has programs",
    }
}

/// Returns each column's width; 0 if hidden. The first without a fixed width fits its cells, the last takes the rest.
fn widths(grid: &Grid, screen: u16) -> Vec<u16> {
    let is_shown = |column: &GridColumn| column.from <= screen;
    let shown = || grid.columns.iter().filter(|column| is_shown(column));
    let fixed: u16 = shown().map(|column| column.width).sum::<u16>();
    let gaps = u16::try_from(shown().count()).unwrap_or(u16::MAX).saturating_sub(1);
    let mut left = screen.saturating_sub(fixed + gaps);
    let mut open = shown().filter(|column| column.width == 0).count();
    let needs = |at: usize| {
        let cell = |row: &GridRow| row.cells.get(at).map_or(0, |cell| cell.chars().count());
        let longest = grid.rows.iter().map(cell).max().unwrap_or(0).max(grid.columns[at].title.len() + 1);
        u16::try_from(longest).unwrap_or(u16::MAX)
    };
    let width = |(at, column): (usize, &GridColumn)| match column.width {
        _ if !is_shown(column) => 0,
        0 => {
            let width = if open > 1 { needs(at).min(left * 2 / 3) } else { left };
            (left, open) = (left - width, open - 1);
            width
        }
        width => width,
    };
    grid.columns.iter().enumerate().map(width).collect()
}

fn cells(
    buffer: &mut Buffer,
    body: Rect,
    at: u16,
    columns: &[GridColumn],
    widths: &[u16],
    cells: &[String],
    style: Style,
) {
    let mut x = body.x;
    for ((column, width), text) in columns.iter().zip(widths).zip(cells) {
        if *width == 0 || x >= body.right() {
            continue;
        }
        let length = u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
        let indent = if column.is_number { width.saturating_sub(length) } else { 0 };
        let room = (*width - indent).min(body.right().saturating_sub(x + indent));
        buffer.set_stringn(x + indent, body.y + at, text, room.into(), style);
        x += width + 1;
    }
}

fn foot(buffer: &mut Buffer, area: Rect, screen: &TopScreen, pen: TextStyles) {
    let last = area.height - 1;
    let note = screen.rates.as_ref().and_then(|rates| rates.note.as_deref());
    if screen.is_filtering {
        return line(buffer, area, last, &format!("/{}_", cell(&screen.filter)), pen.heading());
    }
    if let Some(away) = &screen.away {
        return line(buffer, area, last, &cell(away), pen.alarm());
    }
    if let Some(note) = note.filter(|_| !screen.has_help && screen.details.is_none()) {
        return line(buffer, area, last, &cell(note), pen.alarm());
    }
    let keys = match () {
        () if screen.has_help => "q back",
        () if screen.details.is_some() => "j k scroll   q back   ? help",
        () => "q quit   / filter   s sort   r reverse   Enter open   Tab view   ? help",
    };
    line(buffer, area, last, keys, Style::default());
}
