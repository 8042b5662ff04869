//! `bpfman image`.

use std::path::PathBuf;

use bpfman_image_format::ImageReference;
use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::load::ImageSource;
use super::registry::RegistryFlags;
use super::value_error::ValueError;
use super::watch::WatchFlag;

/// Image commands.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Pull an image into the daemon's cache and verify it, without loading it.
    Pull {
        /// Image flags.
        #[command(flatten)]
        image: ImageSource,
    },
    /// Build an image in this process, without docker or podman, into a local folder.
    Build(Build),
    /// Push a built image to its registry.
    Push(Push),
    /// Sign an image in its registry with a key.
    Sign(Sign),
    /// List the images in the daemon's cache.
    List(WatchFlag),
    /// Show one image of the daemon's cache, and whether the policy allows it now.
    Inspect {
        /// The image, by tag or digest.
        #[arg(value_name = "IMAGE")]
        image: ImageReference,
    },
    /// Show the programs and maps in the labels of an image in its registry, without pulling it. Verifies no signature.
    Labels(ReadLabels),
    /// Verify an image against the daemon's signature policy, or with a key or identity only, without loading it.
    Verify(Verify),
    /// Remove images that no program needs from the daemon's cache.
    Prune {
        /// Remove only images that no one has loaded for this long, for example 7d or 12h.
        #[arg(long, value_name = "TIME", default_value = "0s", value_parser = age)]
        unused_for: std::time::Duration,
    },
    /// Save an image of a registry with its signatures, for machines without a network.
    Save(Save),
    /// Import the images of an archive or OCI layout into the daemon's cache.
    Load {
        /// Archive written by `image save`, skopeo, oras, docker or podman, optionally compressed with gzip or zstd; or a
        /// folder in the OCI image layout, for example from `cosign save`.
        #[arg(value_name = "PATH")]
        path: PathBuf,
        /// Import one image under this name, whatever its name in the archive: the one with this tag, or the only one.
        #[arg(long, value_name = "IMAGE")]
        name: Option<ImageReference>,
    },
    /// Generate a key pair for signing.
    GenerateKeyPair(GenerateKeyPair),
    /// Print the build arguments that a container build of the bytecode needs.
    GenerateBuildArgs {
        /// Bytecode.
        #[command(flatten)]
        bytecode: BytecodeFlags,
    },
}

/// Folder of built images.
#[derive(Args, Debug)]
pub struct LayoutFlag {
    /// OCI layout folder of built images. Default: $XDG_DATA_HOME/bpfman/images, or ~/.local/share/bpfman/images.
    #[arg(long, value_name = "DIR", env = "BPFMAN_IMAGE_LAYOUT", hide_env_values = true)]
    pub layout: Option<PathBuf>,
}

/// `bpfman image build`.
#[derive(Args, Debug)]
pub struct Build {
    /// Name of the image: registry/repository and a tag.
    #[arg(short, long, value_name = "NAME[:TAG]")]
    pub tag: ImageReference,
    /// Not needed: the image is built in this process. Accepted for scripts of v0.6.0.
    #[arg(short = 'f', long, value_name = "FILE")]
    pub container_file: Option<PathBuf>,
    /// Not needed: the image is built in this process. Accepted for scripts of v0.6.0.
    #[arg(short, long, value_name = "RUNTIME", value_enum)]
    pub runtime: Option<ContainerRuntime>,
    /// Folder to build it in.
    #[command(flatten)]
    pub layout: LayoutFlag,
    /// Bytecode.
    #[command(flatten)]
    pub bytecode: BytecodeFlags,
}

/// Tools that v0.6.0 built images with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ContainerRuntime {
    /// docker buildx.
    Docker,
    /// podman.
    Podman,
}

