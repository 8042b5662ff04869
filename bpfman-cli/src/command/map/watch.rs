//! `bpfman map watch`: changes of entries, or records as they arrive.

use bpfman_model::{Hint, MapId, map_type};
use bpfmand_object::{GlobalVariable, ValueLayout};
use tokio::time::Instant;

use super::super::run::changes::MapSnapshots;
use super::super::run::followed::{FollowedMap, MapContents, has_entries_to_follow};
use super::super::run::readers::{MapReaders, MapUpdate};
use super::super::run::signals::Signals;
use super::typed_map::TypedMap;
use crate::args::Global;
use crate::args::map::WatchMap;
use crate::error::CliError;
use crate::show::event_writer::RunEventWriter;
use crate::show::run_event::RunEvent;
use crate::show::value::TypedValue;

pub async fn run(global: &Global, command: WatchMap) -> Result<(), CliError> {
    if command.interval.is_zero() {
        return Err(CliError::Usage("--interval is a second at least".to_owned()));
    }
    // From here on, a signal ends the command cleanly.
    let mut signals = Signals::new()?;
    let client = super::super::connect_fresh(global).await?;
    let named = command.map.of_words(command.name.as_deref())?;
    let map = TypedMap::describe(&mut client.services(), named).await?;
    let followed = followed(&map, command.record.as_deref())?;
    let writer = RunEventWriter::start(global)?;
    let mut readers = MapReaders::begin(&client, std::slice::from_ref(&followed), command.interval).await;
    writer.tell(&RunEvent::Watching { map: followed.name.clone(), map_id: map.map.id })?;
    let end = command.watch_for.map(|time| Instant::now() + time);
    let mut snapshots = MapSnapshots::default();
    let why = loop {
        let news = tokio::select! {
            () = signals.any() => break Ok("interrupted"),
            () = at(end) => break Ok("time"),
            news = next(&writer, &mut readers) => news,
        };
        match tell(&writer, &followed, &mut snapshots, news) {
            Ok(true) => {}
            Ok(false) => break Ok("output"),
            Err(error) => break Err(error),
        }
    };
    let told = match why {
        // Records in a buffer are left to its next reader.
        Ok(why) => writer.tell(&RunEvent::WatchEnded { why }).map(drop),
        Err(error) => Err(error),
    };
    let finished = tokio::select! {
        written = writer.finish() => written,
        () = signals.any() => Ok(()),
    };
    told.and(finished)
}

async fn next(writer: &RunEventWriter, readers: &mut MapReaders) -> MapUpdate {
    writer.room().await;
    readers.next().await.1
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Writes news; returns false if the output is closed.
fn tell(
    writer: &RunEventWriter,
    map: &FollowedMap,
    snapshots: &mut MapSnapshots,
    news: MapUpdate,
) -> Result<bool, CliError> {
    match news {
        MapUpdate::Record(bytes) => {
            let layout = match &map.contents {
                MapContents::Ring(layout) | MapContents::Perf(layout) => layout.as_ref(),
                MapContents::Entries { .. } | MapContents::Variables(_) => None,
            };
            let value = TypedValue::read_as(layout, &bytes);
            writer.tell(&RunEvent::Record { map: map.name.clone(), value })
        }
        MapUpdate::Lost(records) => writer.tell(&RunEvent::Lost { map: map.name.clone(), records }),
        // The only map that is watched failed.
        MapUpdate::Failed(error) => Err(error),
        MapUpdate::Entries { entries, cut } => {
            let mut read = true;
            for change in snapshots.changes(map, entries, cut) {
                read = writer.tell(&change.event(&map.name))?;
            }
            Ok(read)
        }
    }
}

fn followed(map: &TypedMap, record: Option<&str>) -> Result<FollowedMap, CliError> {
    let invalid = |why: &str, hint| CliError::Invalid {
        what: format!("{} cannot be watched: {why}", map.text()),
        hint,
    };
    let cannot = |why: &str| Err(invalid(why, None));
    let Some(program) = map.map.used_by.first().copied().filter(|_| map.description.lies_in.is_empty())
    else {
        return Err(invalid("it lies in a map of maps", Some(Hint::DumpMap(MapId(map.map.id)))));
    };
    if record.is_some() && !map.is_buffer() {
        return cannot("--record is for ring and perf buffers");
    }
    let of_record = record.map(|name| named_type(map, name)).transpose()?;
    let declared = || {
        let types = map.program_types.as_ref();
        types.and_then(|types| types.declared(&map.map.name).value)
    };
    let contents = match map.map.map_type {
        map_type::RINGBUF => MapContents::Ring(of_record.or_else(declared)),
        map_type::PERF_EVENT_ARRAY => {
            // Older declarations have a value of four bytes, the descriptor of a buffer.
            let declared = || declared().filter(|layout| matches!(layout, ValueLayout::Struct { .. }));
            MapContents::Perf(of_record.or_else(declared))
        }
        kind if has_entries_to_follow(kind) => match (&map.types.value, map.map.name.starts_with('.')) {
            (Some(ValueLayout::Struct { fields, .. }), true) => {
                MapContents::Variables(fields.iter().map(variable).collect())
            }
            (value, _) => MapContents::Entries {
                key: map.types.key.clone(),
                value: value.clone(),
                per_cpu: map.types.per_cpu,
            },
        },
        _ => return cannot("only arrays, hash tables, LPM tries, ring and perf buffers can"),
    };
    Ok(FollowedMap { name: map.map.name.clone(), program, contents })
}

fn variable(field: &bpfmand_object::FieldLayout) -> GlobalVariable {
    GlobalVariable {
        name: field.name.clone(),
        map: 0,
        offset: field.offset,
        size: field.layout.size().unwrap_or(0),
        type_name: String::new(),
        layout: field.layout.clone(),
        read_only: false,
    }
}

fn named_type(map: &TypedMap, name: &str) -> Result<ValueLayout, CliError> {
    let found = map.program_types.as_ref().map_or(Err(Vec::new()), |types| types.type_named(name));
    found.map_err(|there| CliError::Invalid {
        what: format!("--record {name}: the programs of {} have no such type", map.text()),
        hint: (!there.is_empty()).then(|| format!("their structures: {}", there.join(", ")).into()),
    })
}
