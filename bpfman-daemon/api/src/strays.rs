//! Conversion of objects without a record in the daemon's bpffs.

use std::path::{Path, PathBuf};

use bpfman_proto::ext::v1 as wire;
use bpfmand_engine::{Stray, StrayKind};
use tonic::Status;

use crate::status;

pub fn show(stray: &Stray, fs: &Path) -> wire::Stray {
    let (kind, kernel_link_id, ifindex) = match &stray.kind {
        StrayKind::Link { id, ifindex } => (wire::StrayKind::Link, id.0, ifindex.map_or(0, |index| index.0)),
        StrayKind::Program => (wire::StrayKind::Program, 0, 0),
        StrayKind::HiddenFilter { .. } => (wire::StrayKind::Filter, 0, 0),
        StrayKind::Filter { key, .. } => (wire::StrayKind::Filter, 0, key.ifindex.0),
        StrayKind::NewerChain { key, .. } => (wire::StrayKind::NewerChain, 0, key.ifindex.0),
    };
    wire::Stray {
        pin: fs.join(&stray.pin).display().to_string(),
        kind: kind.into(),
        program_id: stray.program.0,
        program_name: stray.program_name.clone(),
        kernel_link_id,
        ifindex,
        description: stray.description(),
    }
}

/// Returns the pin of a stray as the engine names it, from the path that users see.
pub fn pin(path: &str, fs: &Path) -> Result<PathBuf, Status> {
    Path::new(path).strip_prefix(fs).map(Path::to_owned).map_err(|_| {
        let fs = fs.display();
        status::invalid(format!("{path} is not a pin below {fs}, where this daemon has its pins"))
    })
}