/// `bpfman image push`.
#[derive(Args, Debug)]
pub struct Push {
    /// The image, as it was built.
    #[arg(value_name = "IMAGE")]
    pub image: ImageReference,
    /// Folder that it was built in.
    #[command(flatten)]
    pub layout: LayoutFlag,
    /// Registry flags.
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// `bpfman image sign`.
#[derive(Args, Debug)]
pub struct Sign {
    /// The image, by tag or digest. A tag is resolved to a digest first, and the digest is signed.
    #[arg(value_name = "IMAGE")]
    pub image: ImageReference,
    /// Private key: PEM, as `image generate-key-pair` writes it, or a cosign key, with its password in COSIGN_PASSWORD.
    #[arg(short, long, value_name = "FILE")]
    pub key: PathBuf,
    /// Annotation NAME=VALUE to sign with the digest, for policies that require it; repeat the flag for several.
    #[arg(short, long = "annotation", value_name = "NAME=VALUE", value_parser = annotation)]
    pub annotations: Vec<(String, String)>,
    /// Registry flags.
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// `bpfman image verify`.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("signer").args(["key", "identity"]))]
pub struct Verify {
    /// Image flags.
    #[command(flatten)]
    pub image: ImageSource,
    /// Verify that this public key signed the image now in the registry. The client verifies it, without daemon and policy.
    #[arg(short, long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Verify that this subject signed the image now in the registry, with a certificate of this issuer. The client
    /// verifies it, without daemon and policy. * stands for any characters.
    #[arg(long, num_args = 2, value_names = ["ISSUER", "SUBJECT"])]
    pub identity: Vec<String>,
    /// With --identity: trusted root, trusted_root.json, instead of Sigstore's public instance.
    #[arg(long, value_name = "FILE", requires = "identity")]
    pub trusted_root: Option<PathBuf>,
    /// With --key or --identity: use HTTP without TLS for the registry.
    #[arg(long, requires = "signer")]
    pub plain_http: bool,
    /// With --key or --identity: PEM file with the certificate authorities of the registry.
    #[arg(long, value_name = "FILE", requires = "signer")]
    pub ca_file: Option<PathBuf>,
}

/// `bpfman image labels`.
#[derive(Args, Debug)]
pub struct ReadLabels {
    /// The image, by tag or digest.
    #[arg(value_name = "IMAGE")]
    pub image: ImageReference,
    /// Registry flags.
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// `bpfman image save`.
#[derive(Args, Debug)]
pub struct Save {
    /// The image, by tag or digest.
    #[arg(value_name = "IMAGE")]
    pub image: ImageReference,
    /// Tar file to write.
    #[arg(long = "to", value_name = "FILE")]
    pub archive: PathBuf,
    /// Registry flags.
    #[command(flatten)]
    pub registry: RegistryFlags,
}

/// Parses a number with a unit: seconds, minutes, hours, days.
pub fn age(text: &str) -> Result<std::time::Duration, ValueError> {
    let wrong = || ValueError::NotTime(text.to_owned());
    let unit = text.char_indices().last().ok_or_else(wrong)?;
    let number: u64 = text[..unit.0].parse().map_err(|_| wrong())?;
    let seconds = match unit.1 {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    number.checked_mul(seconds).map(std::time::Duration::from_secs).ok_or_else(wrong)
}

fn annotation(text: &str) -> Result<(String, String), ValueError> {
    match text.split_once('=') {
        Some(("", _)) => Err(ValueError::NoName("name", text.to_owned())),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(ValueError::NoEquals(text.to_owned(), "NAME=VALUE")),
    }
}

/// `bpfman image generate-key-pair`.
#[derive(Args, Debug)]
pub struct GenerateKeyPair {
    /// Name of the files: PREFIX.key (private, mode 0600) and PREFIX.pub.
    #[arg(value_name = "PREFIX", default_value = "bpfman")]
    pub prefix: PathBuf,
}

/// Bytecode: one file, one file per architecture, or a project of cilium/ebpf.
#[derive(Args, Debug)]
#[group(skip)]
#[command(group = one_kind())]
pub struct BytecodeFlags {
    /// One object file for every architecture.
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["cilium_ebpf_project", "architectures"])]
    pub bytecode: Option<PathBuf>,
    /// Folder with the object files that bpf2go wrote, one per architecture.
    #[arg(short, long, value_name = "DIR", conflicts_with = "architectures")]
    pub cilium_ebpf_project: Option<PathBuf>,
    /// One file per architecture.
    #[command(flatten)]
    pub by_architecture: ByArchitecture,
}

/// Returns the group that requires bytecode; conflicts of the flags allow only one kind.
fn one_kind() -> ArgGroup {
    ArgGroup::new("kind_of_bytecode")
        .args(["bytecode", "cilium_ebpf_project"])
        .args(ByArchitecture::FLAGS)
        .required(true)
        .multiple(true)
}

macro_rules! architectures {
    ($($field:ident $flag:literal $goarch:literal $what:literal;)*) => {
        /// One object file per architecture.
        #[derive(Args, Debug, Default)]
        #[group(id = "architectures", multiple = true)]
        pub struct ByArchitecture {
            $(
                #[doc = $what]
                #[arg(long = $flag, value_name = "FILE", help_heading = "One object file per architecture")]
                pub $field: Option<PathBuf>,
            )*
        }

        impl ByArchitecture {
            const FLAGS: &[&str] = &[$(stringify!($field)),*];

            /// Returns the files that are set, with their architectures by OCI's names.
            #[must_use]
            pub fn given(&self) -> Vec<(&'static str, &PathBuf)> {
                [$(($goarch, self.$field.as_ref())),*]
                    .into_iter()
                    .filter_map(|(name, file)| file.map(|file| (name, file)))
                    .collect()
            }
        }
    };
}

architectures! {
    bc_386_el "bc-386-el" "386" "For 32-bit x86.";
    bc_amd64_el "bc-amd64-el" "amd64" "For 64-bit x86.";
    bc_arm_el "bc-arm-el" "arm" "For 32-bit ARM.";
    bc_arm64_el "bc-arm64-el" "arm64" "For 64-bit ARM.";
    bc_loong64_el "bc-loong64-el" "loong64" "For LoongArch.";
    bc_mips_eb "bc-mips-eb" "mips" "For 32-bit MIPS, big endian.";
    bc_mipsle_el "bc-mipsle-el" "mipsle" "For 32-bit MIPS, little endian.";
    bc_mips64_eb "bc-mips64-eb" "mips64" "For 64-bit MIPS, big endian.";
    bc_mips64le_el "bc-mips64le-el" "mips64le" "For 64-bit MIPS, little endian.";
    bc_ppc64_eb "bc-ppc64-eb" "ppc64" "For 64-bit POWER, big endian.";
    bc_ppc64le_el "bc-ppc64le-el" "ppc64le" "For 64-bit POWER, little endian.";
    bc_riscv64_el "bc-riscv64-el" "riscv64" "For 64-bit RISC-V.";
    bc_s390x_eb "bc-s390x-eb" "s390x" "For IBM Z.";
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Cli, CliCommand};

