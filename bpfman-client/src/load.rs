//! Requests to load programs.

use std::path::Path;

use bpfman_model::PullPolicy;
use bpfman_proto::ext::v1 as ext;
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
///     .global_value("limit", 100)
///     .global_value("ports", "[80, 443]")
///     .map_size("flows", 1 << 20)
///     .metadata("owner", "network-team");
/// # drop(load);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "nothing is loaded before Client::load"]
pub struct NewLoad {
    request: v1::LoadRequest,
    values: ext::LoadValues,
}

/// Number of a program type on the wire: of [`ProgramType`], or of [`MoreProgramTypes`].
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

impl NewLoad {
    /// Loads from an object file that the daemon opens. The caller has to be allowed to read it.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self::of(Location::File(path.as_ref().display().to_string()))
    }

    /// Loads from an image that root's signature policy has to admit. The daemon fetches it if it is missing.
    pub fn image(reference: impl Into<String>) -> Self {
        Self::of(Location::Image(v1::BytecodeImage {
            url: reference.into(),
            image_pull_policy: PullPolicy::IfNotPresent.number(),
            ..v1::BytecodeImage::default()
        }))
    }

    fn of(location: Location) -> Self {
        let bytecode = v1::BytecodeLocation { location: Some(location) };
        let request = v1::LoadRequest { bytecode: Some(bytecode), ..v1::LoadRequest::default() };
        // Digits are always a number, even if there are exactly two for each byte of the variable.
        Self { request, values: ext::LoadValues { by_type_only: true, ..ext::LoadValues::default() } }
    }

    /// Sets when the image is fetched; has no effect on files.
    pub fn pull(mut self, when: PullPolicy) -> Self {
        if let Some(Location::Image(image)) =
            self.request.bytecode.as_mut().and_then(|bytecode| bytecode.location.as_mut())
        {
            image.image_pull_policy = when.number();
        }
        self
    }

    /// Adds a program, by the name of its function.
    pub fn program(mut self, function: impl Into<String>, program_type: impl Into<ProgramNumber>) -> Self {
        let name = function.into();
        self.request.info.push(v1::LoadInfo { name, program_type: program_type.into().0, info: None });
        self
    }

    /// Adds a program of a type that needs its target at load, such as fentry, LSM, typed trace points and cgroup
    /// hooks: the kernel function, hook or trace point. Other types take their target at attachment.
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
            // Types that the published messages lack use this message.
            Ok(ProgramType::Fentry) | Err(_) => Some(Info::FentryLoadInfo(v1::FentryLoadInfo { fn_name })),
            Ok(_) => None,
        };
        self = self.program(function, program_type);
        if let Some(last) = self.request.info.last_mut() {
            last.info = info.map(|info| v1::ProgSpecificInfo { info: Some(info) });
        }
        self
    }

    /// Adds metadata to the programs, by which they can be found.
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.request.metadata.insert(key.into(), value.into());
        self
    }

    /// Sets a global variable to these bytes, in the byte order of the machine; their length must be the variable's.
    pub fn global(mut self, name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        self.request.global_data.insert(name.into(), bytes.into());
        self
    }

    /// Sets a global variable by its type: a number, `true`, a name of an enum, a text for an array of characters,
    /// `[80, 443]`, `{"rate": 5}`. Members of an array or a struct that are not named keep the value that the object
    /// has. It takes precedence over [`Self::global`].
    pub fn global_value(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.values.globals.insert(name.into(), value.to_string());
        self
    }

    /// Sets the number of entries of a map instead of the declared one. For a ring buffer, it is the size in bytes,
    /// which the daemon rounds up to a power of two of pages.
    pub fn map_size(mut self, map: impl Into<String>, entries: u32) -> Self {
        self.values.map_sizes.insert(map.into(), entries);
        self
    }

    /// Uses the maps of a loaded program instead of new ones.
    pub fn share_maps_of(mut self, program: &RemoteProgram) -> Self {
        self.request.map_owner_id = Some(program.id());
        self
    }

    pub(crate) fn into_request(self) -> (v1::LoadRequest, Option<ext::LoadValues>) {
        let sets_values = !self.values.globals.is_empty() || !self.values.map_sizes.is_empty();
        (self.request, sets_values.then_some(self.values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_becomes_the_request_of_the_wire() {
        let load = NewLoad::image("quay.io/a/b:v1")
            .pull(PullPolicy::Never)
            .program("pass", ProgramType::Xdp)
            .program_for("traced", ProgramType::Fentry, "vfs_unlink")
            .program_for("guard", MoreProgramTypes::CgroupSockAddr, "connect4")
            .global("limit", [1, 0, 0, 0]);
        let (request, values) = load.into_request();
        assert_eq!(values, None);
        let names: Vec<_> = request.info.iter().map(|info| (info.name.as_str(), info.program_type)).collect();
        assert_eq!(names, [("pass", 0), ("traced", 5), ("guard", 1007)]);
        assert!(request.info[0].info.is_none() && request.info[1..].iter().all(|info| info.info.is_some()));
        assert_eq!(request.global_data["limit"], [1, 0, 0, 0]);
        let Some(Location::Image(image)) = request.bytecode.unwrap().location else { panic!("an image") };
        assert_eq!((image.url.as_str(), image.image_pull_policy), ("quay.io/a/b:v1", 2));
    }

    #[test]
    fn values_are_texts_of_their_type() {
        let load = NewLoad::file("/opt/x.o")
            .program("pass", ProgramType::Xdp)
            .global_value("rate", 10_000_000)
            .global_value("on", true)
            .global_value("name", "eth0")
            .map_size("flows", 1024);
        let (request, values) = load.into_request();
        let values = values.unwrap();
        assert!(request.global_data.is_empty() && values.by_type_only);
        let globals = [("rate", "10000000"), ("on", "true"), ("name", "eth0")];
        assert_eq!(values.globals, globals.map(|(name, text)| (name.to_owned(), text.to_owned())).into());
        assert_eq!(values.map_sizes, [("flows".to_owned(), 1024)].into());
        let (_, sized) = NewLoad::file("/opt/x.o").map_size("flows", 1).into_request();
        assert_eq!(sized.unwrap().map_sizes["flows"], 1);
    }
}
