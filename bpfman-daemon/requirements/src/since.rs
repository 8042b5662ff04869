//! First Linux versions of program types, map types, attach types, helpers and kernel functions. `make-since` generates
//! one table and names its source; the other has rows that this source lacks.

use std::fmt;
use std::sync::LazyLock;

use bpfman_model::ProgramType;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinuxVersion(pub u16, pub u16);

impl fmt::Display for LinuxVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl LinuxVersion {
    /// Parses the version of a release (`uname -r`), or of a text such as `6.1`; `None` if it does not begin with one.
    #[must_use]
    pub fn of_release(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        Some(Self(numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

/// Introduction of something in Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstLinux {
    /// First version with it.
    pub version: LinuxVersion,
    /// Abbreviated commit of Linux; empty if unknown.
    pub commit: &'static str,
}

/// Row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinceRow {
    /// `program_type`, `map_type`, `attach_type`, `helper`, `kfunc`, `iterator`, `map_flag` or `struct_ops`.
    pub kind: &'static str,
    /// Name in the kernel, in lower case without the common prefix; unchanged for functions.
    pub name: &'static str,
    pub since: FirstLinux,
    pub number: Option<u32>,
}

const TABLES: [&str; 2] = [include_str!("since.tsv"), include_str!("since-by-hand.tsv")];

static ROWS: LazyLock<Vec<SinceRow>> = LazyLock::new(|| {
    let lines = TABLES.into_iter().flat_map(str::lines);
    lines.filter_map(row).collect()
});

/// Returns all rows, by kind and name.
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

/// Returns the first version of something; `None` if the table lacks it.
#[must_use]
pub fn since(kind: &str, name: &str) -> Option<FirstLinux> {
    rows().find(|row| row.kind == kind && row.name == name).map(|row| row.since)
}

#[must_use]
pub fn helper(number: u32) -> Option<SinceRow> {
    rows().find(|row| row.number == Some(number))
}

/// Returns the first Linux version with the links that the daemon uses for programs of a type (docs/types.md).
#[must_use]
pub const fn attached_since(program_type: ProgramType) -> FirstLinux {
    let (major, minor) = program_type.attached_since();
    FirstLinux { version: LinuxVersion(major, minor), commit: "" }
}

#[cfg(test)]
mod tests {
    use bpfman_model::uapi::prog_type;

    use super::*;

    /// The first number in the column "Linux" of each type's row.
    #[test]
    fn versions_are_those_that_the_documentation_states() {
        let page = include_str!("../../../docs/types.md");
        for program_type in ProgramType::ALL {
            let named = format!("`{program_type}`");
            let mut rows = page.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
            let row = rows
                .find(|cells| cells.get(1).is_some_and(|names| names.split(", ").any(|name| name == named)));
            let stated = row.unwrap_or_else(|| panic!("docs/types.md has no row for {program_type}"))[5];
            let version = LinuxVersion::of_release(stated);
            assert_eq!(version, Some(attached_since(program_type).version), "{program_type}: {stated}");
            let loaded_as = prog_type::name(program_type.kernel_type());
            assert!(since("program_type", &loaded_as).is_some(), "{program_type}");
        }
    }

    #[test]
    fn every_line_of_the_table_is_read() {
        assert_eq!(rows().count(), TABLES.iter().map(|table| table.lines().count()).sum::<usize>());
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
        assert_eq!(at("attach_type", "cgroup_unix_connect"), LinuxVersion(6, 7));
        assert_eq!(at("iterator", "task_vma"), LinuxVersion(5, 12));
        assert_eq!(at("struct_ops", "sched_ext_ops"), LinuxVersion(6, 12));
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
