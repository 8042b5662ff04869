//! `bpfman map dump`: all entries, written page by page.

use bpfman_proto::ext::v1 as ext;

use super::typed_map::TypedMap;
use crate::args::map::DumpMap;
use crate::args::{Global, OutputForm};
use crate::error::CliError;
use crate::show::entry::ShownEntry;
use crate::show::entry_stream::EntryStream;
use crate::show::{repeated, watched, write_while_read};

pub async fn run(global: &Global, command: DumpMap) -> Result<(), CliError> {
    let mut services = super::super::connect(global).await?;
    let named = command.map.of_words(command.name.as_deref())?;
    let map = TypedMap::describe(&mut services, named).await?;
    map.ensure_entries()?;
    let request = ext::DumpMapRequest { map: Some(map.wire.clone()) };
    let mut pages = services.map_entries.dump_map(request).await?.into_inner();
    let per_cpu = command.per_cpu && global.output == OutputForm::Table;
    let mut stream = EntryStream::new(global.output, per_cpu);
    let mut whole = String::new();
    let mut write = |text: &str| {
        if watched::is_on() {
            whole.push_str(text);
            return Ok(true);
        }
        write_while_read(text.as_bytes())
    };
    if !write(&stream.begin(&map.map, &map.description)?)? {
        return Ok(());
    }
    let value = map.types.value_bytes(map.map.value_size, map.description.cpus);
    let mut cut_short = false;
    let mut text = String::new();
    loop {
        let page = pages.message().await?.ok_or(CliError::Incomplete { call: "DumpMap", part: "the end" })?;
        cut_short |= page.cut_short;
        let keys = page.keys.chunks_exact((map.map.key_size as usize).max(1));
        for (key, value) in keys.zip(page.values.chunks_exact(value.max(1))).take(page.count as usize) {
            let entry = ShownEntry::new(Some(map.types.read_key(key)), map.types.read_value(value));
            stream.entry(&entry, &mut text)?;
        }
        if page.last {
            text.push_str(&stream.end(cut_short)?);
        }
        // The next page is requested only after this one is written, so that nothing accumulates.
        if !write(&text)? || page.last {
            break;
        }
        text.clear();
    }
    if watched::is_on() && watched::is_new_answer(&whole) {
        write_while_read(repeated(global.output, whole).as_bytes())?;
    }
    if cut_short && watched::is_new_warning("cut short") {
        eprint!(
            "warning: the map changed while it was read, and the kernel would have begun again: entries may be missing\n\
             hint: read it again, or `bpfman map get {} KEY` for single ones\n",
            map.named
        );
    }
    Ok(())
}
