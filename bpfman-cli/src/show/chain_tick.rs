//! Chain between two readings: a line for the hook, and one for each program.

use serde::Serialize;

use super::CommandOutput;
use super::screen::Screen;
use super::table::TextTable;
use crate::args::top::TopView;
use crate::figures::{ChainRates, FigureRates};
use crate::top::{GridSort, grid_of};

#[derive(Debug, Serialize)]
pub struct ChainTick {
    pub hook: String,
    /// Time between the readings, in seconds.
    pub seconds: f64,
    /// Rates of the chain; null while it has no program.
    pub chain: Option<ChainRates>,
    #[serde(skip)]
    rates: FigureRates,
}

impl ChainTick {
    /// Creates the answer from rates of this hook.
    #[must_use]
    pub fn new(hook: &str, rates: FigureRates) -> Self {
        let chain = rates.chains.iter().find(|chain| chain.hook == hook).cloned();
        Self { hook: hook.to_owned(), seconds: rates.seconds, chain, rates }
    }
}

impl CommandOutput for ChainTick {
    fn table(&self, screen: Screen) -> String {
        if self.chain.is_none() {
            return format!("no program is at {}\n", self.hook);
        }
        let grid = grid_of(&self.rates, TopView::Chains, GridSort::first_of(TopView::Chains), "");
        let titles: Vec<&str> = grid.columns.iter().map(|column| column.title).collect();
        let mut table = TextTable::new(&titles);
        grid.rows.into_iter().for_each(|row| table.row(row.cells));
        table.render(screen)
    }

    fn ids(&self) -> Vec<String> {
        let members = self.chain.iter().flat_map(|chain| &chain.members);
        members.map(|member| member.program_id.to_string()).collect()
    }
}
