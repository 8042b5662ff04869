use std::time::Duration;

use super::details::{DetailSubject, LoadedDetails, OpenDetails};
use super::grid::{Grid, GridSort, RowKey, grid_of};
use crate::args::top::TopView;
use crate::figures::FigureRates;

pub(super) const VIEWS: [(TopView, &str); 4] = [
    (TopView::Programs, "Programs"),
    (TopView::Chains, "Chains"),
    (TopView::Maps, "Maps"),
    (TopView::Owners, "Owners"),
];

/// State of a view, kept while another view is shown.
#[derive(Clone, Debug)]
pub(super) struct ViewPlace {
    pub(super) sort: GridSort,
    /// Selected row; none for the first.
    pub(super) selected: Option<RowKey>,
    /// Index of the selected row, used when that row is gone.
    pub(super) index: usize,
    pub(super) scrolled: usize,
}

#[derive(Clone, Debug)]
pub struct TopScreen {
    pub(super) interval: Duration,
    pub(super) colour: bool,
    pub(super) view: TopView,
    pub(super) places: [ViewPlace; 4],
    pub(super) filter: String,
    pub(super) is_filtering: bool,
    pub(super) details: Option<OpenDetails>,
    pub(super) has_help: bool,
    pub(super) rates: Option<FigureRates>,
    pub(super) away: Option<String>,
    /// Number of visible rows, for the page keys.
    pub(super) rows: usize,
    pub(super) grid: Option<Grid>,
}

impl TopScreen {
    /// Creates the screen before the first reading.
    #[must_use]
    pub fn new(view: TopView, interval: Duration, colour: bool) -> Self {
        let place = |(view, _): (TopView, &str)| ViewPlace {
            sort: GridSort::first_of(view),
            selected: None,
            index: 0,
            scrolled: 0,
        };
        Self {
            interval,
            colour,
            view,
            places: VIEWS.map(place),
            filter: String::new(),
            is_filtering: false,
            details: None,
            has_help: false,
            rates: None,
            away: None,
            rows: 1,
            grid: None,
        }
    }

    pub fn take(&mut self, rates: FigureRates) {
        self.away = None;
        self.rates = Some(rates);
        self.arrange();
    }

    /// Shows that the daemon does not answer.
    pub fn lose(&mut self, why: String) {
        self.away = Some(why);
    }

    /// Shows that the daemon answers again; rates follow.
    pub fn find(&mut self) {
        self.away = None;
    }

    /// Shows loaded details, unless they were closed meanwhile.
    pub fn tell(&mut self, loaded: LoadedDetails) {
        if let Some(details) = self.details.as_mut().filter(|details| details.subject == loaded.subject) {
            details.loaded = Some(loaded.lines);
        }
    }

    #[must_use]
    pub fn subject(&self) -> Option<&DetailSubject> {
        self.details.as_ref().map(|details| &details.subject)
    }

    pub(super) fn place(&mut self) -> &mut ViewPlace {
        &mut self.places[self.view_index()]
    }

    pub(super) fn view_index(&self) -> usize {
        VIEWS.iter().position(|(view, _)| *view == self.view).unwrap_or(0)
    }

    pub(super) fn arrange(&mut self) {
        let Some(rates) = &self.rates else { return };
        let grid = grid_of(rates, self.view, self.places[self.view_index()].sort, &self.filter);
        let place = self.place();
        let found = place.selected.as_ref().and_then(|key| grid.rows.iter().position(|row| row.key == *key));
        place.index = found.unwrap_or(place.index).min(grid.rows.len().saturating_sub(1));
        self.grid = Some(grid);
        self.scroll();
    }

    pub(super) fn select(&mut self, index: usize) {
        let Some(grid) = &self.grid else { return };
        let index = index.min(grid.rows.len().saturating_sub(1));
        let selected = grid.rows.get(index).map(|row| row.key.clone());
        let place = self.place();
        (place.index, place.selected) = (index, selected);
        self.scroll();
    }

    /// Keeps the selected row visible, and no empty space below the last one.
    pub(super) fn scroll(&mut self) {
        let rows = self.rows.max(1);
        let all = self.grid.as_ref().map_or(0, |grid| grid.rows.len());
        let place = self.place();
        place.scrolled = place.scrolled.min(all.saturating_sub(rows)).min(place.index);
        if place.index >= place.scrolled + rows {
            place.scrolled = place.index + 1 - rows;
        }
    }
}
