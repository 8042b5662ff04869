//! `bpfman load`.

use bpfman_image_format::Credential;
use bpfman_model::{HookName, PullPolicy};
use bpfman_proto::MapExport;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};

use super::credential::{CredentialParser, REGISTRY_AUTH_VARIABLE};

use super::source_name::{ImageName, ObjectPath};
use super::value::{GlobalValue, KeyValue, MapSize, ProgramSpec};

/// Sources of programs.
#[derive(Debug, Subcommand)]
pub enum LoadCommand {
    /// Load from an object file on this machine.
    File(LoadFile),
    /// Load from a bytecode image in a registry.
    Image(LoadImage),
}

/// `bpfman load file`.
#[derive(Args, Debug)]
pub struct LoadFile {
    /// Object file.
    #[command(flatten)]
    pub object: ObjectPath,
    /// Programs, and how to load them.
    #[command(flatten)]
    pub what: LoadWhat,
}

/// `bpfman load image`.
#[derive(Args, Debug)]
pub struct LoadImage {
    /// Image flags.
    #[command(flatten)]
    pub image: ImageSource,
    /// Load flags.
    #[command(flatten)]
    pub what: LoadWhat,
}

/// An image in a registry, and how to get it.
#[derive(Args, Debug)]
pub struct ImageSource {
    /// Name of the image.
    #[command(flatten)]
    pub name: ImageName,
    /// Credentials for the registry: base64 of user:password, or - for the first line of standard input. Every user of
    /// this machine can read command lines.
    #[arg(short, long, value_name = "BASE64", env = REGISTRY_AUTH_VARIABLE, hide_env_values = true,
          value_parser = CredentialParser)]
    pub registry_auth: Option<Credential>,
    /// Condition for pulling the image from the registry.
    #[arg(short, long, value_name = "POLICY", value_parser = pull_policies(), default_value = "IfNotPresent")]
    pub pull_policy: PullPolicy,
}

/// Returns the parser of `--pull-policy`.
pub fn pull_policies() -> impl TypedValueParser<Value = PullPolicy> {
    let names = [
        PossibleValue::new("Always").help("Every time"),
        PossibleValue::new("IfNotPresent").help("Only if the image is not on this machine"),
        PossibleValue::new("Never").help("Never: fail if the image is not on this machine"),
    ];
    PossibleValuesParser::new(names).try_map(|name| PullPolicy::of_name(&name).ok_or("unknown policy"))
}

/// Action of the daemon on a program that exceeds its CPU limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OverCpu {
    /// Log it, also in the history.
    #[default]
    Warn,
    /// Detach it until it is attached again.
    Detach,
    /// Restore its version before the last replacement; without one, detach it.
    Previous,
}

impl OverCpu {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Detach => "detach",
            Self::Previous => "previous",
        }
    }
}

impl LoadWhat {
    /// Returns whether CPU time or lifetime of the programs is limited.
    #[must_use]
    pub const fn is_limited(&self) -> bool {
        self.cpu_limit.is_some() || self.ttl.is_some()
    }
}

