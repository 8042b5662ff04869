//! `bpfman iter`.

use std::io::IsTerminal;

use bpfman_proto::ext::v1 as ext;

use super::connect;
use crate::args::Global;
use crate::args::list::Iterate;
use crate::error::CliError;
use crate::show;
use crate::show::screen::Screen;

/// Prints the output of an iterator: without control characters on a terminal, byte for byte elsewhere.
pub async fn run(global: &Global, command: Iterate) -> Result<(), CliError> {
    let mut client = connect(global).await?;
    let request = ext::ReadIteratorRequest { link_id: command.link_id };
    let mut pieces = client.ext.read_iterator(request).await?.into_inner();
    let screen = std::io::stdout().is_terminal().then(Screen::of_stdout);
    let mut begun = Vec::new();
    while let Some(piece) = pieces.message().await? {
        let more = match &screen {
            Some(screen) => {
                begun.extend_from_slice(&piece.text);
                let whole: Vec<u8> = begun.drain(..whole_characters(&begun)).collect();
                show::write_while_read(screen.harmless(&String::from_utf8_lossy(&whole)).as_bytes())?
            }
            None => show::write_while_read(&piece.text)?,
        };
        if !more {
            break;
        }
    }
    Ok(())
}

/// Returns the length without an incomplete last character, whose remaining bytes come with the next piece.
fn whole_characters(text: &[u8]) -> usize {
    match std::str::from_utf8(text) {
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        _ => text.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::whole_characters;

    #[test]
    fn a_character_that_has_begun_waits_for_its_end() {
        let text = "größe".as_bytes();
        assert_eq!((whole_characters(text), whole_characters(&text[..3]), whole_characters(b"")), (7, 2, 0));
        assert_eq!(whole_characters(b"a\xffb"), 3);
    }
}
