//! `bpfman run-as --unit`: a drop-in that makes a systemd service run its command by `run-as`.

mod drop_in;
mod file;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use self::file::ServiceUnit;
use crate::error::CliError;

/// Folders of units, in the order of precedence.
const FOLDERS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];

/// Prints the drop-in of a unit, named as by `systemctl`, or by the path of its file.
pub fn print(name: &str) -> Result<(), CliError> {
    let path = find(name)?;
    let invalid = |what: String| CliError::Invalid { what, hint: None };
    let mut texts = vec![read(&path)?];
    for part in drop_ins(&path) {
        texts.push(read(&part)?);
    }
    let unit = ServiceUnit::parse(&texts).map_err(|why| invalid(format!("{}: {why}", path.display())))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let text = drop_in::text(&name, &unit).map_err(|why| invalid(format!("{}: {why}", path.display())))?;
    std::io::stdout().write_all(text.as_bytes()).map_err(CliError::Session)
}

fn read(path: &Path) -> Result<String, CliError> {
    std::fs::read_to_string(path).map_err(|error| CliError::Invalid {
        what: format!("the unit {} cannot be read: {error}", path.display()),
        hint: None,
    })
}

fn find(name: &str) -> Result<PathBuf, CliError> {
    if name.contains('/') {
        return Ok(name.into());
    }
    let name = if name.contains('.') { name.to_owned() } else { format!("{name}.service") };
    // All instances of a template have one file.
    let template = name.split_once('@').map(|(start, _)| format!("{start}@.service"));
    let names = std::iter::once(name.clone()).chain(template);
    let mut paths = names.flat_map(|name| FOLDERS.map(|folder| Path::new(folder).join(&name)));
    paths.find(|path| path.is_file()).ok_or_else(|| CliError::Invalid {
        what: format!("there is no unit {name} in {}", FOLDERS.join(", ")),
        hint: Some("give the path of its file".into()),
    })
}

/// Returns the drop-ins beside a unit and in the other folders, by name; the folder that comes first wins.
fn drop_ins(path: &Path) -> Vec<PathBuf> {
    let name = format!("{}.d", path.file_name().unwrap_or_default().to_string_lossy());
    let beside = path.parent().map(Path::to_owned).unwrap_or_default();
    let is_installed = FOLDERS.iter().any(|folder| Path::new(folder) == beside);
    let folders: Vec<PathBuf> = if is_installed { FOLDERS.map(PathBuf::from).to_vec() } else { vec![beside] };
    let mut found = std::collections::BTreeMap::new();
    for folder in folders {
        for entry in std::fs::read_dir(folder.join(&name)).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_part = path.extension().is_some_and(|extension| extension == "conf");
            if is_part && entry.file_name() != drop_in::FILE {
                found.entry(entry.file_name()).or_insert(path);
            }
        }
    }
    found.into_values().collect()
}
