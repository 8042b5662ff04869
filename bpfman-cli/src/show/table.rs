//! Tables without borders: each cell between one space and one space, as v0.6.0 prints them.

use super::screen::{Screen, cell};

/// Below this the last column is never broken: a word a line is worse than a long line.
const NARROWEST_COLUMN: usize = 16;

/// A table of text: a header, and rows with as many cells.
#[derive(Clone, Debug)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns.
    #[must_use]
    pub fn new(header: &[&str]) -> Self {
        Self { header: header.iter().map(|name| (*name).to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a row. Missing cells are empty.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|text| cell(text)).collect());
    }

    /// The lines, each ended, without spaces at the end; the last column is broken at the screen's width.
    #[must_use]
    pub fn render(&self, screen: Screen) -> String {
        let columns = self.header.len();
        let mut widths: Vec<usize> = self.header.iter().map(|cell| length(cell)).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(length(cell));
            }
        }
        let before: usize = widths.iter().take(columns.saturating_sub(1)).map(|width| width + 2).sum();
        let room = screen.width.map(|all| all.saturating_sub(before + 2).max(NARROWEST_COLUMN));

        let mut text = String::new();
        let bold: Vec<String> = self.header.iter().map(|cell| screen.bold(cell)).collect();
        // Padding is counted on the bare header: escape sequences take no place on the screen.
        line(&mut text, &bold, &self.header, &widths);
        for row in &self.rows {
            let mut first = row.clone();
            first.resize(columns, String::new());
            let pieces = match (room, first.last()) {
                (Some(room), Some(last)) => broken(last, room),
                _ => Vec::new(),
            };
            if let (Some(last), Some(piece)) = (first.last_mut(), pieces.first()) {
                last.clone_from(piece);
            }
            line(&mut text, &first, &first, &widths);
            for piece in pieces.iter().skip(1) {
                let mut rest = vec![String::new(); columns.saturating_sub(1)];
                rest.push(piece.clone());
                line(&mut text, &rest, &rest, &widths);
            }
        }
        text
    }
}

/// Adds one line; `shown` is what is printed, `measured` what its widths are.
fn line(text: &mut String, shown: &[String], measured: &[String], widths: &[usize]) {
    let mut line = String::new();
    for ((shown, measured), width) in shown.iter().zip(measured).zip(widths) {
        line.push(' ');
        line.push_str(shown);
        line.extend(std::iter::repeat_n(' ', width.saturating_sub(length(measured)) + 1));
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// Characters of a cell. Names of programs and interfaces are narrow characters.
fn length(cell: &str) -> usize {
    cell.chars().count()
}

/// A cell in pieces of at most `room` characters, broken at spaces where there are any.
fn broken(cell: &str, room: usize) -> Vec<String> {
    let mut pieces = Vec::new();
    let mut rest: Vec<char> = cell.chars().collect();
    while rest.len() > room {
        let space = rest[..=room].iter().rposition(|c| *c == ' ').filter(|at| *at > 0);
        let cut = space.unwrap_or(room);
        pieces.push(rest[..cut].iter().collect());
        rest.drain(..cut + usize::from(space.is_some()));
    }
    pieces.push(rest.iter().collect());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&["Program ID", "Type", "Links"]);
        table.row(vec!["7".into(), "tracepoint".into(), String::new()]);
        table.row(vec!["12345678901".into(), "xdp".into(), "(2) 1, 2".into()]);
        table
    }

    #[test]
    fn plain_tables_are_aligned_and_uncoloured() {
        assert_eq!(
            sample().render(Screen::PLAIN),
            " Program ID   Type        Links\n 7            tracepoint\n 12345678901  xdp         (2) 1, 2\n"
        );
    }

    #[test]
    fn on_a_terminal_headers_are_bold_and_columns_stay_aligned() {
        let text = sample().render(Screen { colour: true, width: Some(80) });
        let bare = text.replace("\x1b[1m", "").replace("\x1b[0m", "");
        assert_eq!(bare, sample().render(Screen::PLAIN));
        assert!(text.starts_with(" \x1b[1mProgram ID\x1b[0m "));
    }

    #[test]
    fn the_last_column_is_broken_at_the_width_of_the_screen() {
        let mut table = Table::new(&["Key", "Value"]);
        table.row(vec!["Why:".into(), "a sentence that is longer than the line".into()]);
        table.row(vec!["Tag:".into(), "0123456789abcdef0123456789".into()]);
        let text = table.render(Screen { colour: false, width: Some(28) });
        assert_eq!(
            text,
            " Key   Value\n Why:  a sentence that is\n       longer than the line\n Tag:  0123456789abcdef0123\n       456789\n"
        );
    }

    #[test]
    fn a_cell_can_neither_forge_a_row_nor_command_a_terminal() {
        let mut table = Table::new(&["Program ID", "Function Name"]);
        table.row(vec!["7".into(), "x\n 8  trusted\x1b[2J".into()]);
        let text = table.render(Screen::PLAIN);
        assert_eq!(text, " Program ID  Function Name\n 7           x\\n 8  trusted\\u{1b}[2J\n");
    }

    #[test]
    fn short_rows_are_filled() {
        let mut table = Table::new(&["Bpfman State", ""]);
        table.row(vec!["x".into()]);
        assert_eq!(table.render(Screen::PLAIN), " Bpfman State\n x\n");
    }
}
