//! The value of `--registry-auth`: a secret, so no message repeats it.

use std::ffi::OsStr;

use bpfman_image_format::Credential;
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

/// Keeps the secret out of the command line, which every user of the machine can read.
pub const REGISTRY_AUTH_VARIABLE: &str = "BPFMAN_REGISTRY_AUTH";

/// Reads base64 of `user:password`. `clap`'s own message would show what it could not read.
#[derive(Clone, Copy, Debug)]
pub struct CredentialParser;

impl TypedValueParser for CredentialParser {
    type Value = Credential;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Credential, Error> {
        let parsed = value.to_str().map(Credential::from_base64);
        match parsed {
            Some(Ok(credential)) => Ok(credential),
            Some(Err(_)) | None => {
                let flag = arg.and_then(Arg::get_long).unwrap_or("registry-auth");
                let message = format!("the value of --{flag} is not base64 of user:password\n");
                Err(Error::raw(ErrorKind::ValueValidation, message).with_cmd(command))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::{Cli, Command};

    fn parse(auth: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(["bpfman", "image", "pull", "-i", "r.io/x:1", "-r", auth])
    }

    #[test]
    fn credentials_are_decoded() {
        let Command::Image(crate::args::image::ImageCommand::Pull { image }) =
            parse("YW5uYTpzOmVjcmV0").unwrap().command
        else {
            panic!()
        };
        let auth = image.registry_auth.unwrap();
        assert_eq!((auth.user(), auth.password()), ("anna", "s:ecret"));
    }

    #[test]
    fn a_secret_that_cannot_be_read_is_not_shown() {
        for secret in ["anna:s3cret", "czNjcmV0"] {
            let error = parse(secret).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(!error.to_string().contains(secret), "{error}");
            assert!(error.to_string().contains("--registry-auth is not base64 of user:password"), "{error}");
        }
    }
}
