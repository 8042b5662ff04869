//! `bpfman map pin`: the daemon passes the map, and this process pins it with its own permissions.

use std::path::Path;

use bpfman_client::MapAccess;
use bpfman_model::Hint;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::ext::v1::named_map::Map;

use super::typed_map::named_map;
use crate::args::Global;
use crate::args::map::PinMap;
use crate::args::value::absolute;
use crate::error::CliError;
use crate::show::answer;
use crate::show::pinned::Pinned;

const BPFFS: i64 = 0xcafe_4a11;

pub async fn run(global: &Global, command: PinMap) -> Result<(), CliError> {
    let path = absolute(&command.path);
    let target = Path::new(&path);
    let client = super::super::connect_fresh(global).await?;
    let runtime = client.services().ext.info(ext::InfoRequest {}).await?.into_inner().runtime_dir;
    check(target, Path::new(&runtime))?;
    // A pin can be opened for writing even if its descriptor is read-only, hence ask for write access.
    let opened = match named_map(&mut client.services(), &command.map).await?.map {
        Some(Map::OfProgram(of)) => client.open_map_of(of.program_id, of.name, MapAccess::Write).await,
        Some(Map::MapId(id)) => client.open_map(id, MapAccess::Write).await,
        None => return Err(CliError::Usage(format!("{} is no map", command.map))),
    };
    let map = opened.map_err(CliError::Client)?;
    map.pin(target).map_err(|error| match error {
        bpfman_client::Error::Pin { source, .. } => CliError::File { path: target.to_path_buf(), source },
        other => CliError::Client(other),
    })?;
    let map = map.description();
    answer(global, &Pinned { map_id: map.id, name: map.name.clone(), pin_path: path })
}

/// Refuses paths that the kernel would refuse without a reason.
fn check(target: &Path, runtime: &Path) -> Result<(), CliError> {
    let wrong = |what: String, hint: Hint| Err(CliError::Invalid { what, hint: Some(hint) });
    if target.starts_with(runtime) {
        return wrong(
            format!("{} is in the daemon's own folder, {}", target.display(), runtime.display()),
            "pin it elsewhere: what has no record there is a stray".into(),
        );
    }
    if target.symlink_metadata().is_ok() {
        return Err(CliError::Exists { path: target.to_path_buf() });
    }
    let folder = target.parent().unwrap_or(target);
    let file =
        |source: rustix::io::Errno| CliError::File { path: folder.to_path_buf(), source: source.into() };
    if rustix::fs::statfs(folder).map_err(file)?.f_type as i64 & 0xffff_ffff != BPFFS {
        return wrong(
            format!("{} is no bpffs: maps are pinned in one only", folder.display()),
            Hint::MountPins { folder: folder.to_owned() },
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_has_a_bpffs_of_its_own() {
        let why = |path: &str| check(Path::new(path), Path::new("/run/bpfman")).unwrap_err();
        assert!(why("/run/bpfman/fs/x").to_string().contains("the daemon's own folder"));
        assert!(matches!(why("/proc"), CliError::Exists { .. }));
        assert!(why("/proc/x").to_string().contains("is no bpffs"));
        assert!(matches!(why("/nowhere/at/all"), CliError::File { .. }));
    }
}
