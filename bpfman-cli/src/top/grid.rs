//! Views as rows of cells: sorted, filtered, and safe for a terminal.

use std::cmp::Ordering;

use super::columns::{MAPS, OWNERS, PROGRAMS, TopColumn, known};
use crate::args::top::TopView;
use crate::figures::{ChainRates, FigureRates, MapMemory, MemberRates, OwnerRates, ProgramRates};
use crate::show::amounts::{percent, rate, time};
use crate::show::screen::cell;

/// Identity of a row, independent of its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowKey {
    Program(u32),
    Chain(String),
    /// Member by link and program.
    Member(u32, u32),
    Map(u32),
    /// Owner; empty for third-party programs.
    Owner(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GridColumn {
    pub title: &'static str,
    /// Width in characters; 0 for the remaining space.
    pub width: u16,
    /// True if it is right-aligned.
    pub is_number: bool,
    /// Minimum width of the screen for this column.
    pub from: u16,
}

#[derive(Clone, Debug)]
pub struct GridRow {
    pub key: RowKey,
    /// Cells, one per column, without control characters.
    pub cells: Vec<String>,
    /// True if the following rows belong to this one.
    pub is_heading: bool,
}

/// View as rows.
#[derive(Clone, Debug)]
pub struct Grid {
    /// Columns, from left to right.
    pub columns: Vec<GridColumn>,
    pub rows: Vec<GridRow>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GridSort {
    /// Index of the column in the view.
    pub column: usize,
    /// True for the reverse order.
    pub is_reversed: bool,
}

impl GridSort {
    #[must_use]
    pub const fn first_of(view: TopView) -> Self {
        let column = match view {
            TopView::Programs => 4,
            TopView::Chains => 2,
            TopView::Maps => 3,
            TopView::Owners => 1,
        };
        Self { column, is_reversed: false }
    }
}

/// Returns the rows of a view that contain a text, ignoring case.
#[must_use]
pub fn grid_of(rates: &FigureRates, view: TopView, sort: GridSort, filter: &str) -> Grid {
    let filter = filter.to_lowercase();
    match view {
        TopView::Programs => table(&PROGRAMS, &rates.programs, sort, &filter),
        TopView::Maps => table(&MAPS, &rates.maps, sort, &filter),
        TopView::Owners => table(&OWNERS, &rates.owners, sort, &filter),
        TopView::Chains => chains(&rates.chains, sort, &filter),
    }
}

trait TopRow {
    fn key(&self) -> RowKey;
    /// Returns searchable text besides the cells.
    fn more(&self) -> String;
}

impl TopRow for ProgramRates {
    fn key(&self) -> RowKey {
        RowKey::Program(self.program_id)
    }

    fn more(&self) -> String {
        let texts =
            [&self.application, &self.image, &self.image_digest].map(|text| text.as_deref().unwrap_or(""));
        format!("{} {}", texts.join(" "), self.places.join(" "))
    }
}

impl TopRow for MapMemory {
    fn key(&self) -> RowKey {
        RowKey::Map(self.map_id)
    }

    fn more(&self) -> String {
        self.owners.join(" ")
    }
}

impl TopRow for OwnerRates {
    fn key(&self) -> RowKey {
        RowKey::Owner(self.owner.clone())
    }

    fn more(&self) -> String {
        String::new()
    }
}

fn table<R: TopRow>(columns: &'static [TopColumn<R>], rows: &[R], sort: GridSort, filter: &str) -> Grid {
    let cells = |row: &R| columns.iter().map(|column| cell(&(column.cell)(row))).collect::<Vec<_>>();
    let is_found = |row: &R, cells: &[String]| {
        filter.is_empty() || contains(cells.iter().map(String::as_str).chain([row.more().as_str()]), filter)
    };
    let mut shown: Vec<(&R, Vec<String>)> =
        rows.iter().map(|row| (row, cells(row))).filter(|(row, cells)| is_found(row, cells)).collect();
    if let Some(column) = columns.get(sort.column) {
        // Stable sort: equal rows keep their order.
        let order = |a: &R, b: &R| directed((column.order)(a, b), column.is_number, sort);
        shown.sort_by(|(a, _), (b, _)| order(a, b));
    }
    let row = |(row, cells): (&R, Vec<String>)| GridRow { key: row.key(), cells, is_heading: false };
    let columns = columns.iter().map(|column| GridColumn {
        title: column.title,
        width: column.width,
        is_number: column.is_number,
        from: column.from,
    });
    Grid { columns: columns.collect(), rows: shown.into_iter().map(row).collect() }
}

/// Orders numbers from the largest, texts from A, unless reversed.
fn directed(order: Ordering, is_number: bool, sort: GridSort) -> Ordering {
    if is_number != sort.is_reversed { order.reverse() } else { order }
}

fn contains<'a>(texts: impl IntoIterator<Item = &'a str>, filter: &str) -> bool {
    texts.into_iter().any(|text| text.to_lowercase().contains(filter))
}

/// Columns of chains: a line for the hook, and one for each member below it.
const CHAIN_COLUMNS: [GridColumn; 5] = [
    GridColumn { title: "HOOK, PROGRAMS", width: 0, is_number: false, from: 0 },
    GridColumn { title: "PKT/S", width: 7, is_number: true, from: 0 },
    GridColumn { title: "CPU %", width: 6, is_number: true, from: 40 },
    GridColumn { title: "PER RUN", width: 8, is_number: true, from: 50 },
    GridColumn { title: "VERDICTS/S", width: 0, is_number: false, from: 60 },
];

fn chains(chains: &[ChainRates], sort: GridSort, filter: &str) -> Grid {
    let is_found = |chain: &&ChainRates| {
        let members =
            chain.members.iter().flat_map(|member| [member.program_name.as_str(), member.owner.as_str()]);
        filter.is_empty() || contains(members.chain([chain.hook.as_str()]), filter)
    };
    let value = |chain: &ChainRates| match sort.column {
        1 => chain.packets_per_second,
        2 => chain.cpu_percent,
        3 => chain.nanoseconds_per_packet,
        _ => None,
    };
    let order = |a: &ChainRates, b: &ChainRates| match sort.column {
        1..=3 => value(a).unwrap_or(-1.0).total_cmp(&value(b).unwrap_or(-1.0)),
        _ => a.hook.cmp(&b.hook),
    };
    let mut shown: Vec<&ChainRates> = chains.iter().filter(is_found).collect();
    shown.sort_by(|a, b| directed(order(a, b), matches!(sort.column, 1..=3), sort));
    Grid { columns: CHAIN_COLUMNS.to_vec(), rows: shown.into_iter().flat_map(rows_of_chain).collect() }
}

fn rows_of_chain(chain: &ChainRates) -> impl Iterator<Item = GridRow> {
    let mut ways = Vec::new();
    if let Some(through) = chain.all_proceeded_per_second {
        ways.push(format!("through {}", rate(through)));
    }
    if let Some(lost) = chain.failed_per_second.filter(|lost| *lost > 0.0) {
        ways.push(format!("lost {}", rate(lost)));
    }
    let heading = GridRow {
        key: RowKey::Chain(chain.hook.clone()),
        cells: vec![
            cell(&chain.hook),
            known(chain.packets_per_second, rate),
            known(chain.cpu_percent, percent),
            known(chain.nanoseconds_per_packet, time),
            ways.join(" "),
        ],
        is_heading: true,
    };
    std::iter::once(heading).chain(chain.members.iter().map(row_of_member))
}

fn row_of_member(member: &MemberRates) -> GridRow {
    let shadow = if member.shadow { " (shadow)" } else { "" };
    GridRow {
        key: RowKey::Member(member.link_id, member.program_id),
        cells: vec![
            cell(&format!("  {}{shadow}", member.program_name)),
            known(member.packets_per_second, rate),
            String::new(),
            known(member.nanoseconds_per_run, time),
            cell(&verdicts(member)),
        ],
        is_heading: false,
    }
}

fn verdicts(member: &MemberRates) -> String {
    let mut ended: Vec<_> = member.ended.iter().collect();
    ended.sort_by(|a, b| b.per_second.total_cmp(&a.per_second));
    let texts = ended.iter().map(|ended| format!("{} {}", ended.verdict, rate(ended.per_second)));
    texts.collect::<Vec<_>>().join(" ")
}