    fn build(line: &str) -> Result<Build, clap::Error> {
        match Cli::try_parse_from(line.split_whitespace())?.command {
            CliCommand::Image(ImageCommand::Build(build)) => Ok(build),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn exactly_one_kind_of_bytecode() {
        assert!(build("bpfman image build -t r.io/x:1 -b x.o").is_ok());
        assert!(build("bpfman image build -t r.io/x:1 -c dir").is_ok());
        let both = build("bpfman image build -t r.io/x:1 --bc-amd64-el a.o --bc-s390x-eb s.o").unwrap();
        let given: Vec<&str> = both.bytecode.by_architecture.given().iter().map(|(name, _)| *name).collect();
        assert_eq!(given, ["amd64", "s390x"]);
        for line in [
            "bpfman image build -t r.io/x:1",
            "bpfman image build -t r.io/x:1 -b x.o -c dir",
            "bpfman image build -t r.io/x:1 -b x.o --bc-amd64-el a.o",
            "bpfman image build -t r.io/x:1 -c dir --bc-amd64-el a.o",
            "bpfman image build -b x.o",
        ] {
            assert_eq!(build(line).unwrap_err().exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn flags_of_container_builds_are_taken() {
        let build =
            build("bpfman image build -t r.io/x:1 -b x.o -f Containerfile.bytecode -r podman").unwrap();
        assert_eq!(build.runtime, Some(ContainerRuntime::Podman));
        assert!(build.container_file.is_some());
    }
}
