//! `bpfman top` without a screen: one view as a table, or everything as a document.

use serde::Serialize;

use super::CommandOutput;
use super::screen::Screen;
use super::table::TextTable;
use crate::args::top::TopView;
use crate::figures::FigureRates;
use crate::top::{GridSort, RowKey, grid_of};

#[derive(Debug, Serialize)]
pub struct TopTable {
    #[serde(flatten)]
    pub rates: FigureRates,
    #[serde(skip)]
    pub view: TopView,
}

impl CommandOutput for TopTable {
    fn table(&self, screen: Screen) -> String {
        let grid = grid_of(&self.rates, self.view, GridSort::first_of(self.view), "");
        let titles: Vec<&str> = grid.columns.iter().map(|column| column.title).collect();
        let mut table = TextTable::new(&titles);
        grid.rows.into_iter().for_each(|row| table.row(row.cells));
        let mut text = table.render(screen);
        text.push('\n');
        text
    }

    fn ids(&self) -> Vec<String> {
        let grid = grid_of(&self.rates, self.view, GridSort::first_of(self.view), "");
        let id = |key: RowKey| match key {
            RowKey::Program(id) | RowKey::Map(id) => Some(id.to_string()),
            RowKey::Member(link, _) => Some(link.to_string()),
            RowKey::Owner(owner) if !owner.is_empty() => Some(owner),
            RowKey::Owner(_) | RowKey::Chain(_) => None,
        };
        grid.rows.into_iter().filter_map(|row| id(row.key)).collect()
    }
}
