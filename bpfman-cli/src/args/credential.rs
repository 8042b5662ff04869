//! Value of `--registry-auth`: a secret, which no message repeats.

use std::ffi::OsStr;
use std::io::{self, BufRead, Read};

use bpfman_image_format::Credential;
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};

/// Environment variable that keeps the secret off the command line, which every user of the machine can read.
pub const REGISTRY_AUTH_VARIABLE: &str = "BPFMAN_REGISTRY_AUTH";

const STANDARD_INPUT: &str = "-";

const MAX_LINE: u64 = 64 << 10;

/// Parser of credentials: base64 of `user:password`, given as the value or on the first line of standard
/// input. An error of `clap`'s own parsers would show the rejected value.
#[derive(Clone, Copy, Debug)]
pub struct CredentialParser;

impl TypedValueParser for CredentialParser {
    type Value = Credential;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Credential, Error> {
        let flag = arg.and_then(Arg::get_long).unwrap_or("registry-auth");
        let refused = |message: String| Error::raw(ErrorKind::ValueValidation, message).with_cmd(command);
        let from_input = value == STANDARD_INPUT;
        let text = if from_input {
            let line = first_line(&mut io::stdin().lock());
            Some(line.map_err(|error| {
                refused(format!("cannot read the value of --{flag} from standard input: {error}\n"))
            })?)
        } else {
            value.to_str().map(str::to_owned)
        };
        let whence = if from_input { ", read from standard input," } else { "" };
        text.and_then(|text| Credential::from_base64(&text).ok())
            .ok_or_else(|| refused(format!("the value of --{flag}{whence} is not base64 of user:password\n")))
    }
}

/// Reads the first line, without spaces around it. Later lines remain unread.
fn first_line(input: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    input.take(MAX_LINE).read_until(b'\n', &mut line)?;
    Ok(String::from_utf8_lossy(&line).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::{Cli, CliCommand};

    fn parse(auth: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(["bpfman", "image", "pull", "-i", "r.io/x:1", "-r", auth])
    }

    #[test]
    fn credentials_are_decoded() {
        let CliCommand::Image(crate::args::image::ImageCommand::Pull { image }) =
            parse("YW5uYTpzOmVjcmV0").unwrap().command
        else {
            panic!()
        };
        let auth = image.registry_auth.unwrap();
        assert_eq!((auth.user(), auth.password()), ("anna", "s:ecret"));
    }

    #[test]
    fn only_the_first_line_of_standard_input_is_taken() {
        let mut input = std::io::Cursor::new(b" YW5uYTpzOmVjcmV0\r\nkind: ClusterBpfApplication\n".to_vec());
        assert_eq!(super::first_line(&mut input).unwrap(), "YW5uYTpzOmVjcmV0");
        assert_eq!(super::first_line(&mut input).unwrap(), "kind: ClusterBpfApplication");
        assert_eq!(super::first_line(&mut input).unwrap(), "");
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
