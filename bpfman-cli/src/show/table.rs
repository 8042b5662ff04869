//! Tables without borders: each cell has a space on either side, as in v0.6.0.

use comfy_table::{ColumnConstraint, ContentArrangement, Width, presets};

use super::screen::{Screen, cell};

/// Minimum width at which the last column is wrapped: one word per line is worse than a long line.
const NARROWEST_COLUMN: u16 = 16;

/// Text table: a header, and rows with as many cells.
#[derive(Clone, Debug)]
pub struct TextTable(comfy_table::Table);

impl TextTable {
    #[must_use]
    pub fn new(header: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).set_header(header);
        Self(table)
    }

    /// Adds a row. Missing cells are empty.
    pub fn row(&mut self, cells: Vec<String>) {
        self.0.add_row(cells.iter().map(|text| cell(text)));
    }

    /// Returns the lines, without trailing spaces; wraps the last column at the screen's width.
    #[must_use]
    pub fn render(&self, screen: Screen) -> String {
        let mut table = self.0.clone();
        if let Some(width) = screen.width {
            table.set_content_arrangement(ContentArrangement::Dynamic);
            table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
            table.column_iter_mut().for_each(|column| {
                column.set_constraint(ColumnConstraint::ContentWidth);
            });
            if let Some(last) = table.column_iter_mut().last() {
                last.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(NARROWEST_COLUMN)));
            }
        }
        let mut lines = String::new();
        for (index, line) in table.lines().enumerate() {
            let line = line.trim_end();
            // Make the header bold after the widths are known, because escape sequences have no width.
            match line.strip_prefix(' ') {
                Some(header) if index == 0 => lines.push_str(&format!(" {}", screen.bold(header))),
                _ => lines.push_str(line),
            }
            lines.push('\n');
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> TextTable {
        let mut table = TextTable::new(&["Program ID", "Type", "Links"]);
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
        assert!(text.starts_with(" \x1b[1mProgram ID "));
    }

    #[test]
    fn the_last_column_is_broken_at_the_width_of_the_screen() {
        let mut table = TextTable::new(&["Key", "Value"]);
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
        let mut table = TextTable::new(&["Program ID", "Function Name"]);
        table.row(vec!["7".into(), "x\n 8  trusted\x1b[2J".into()]);
        let text = table.render(Screen::PLAIN);
        assert_eq!(text, " Program ID  Function Name\n 7           x\\n 8  trusted\\u{1b}[2J\n");
    }

    #[test]
    fn short_rows_are_filled() {
        let mut table = TextTable::new(&["Bpfman State", ""]);
        table.row(vec!["x".into()]);
        assert_eq!(table.render(Screen::PLAIN), " Bpfman State\n x\n");
    }
}
