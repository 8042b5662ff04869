//! Files and images that commands load, as an argument or by the flag of v0.6.0.

use std::path::{Path, PathBuf};

use clap::Args;

/// Object file.
#[derive(Args, Debug)]
#[group(id = "object_file", required = true, multiple = false)]
pub struct ObjectPath {
    /// Object file.
    #[arg(value_name = "FILE")]
    argument: Option<PathBuf>,
    /// Object file, as in v0.6.0.
    #[arg(short, long, value_name = "FILE")]
    path: Option<PathBuf>,
}

impl ObjectPath {
    /// Returns the path as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.argument.as_deref().or(self.path.as_deref()).unwrap_or_else(|| Path::new(""))
    }
}

/// Image in a registry.
#[derive(Args, Debug)]
#[group(id = "image_name", required = true, multiple = false)]
pub struct ImageName {
    /// Image with its registry, and a tag or digest, for example quay.io/acme/filter:v1.
    #[arg(value_name = "IMAGE")]
    argument: Option<String>,
    /// Image, as in v0.6.0.
    #[arg(short, long, value_name = "URL")]
    image_url: Option<String>,
}

impl ImageName {
    /// Returns the name as it was given.
    #[must_use]
    pub fn url(&self) -> &str {
        self.argument.as_deref().or(self.image_url.as_deref()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::image::ImageCommand;
    use crate::args::load::LoadCommand;
    use crate::args::{Cli, CliCommand};

    fn parse(line: &str) -> Result<CliCommand, clap::Error> {
        Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command)
    }

    #[test]
    fn source_is_an_argument_or_a_flag_and_not_both() {
        for line in ["load file a.o --programs xdp:f", "load file --programs xdp:f --path a.o"] {
            let CliCommand::Load(LoadCommand::File(file)) = parse(&format!("bpfman {line}")).unwrap() else {
                panic!("{line}")
            };
            assert_eq!(file.object.path(), Path::new("a.o"), "{line}");
        }
        for line in ["image pull r.io/a:1", "image pull -i r.io/a:1"] {
            let CliCommand::Image(ImageCommand::Pull { image }) = parse(&format!("bpfman {line}")).unwrap()
            else {
                panic!("{line}")
            };
            assert_eq!(image.name.url(), "r.io/a:1", "{line}");
        }
        for line in [
            "load file --programs xdp:f",
            "load file a.o --path b.o --programs xdp:f",
            "load image --programs xdp:f",
            "image pull",
            "image verify r.io/a:1 -i r.io/a:1",
            "replace 7 image",
        ] {
            assert_eq!(parse(&format!("bpfman {line}")).unwrap_err().exit_code(), 2, "{line}");
        }
    }
}
