//! Screen of `bpfman top`: contents, and handling of keys. Does not access a terminal.

mod columns;
mod details;
mod draw;
mod grid;
mod keys;
mod screen;
#[cfg(test)]
mod snapshots;

pub use self::details::{DetailSubject, LoadedDetails};
pub use self::draw::draw;
pub use self::grid::{Grid, GridColumn, GridRow, GridSort, RowKey, grid_of};
pub use self::keys::KeyEffect;
pub use self::screen::TopScreen;
