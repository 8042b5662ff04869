//! What to load.

use std::path::Path;

use bpfman_proto::v1;
use v1::bytecode_location::Location;

use crate::{MoreProgramTypes, ProgramType, RemoteProgram};

/// Programs of one object, to be loaded by [`crate::Client::load`]. They share maps and global variables.
///
/// ```
/// use bpfman_client::{NewLoad, ProgramType};
///
/// let load = NewLoad::image("quay.io/example/firewall:v2")
///     .program("firewall", ProgramType::Xdp)
///     .global("limit", 100_u32.to_ne_bytes())
///     .metadata("owner", "network-team");
/// # drop(load);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "nothing is loaded before Client::load"]
pub struct NewLoad {
    request: v1::LoadRequest,
}

/// The type of a program, by its number on the wire: of [`ProgramType`], or of [`MoreProgramTypes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramNumber(i32);

impl From<ProgramType> for ProgramNumber {
    fn from(program_type: ProgramType) -> Self {
        Self(program_type.into())
    }
}

impl From<MoreProgramTypes> for ProgramNumber {
    fn from(program_type: MoreProgramTypes) -> Self {
        Self(program_type.into())
    }
}

/// When an image is asked for at its registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullWhen {
    /// Always: a tag may have moved.
    Always,
    /// Where the daemon does not have it.
    IfNotPresent,
    /// Never: only what the daemon has is loaded.
    Never,
}

impl NewLoad {
    /// Of an object file, which the daemon opens: the caller has to be allowed to read it.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self::of(Location::File(path.as_ref().display().to_string()))
    }

    /// Of an image, which root's signature policy has to admit. It is fetched where the daemon does not have it.
    pub fn image(reference: impl Into<String>) -> Self {
        Self::of(Location::Image(v1::BytecodeImage {
            url: reference.into(),
            image_pull_policy: pull_number(PullWhen::IfNotPresent),
            ..v1::BytecodeImage::default()
        }))
    }

    fn of(location: Location) -> Self {
        let bytecode = v1::BytecodeLocation { location: Some(location) };
        Self { request: v1::LoadRequest { bytecode: Some(bytecode), ..v1::LoadRequest::default() } }
    }

    /// When the image is asked for; without meaning for files.
    pub fn pull(mut self, when: PullWhen) -> Self {
        if let Some(Location::Image(image)) =
            self.request.bytecode.as_mut().and_then(|bytecode| bytecode.location.as_mut())
        {
            image.image_pull_policy = pull_number(when);
        }
        self
    }

    /// One more program, by the name of its function.
    pub fn program(mut self, function: impl Into<String>, program_type: impl Into<ProgramNumber>) -> Self {
        let name = function.into();
        self.request.info.push(v1::LoadInfo { name, program_type: program_type.into().0, info: None });
        self
    }

    /// One more program of a type that has to be told what it is for, such as fentry, LSM, trace points with typed
    /// arguments and hooks of control groups: the kernel function, hook or trace point. Other types take theirs when they
    /// are attached.
    pub fn program_for(
        mut self,
        function: impl Into<String>,
        program_type: impl Into<ProgramNumber>,
        target: impl Into<String>,
    ) -> Self {
        use v1::prog_specific_info::Info;
        let fn_name = target.into();
        let program_type = program_type.into();
        let info = match ProgramType::try_from(program_type.0) {
            Ok(ProgramType::Fexit) => Some(Info::FexitLoadInfo(v1::FexitLoadInfo { fn_name })),
            Ok(ProgramType::Lsm) => Some(Info::LsmLoadInfo(v1::LsmLoadInfo { hook_name: fn_name })),
            // Types that the published messages do not have take this one.
            Ok(ProgramType::Fentry) | Err(_) => Some(Info::FentryLoadInfo(v1::FentryLoadInfo { fn_name })),
            Ok(_) => None,
        };
        self = self.program(function, program_type);
        if let Some(last) = self.request.info.last_mut() {
            last.info = info.map(|info| v1::ProgSpecificInfo { info: Some(info) });
        }
        self
    }

    /// A pair that programs carry, and by which they are found again.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.metadata.insert(key.into(), value.into());
        self
    }

    /// The value of a global variable, in the byte order of the machine; as long as the variable.
    pub fn global(mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.request.global_data.insert(name.into(), bytes.into());
        self
    }

    /// Uses the maps of a program that is loaded, instead of new ones.
    pub fn share_maps_of(mut self, program: &RemoteProgram) -> Self {
        self.request.map_owner_id = Some(program.id());
        self
    }

    pub(crate) fn into_request(self) -> v1::LoadRequest {
        self.request
    }
}

/// As the wire numbers it.
const fn pull_number(when: PullWhen) -> i32 {
    match when {
        PullWhen::Always => 0,
        PullWhen::IfNotPresent => 1,
        PullWhen::Never => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_becomes_the_request_of_the_wire() {
        let load = NewLoad::image("quay.io/a/b:v1")
            .pull(PullWhen::Never)
            .program("pass", ProgramType::Xdp)
            .program_for("traced", ProgramType::Fentry, "do_unlinkat")
            .program_for("guard", MoreProgramTypes::CgroupSockAddr, "connect4")
            .global("limit", [1, 0, 0, 0]);
        let request = load.into_request();
        let names: Vec<_> = request.info.iter().map(|info| (info.name.as_str(), info.program_type)).collect();
        assert_eq!(names, [("pass", 0), ("traced", 5), ("guard", 1007)]);
        assert!(request.info[0].info.is_none() && request.info[1..].iter().all(|info| info.info.is_some()));
        assert_eq!(request.global_data["limit"], [1, 0, 0, 0]);
        let Some(Location::Image(image)) = request.bytecode.unwrap().location else { panic!("an image") };
        assert_eq!((image.url.as_str(), image.image_pull_policy), ("quay.io/a/b:v1", 2));
    }
}
