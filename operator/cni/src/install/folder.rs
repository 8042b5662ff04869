use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{InstallError, InstallOptions, at};
use crate::conflist::{self, ConflistChange};
use crate::write::atomically;

const ENDINGS: [&str; 3] = ["conf", "conflist", "json"];

/// Extension of a single plugin's configuration while a list replaces it; runtimes do not read it.
const SAVED: &str = "bpfman-saved";

/// Adds the plugin to the active configuration. Returns the changed file, if any; nothing is changed on failure.
pub fn add(options: &InstallOptions) -> Result<Option<PathBuf>, InstallError> {
    let file = active(options)?;
    let text = fs::read(&file).map_err(at(&file))?;
    let changed = conflist::with(&text, &options.entry);
    match changed.map_err(|why| InstallError::ConflistError { file: file.clone(), why })? {
        ConflistChange::Same => Ok(None),
        ConflistChange::List(list) => replace(&file, &file, &list).map(|()| Some(file)),
        ConflistChange::FromSingle(list) => {
            // The original file sorts before the list and stays active until it is renamed.
            let target = file.with_extension("conflist");
            replace(&target, &file, &list)?;
            let saved = saved(&file);
            fs::rename(&file, &saved).map_err(at(&file))?;
            Ok(Some(target))
        }
    }
}

/// Removes the plugin from all configurations. On failure, the files before the failing one stay changed.
pub fn remove(options: &InstallOptions) -> Result<Vec<PathBuf>, InstallError> {
    let mut changed = Vec::new();
    for file in configurations(options)? {
        let text = fs::read(&file).map_err(at(&file))?;
        // A file that cannot be parsed cannot run the plugin.
        let Ok(Some(rest)) = conflist::without(&text) else { continue };
        let single = ENDINGS.iter().map(|ending| file.with_extension(ending)).find(|one| saved(one).exists());
        match single {
            Some(single) => {
                fs::rename(saved(&single), &single).map_err(at(&single))?;
                fs::remove_file(&file).map_err(at(&file))?;
            }
            None => replace(&file, &file, &rest)?,
        }
        changed.push(file);
    }
    Ok(changed)
}

fn saved(single: &Path) -> PathBuf {
    let name = single.file_name().unwrap_or_default().to_string_lossy();
    single.with_file_name(format!("{name}.{SAVED}"))
}

fn replace(file: &Path, like: &Path, value: &Value) -> Result<(), InstallError> {
    let mode = fs::metadata(like).map_err(at(like))?.permissions().mode() & 0o777;
    let mut text = serde_json::to_vec_pretty(value).map_err(|error| at(file)(error.into()))?;
    text.push(b'\n');
    atomically(file, &text, mode).map_err(at(file))
}

fn active(options: &InstallOptions) -> Result<PathBuf, InstallError> {
    if let Some(name) = &options.name_of_conflist {
        let file = options.conf_dir.join(name);
        return match file.exists() {
            true => Ok(file),
            false => Err(InstallError::NoConfiguration(file)),
        };
    }
    let first = configurations(options)?.into_iter().next();
    first.ok_or_else(|| InstallError::NoConfiguration(options.conf_dir.clone()))
}

fn configurations(options: &InstallOptions) -> Result<Vec<PathBuf>, InstallError> {
    let folder = &options.conf_dir;
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(at(folder))?,
    };
    let known = |file: &PathBuf| {
        file.extension().and_then(|ending| ending.to_str()).is_some_and(|ending| ENDINGS.contains(&ending))
    };
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(known).collect();
    found.sort();
    Ok(found)
}