/// Load flags that do not depend on the source.
#[derive(Args, Debug)]
pub struct LoadWhat {
    /// Programs to load, each TYPE:FUNCTION; fentry and fexit as TYPE:FUNCTION:KERNEL_FUNCTION; LSM as lsm:FUNCTION:HOOK.
    ///
    /// Types: xdp, tc, tcx, tracepoint, kprobe, kretprobe, uprobe, uretprobe, fentry, fexit, lsm. All programs of
    /// one call share the object's maps and globals, and either all load or none. Several with commas, spaces, or by
    /// repeating the flag.
    #[arg(long, required = true, num_args = 1.., value_delimiter = ',', value_name = "TYPE:FUNCTION")]
    pub programs: Vec<ProgramSpec>,
    /// Values of global variables by their type: `rate=100`, `name=eth0`, `on=true`, `ports=[80,443]`,
    /// `limits={"rate":5}`.
    ///
    /// A value of exactly two hexadecimal digits for each byte of the variable, with or without 0x, sets the bytes in
    /// memory order, as in v0.6.0: in a variable of four bytes, 10000000 is the byte 0x10 and three zeros. With a sign it is
    /// always a number: +10000000. Elements and fields that a value does not name keep the value from the object.
    #[arg(short, long, num_args = 1.., value_name = "NAME=VALUE")]
    pub global: Vec<GlobalValue>,
    /// Maximum number of entries of maps, instead of what the object declares: events=1048576. For a ring buffer, its size
    /// in bytes, which is rounded up to a power of two of pages.
    #[arg(long, num_args = 1.., value_name = "MAP=ENTRIES")]
    pub map_size: Vec<MapSize>,
    /// Name of the application the programs belong to: metadata bpfman_application.
    #[arg(short, long, value_name = "NAME")]
    pub application: Option<String>,
    /// Metadata of the programs; several with commas, or by repeating the flag.
    #[arg(short, long, value_delimiter = ',', value_name = "KEY=VALUE")]
    pub metadata: Vec<KeyValue>,
    /// Maps that pods may mount by the CSI driver, each MAP=NAMESPACE,... for reading; append :rw for writing too.
    /// "*" stands for all maps, or for all namespaces.
    #[arg(long, num_args = 1.., value_name = "MAP=NAMESPACE[:rw]")]
    pub export_map: Vec<MapExport>,
    /// Use the maps of this loaded program instead of new ones.
    #[arg(long, value_name = "PROGRAM_ID")]
    pub map_owner_id: Option<u32>,
    /// Limit each program to this share of one CPU, for example 5% or 0.5%. Default: the owner's limit.
    #[arg(long, value_name = "PERCENT")]
    pub cpu_limit: Option<String>,
    /// Action when a program exceeds its CPU limit: log it, detach it, or restore its previous version.
    #[arg(long, value_enum, value_name = "ACTION", requires = "cpu_limit", default_value_t)]
    pub over_cpu: OverCpu,
    /// Unload the programs after this time: a number and s, m, h or d.
    #[arg(long, value_name = "TIME", value_parser = super::image::age)]
    pub ttl: Option<std::time::Duration>,
    /// Print the whole verifier log, also if the load succeeds.
    #[arg(long, visible_alias = "verbose")]
    pub verifier_log: bool,
    /// Dry run: load the programs, show the kernel's result, and unload them.
    #[arg(long)]
    pub dry_run: bool,
    /// Also try the chain of this hook, such as xdp:eth0: new programs of its type, and those that run there.
    #[arg(long, num_args = 1.., value_name = "HOOK", requires = "dry_run")]
    pub attach: Vec<HookName>,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::args::{Cli, CliCommand};

    fn load(line: &str) -> LoadCommand {
        match Cli::try_parse_from(line.split_whitespace()).unwrap().command {
            CliCommand::Load(load) => load,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn several_values_after_one_flag_and_repeated_flags() {
        let line = "bpfman load file --programs xdp:a,tc:b --programs kprobe:c --path x.o -g one=01 two=02 \
                    -m k=v,l= -m n=o -a shop --map-owner-id 7";
        let LoadCommand::File(file) = load(line) else { panic!() };
        assert_eq!(
            file.what.programs.iter().map(|p| p.function.as_str()).collect::<Vec<_>>(),
            ["a", "b", "c"]
        );
        assert_eq!(file.what.global.len(), 2);
        assert_eq!(file.what.metadata.len(), 3);
        assert_eq!((file.what.map_owner_id, file.what.application.as_deref()), (Some(7), Some("shop")));
        assert_eq!(file.object.path(), Path::new("x.o"));
    }

    #[test]
    fn the_short_p_is_the_path_of_a_file_and_the_policy_of_an_image() {
        let LoadCommand::File(file) = load("bpfman load file -p x.o --programs xdp:a") else { panic!() };
        assert_eq!(file.object.path(), Path::new("x.o"));
        let LoadCommand::Image(image) = load("bpfman load image -i r/x:1 -p Always --programs xdp:a") else {
            panic!()
        };
        assert_eq!(image.image.pull_policy, PullPolicy::Always);
    }

    #[test]
    fn pull_policy_is_case_sensitive_and_defaults_to_if_not_present() {
        let LoadCommand::Image(image) = load("bpfman load image -i r/x:1 --programs xdp:a") else { panic!() };
        assert_eq!(image.image.pull_policy, PullPolicy::IfNotPresent);
        let line = "bpfman load image -i r/x:1 -p always --programs xdp:a";
        assert!(Cli::try_parse_from(line.split_whitespace()).is_err());
    }

    #[test]
    fn required_flags_are_required() {
        for line in [
            "bpfman load file -p x.o",
            "bpfman load file --programs xdp:a",
            "bpfman load image --programs xdp:a",
            "bpfman load file -p x.o --programs fentry:a",
            "bpfman load file -p x.o --programs xdp:a -g size",
            "bpfman load file -p x.o --programs xdp:a --map-size size=0x1",
            "bpfman load file -p x.o --programs xdp:a -m owner",
        ] {
            let error = Cli::try_parse_from(line.split_whitespace()).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
