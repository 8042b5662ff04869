//! Since when Linux has what programs are made of. The table is made by `make-since`, which names its source.

use std::fmt;
use std::sync::LazyLock;

/// A version of Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinuxVersion(pub u16, pub u16);

impl fmt::Display for LinuxVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl LinuxVersion {
    /// The version of a release (`uname -r`), or of a text such as `6.1`; none if it does not begin so.
    #[must_use]
    pub fn of_release(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        Some(Self(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

/// What brought something to Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstLinux {
    /// The first version with it.
    pub version: LinuxVersion,
    /// The commit of Linux, abbreviated; empty where none is known.
    pub commit: &'static str,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinceRow {
    /// `program_type`, `map_type`, `attach_type`, `helper` or `kfunc`.
    pub kind: &'static str,
    /// The kernel's name, lower case and without what all names of its kind begin with, but for functions.
    pub name: &'static str,
    /// Since when.
    pub since: FirstLinux,
    /// Of helpers: the number by which programs call it.
    pub number: Option<u32>,
}

const TABLE: &str = include_str!("since.tsv");

static ROWS: LazyLock<Vec<SinceRow>> = LazyLock::new(|| TABLE.lines().filter_map(row).collect());

/// All rows, by kind and name.
pub fn rows() -> impl Iterator<Item = SinceRow> {
    ROWS.iter().copied()
}

fn row(line: &'static str) -> Option<SinceRow> {
    let mut cells = line.split('\t');
    let (kind, name) = (cells.next()?, cells.next()?);
    let version = LinuxVersion::of_release(cells.next()?)?;
    let since = FirstLinux { version, commit: cells.next()? };
    Some(SinceRow { kind, name, since, number: cells.next()?.parse().ok() })
}

/// Since when Linux has something; none for what the table does not know.
#[must_use]
pub fn since(kind: &str, name: &str) -> Option<FirstLinux> {
    rows().find(|row| row.kind == kind && row.name == name).map(|row| row.since)
}

/// A helper by its number.
#[must_use]
pub fn helper(number: u32) -> Option<SinceRow> {
    rows().find(|row| row.number == Some(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        assert_eq!(rows().count(), TABLE.lines().count());
        assert!(rows().count() > 600);
        let mut helpers: Vec<u32> = rows().filter_map(|row| row.number).collect();
        helpers.sort_unstable();
        helpers.dedup();
        assert_eq!(helpers, (1..=211).collect::<Vec<_>>(), "each helper has its number");
    }

    #[test]
    fn well_known_things_have_their_versions() {
        let at = |kind, name| since(kind, name).unwrap().version;
        assert_eq!(at("program_type", "xdp"), LinuxVersion(4, 8));
        assert_eq!(at("map_type", "ringbuf"), LinuxVersion(5, 8));
        assert_eq!(at("kfunc", "bpf_arena_alloc_pages"), LinuxVersion(6, 9));
        assert_eq!(helper(1).unwrap().name, "bpf_map_lookup_elem");
        assert_eq!(since("helper", "no_such"), None);
    }

    #[test]
    fn versions_are_ordered_as_numbers() {
        let of = |text| LinuxVersion::of_release(text);
        assert!(of("6.10.3-amd64") > of("6.9"));
        assert_eq!(of("6.1.0-37-cloud-amd64").unwrap().to_string(), "6.1");
        assert_eq!((of("six"), of("6"), of("")), (None, None, None));
    }
}
