//! Sources of an object. The client reads files, the daemon images; without a daemon, the client reads both.

use std::fmt;
use std::path::{Path, PathBuf};

use bpfman_client::Services;
use bpfman_image_format::{ImageReference, Platform, ReferenceError};
use bpfman_model::PullPolicy;
use bpfman_proto::ext::v1 as ext;
use bpfman_proto::v1;
use bpfman_proto::v1::bytecode_location::Location;
use bpfman_registry::fetch_object;
use bpfmand_object::{MAX_OBJECT_BYTES, ObjectFile};

use crate::args::Global;
use crate::args::object::ObjectArgument;
use crate::args::value::absolute;
use crate::command::check;
use crate::command::image::reach;
use crate::command::progress::{ProgressLine, while_waiting};
use crate::error::CliError;
use crate::image_error::LocalImageError;

#[derive(Clone, Debug)]
pub enum ObjectSource {
    File(PathBuf),
    Image(v1::BytecodeImage),
}

impl ObjectSource {
    /// Returns the source of an argument: an existing file, or an image unless the text looks like a path.
    pub fn of(argument: &ObjectArgument) -> Self {
        let path = Path::new(&argument.source);
        let looks_like_path = argument.source.starts_with(['.', '/'])
            || path.extension().is_some_and(|extension| extension == "o");
        if path.exists() || looks_like_path {
            return Self::File(path.to_path_buf());
        }
        let auth = argument.registry_auth.as_ref();
        Self::Image(v1::BytecodeImage {
            url: argument.source.clone(),
            image_pull_policy: argument.pull_policy.number(),
            username: auth.map(|auth| auth.user().to_owned()),
            password: auth.map(|auth| auth.password().to_owned()),
        })
    }

    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Image(_) => None,
        }
    }

    /// Returns the location for a load by the daemon, which has an image in its cache already.
    pub fn location(&self) -> Location {
        match self {
            Self::File(path) => Location::File(absolute(path)),
            Self::Image(image) => {
                let policy = match image.image_pull_policy {
                    never if never == PullPolicy::Never.number() => never,
                    _ => PullPolicy::IfNotPresent.number(),
                };
                Location::Image(v1::BytecodeImage { image_pull_policy: policy, ..image.clone() })
            }
        }
    }
}

impl fmt::Display for ObjectSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Image(image) => image.url.fmt(f),
        }
    }
}

pub fn read(path: &Path) -> Result<ObjectFile, CliError> {
    parse(check::bytes(path, MAX_OBJECT_BYTES as u64)?, &path.display().to_string())
}

pub async fn fetch(
    global: &Global,
    client: &mut Services,
    image: &v1::BytecodeImage,
) -> Result<ObjectFile, CliError> {
    let request = ext::PullRequest { image: Some(image.clone()), want_object: true };
    let mut events = client.ext.pull(request).await?.into_inner();
    let mut line = ProgressLine::new(global, &format!("pulling {}", image.url));
    let mut object = Vec::new();
    while let Some(event) = events.message().await? {
        line.at(event.bytes, event.total);
        object.extend_from_slice(&event.object);
        if object.len() > MAX_OBJECT_BYTES {
            return Err(CliError::Invalid {
                what: format!("the object of image {} has more than {MAX_OBJECT_BYTES} bytes", image.url),
                hint: None,
            });
        }
    }
    if object.is_empty() {
        return Err(CliError::Incomplete {
            call: "Pull",
            part: "the object file: it may be older than this client",
        });
    }
    parse(object, &image.url)
}

/// Reads the object of an image from its registry, without a daemon. Signatures are not verified.
pub async fn fetch_here(global: &Global, argument: &ObjectArgument) -> Result<ObjectFile, CliError> {
    let invalid =
        |what: String| CliError::Invalid { what: format!("{}: {what}", argument.source), hint: None };
    let image: ImageReference = argument.source.parse().map_err(|error: ReferenceError| {
        invalid(format!("there is no such file, and it is no name of an image: {error}"))
    })?;
    let platform =
        Platform::host().ok_or_else(|| invalid("images are not made for this machine".to_owned()))?;
    let access = reach::with_password(&image, argument.registry_auth.clone())?;
    let fetching = fetch_object(&image, access, platform);
    let fetched = while_waiting(global, &format!("pulling {image}"), fetching).await;
    parse(fetched.map_err(LocalImageError::from)?.bytes, &argument.source)
}

fn parse(bytes: Vec<u8>, name: &str) -> Result<ObjectFile, CliError> {
    ObjectFile::parse(bytes)
        .map_err(|error| CliError::Invalid { what: format!("{name}: {error}"), hint: None })
}
