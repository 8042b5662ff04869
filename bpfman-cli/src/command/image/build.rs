//! `bpfman image build` and `generate-build-args`: no daemon, no container runtime, no registry.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bpfman_image_format::{ImageReference, Input, OciLayout, Platform, PlatformInputs, SourceDate};
use bpfman_registry::PushError;
use serde::Serialize;

use crate::args::Global;
use crate::args::image::{Build, BytecodeFlags, LayoutFlag};
use crate::command::progress;
use crate::error::CliError;
use crate::image_error::LocalImageError;
use crate::show;
use crate::show::CommandOutput;
use crate::show::screen::Screen;

pub fn build(global: &Global, command: Build) -> Result<(), CliError> {
    if command.container_file.is_some() || command.runtime.is_some() {
        progress::note("images are built in this process: --container-file and --runtime are not needed");
    }
    let reference = tagged(&command.tag)?;
    let folder = layout_folder(&command.layout)?;
    let inputs = PlatformInputs::read(&input(command.bytecode)?).map_err(LocalImageError::from)?;
    let date = SourceDate::from_environment().map_err(LocalImageError::from)?;
    let image = inputs.build(date).map_err(LocalImageError::from)?;
    let layout = OciLayout::open_or_create(&folder).map_err(LocalImageError::from)?;
    image.write(&layout, &reference.to_string()).map_err(LocalImageError::from)?;
    let labels = inputs.labels();
    show::answer(
        global,
        &Built {
            image: reference.to_string(),
            digest: image.digest().to_string(),
            layout: folder,
            programs: labels.programs,
            maps: labels.maps,
        },
    )
}

pub fn build_args(global: &Global, bytecode: BytecodeFlags) -> Result<(), CliError> {
    let inputs = PlatformInputs::read(&input(bytecode)?).map_err(LocalImageError::from)?;
    let args = inputs.build_args();
    show::answer(
        global,
        &BuildArguments {
            lines: args.lines(),
            files: args.files.into_iter().map(|(name, path)| (name.to_owned(), path)).collect(),
            programs: args.labels.programs,
            maps: args.labels.maps,
        },
    )
}

/// Returns the image with the tag to store it under: `latest` if it has none. A digest is refused.
pub fn tagged(image: &ImageReference) -> Result<ImageReference, CliError> {
    match (image.digest(), image.tag()) {
        (Some(_), _) => Err(LocalImageError::from(PushError::Digest(image.clone())).into()),
        (None, None) => Ok(image.at_tag("latest")),
        (None, Some(_)) => Ok(image.clone()),
    }
}

/// Returns the folder of built images: the flag, the XDG data folder, or the one in the home folder.
pub fn layout_folder(flag: &LayoutFlag) -> Result<PathBuf, CliError> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    flag.layout
        .clone()
        .or_else(|| absolute("XDG_DATA_HOME").map(|data| data.join("bpfman/images")))
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share/bpfman/images")))
        .ok_or_else(|| CliError::Invalid {
            what: "no folder for built images: neither XDG_DATA_HOME nor HOME is an absolute path".to_owned(),
            hint: Some("name one with --layout, or BPFMAN_IMAGE_LAYOUT".into()),
        })
}

/// Returns the input that the flags name. The parser has checked that it is of one kind.
fn input(bytecode: BytecodeFlags) -> Result<Input, CliError> {
    if let Some(file) = bytecode.bytecode {
        return Ok(Input::File(file));
    }
    if let Some(folder) = bytecode.cilium_ebpf_project {
        return Ok(Input::Folder(folder));
    }
    let mut platforms = BTreeMap::new();
    for (name, file) in bytecode.by_architecture.given() {
        let platform = Platform::from_architecture(name).ok_or_else(|| CliError::Invalid {
            what: format!("images are not made for the architecture {name}"),
            hint: None,
        })?;
        platforms.insert(platform, file.clone());
    }
    Ok(Input::Platforms(platforms))
}

#[derive(Clone, Serialize)]
struct Built {
    image: String,
    digest: String,
    layout: PathBuf,
    programs: BTreeMap<String, String>,
    maps: BTreeMap<String, String>,
}

impl CommandOutput for Built {
    fn table(&self, _: Screen) -> String {
        format!("{}@{}\n", self.image, self.digest)
    }

    fn ids(&self) -> Vec<String> {
        vec![self.digest.clone()]
    }
}

#[derive(Serialize)]
struct BuildArguments {
    #[serde(skip)]
    lines: Vec<String>,
    files: BTreeMap<String, String>,
    programs: BTreeMap<String, String>,
    maps: BTreeMap<String, String>,
}

impl CommandOutput for BuildArguments {
    fn table(&self, _: Screen) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }

    fn ids(&self) -> Vec<String> {
        self.lines.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn the_tag_is_latest_unless_written_and_never_a_digest() {
        assert_eq!(tagged(&"r.io/a/b".parse().unwrap()).unwrap().to_string(), "r.io/a/b:latest");
        assert_eq!(tagged(&"r.io/a/b:1".parse().unwrap()).unwrap().to_string(), "r.io/a/b:1");
        let digest = format!("r.io/a/b@sha256:{}", "0".repeat(64));
        assert_eq!(tagged(&digest.parse().unwrap()).unwrap_err().exit(), Exit::Invalid);
    }

    #[test]
    fn every_architecture_of_the_flags_is_a_platform() {
        let line = "bpfman image generate-build-args --bc-386-el f --bc-amd64-el f --bc-arm-el f --bc-arm64-el f \
                    --bc-loong64-el f --bc-mips-eb f --bc-mipsle-el f --bc-mips64-eb f --bc-mips64le-el f \
                    --bc-ppc64-eb f --bc-ppc64le-el f --bc-riscv64-el f --bc-s390x-eb f";
        let cli = <crate::args::Cli as clap::Parser>::try_parse_from(line.split_whitespace()).unwrap();
        let crate::args::CliCommand::Image(crate::args::image::ImageCommand::GenerateBuildArgs { bytecode }) =
            cli.command
        else {
            panic!()
        };
        let Input::Platforms(platforms) = input(bytecode).unwrap() else { panic!() };
        assert_eq!(platforms.len(), 13);
    }
}
