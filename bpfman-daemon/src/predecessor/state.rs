//! Records of v0.6.0: a tree per program and per link, a key per field, numbers in native byte order.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use bpfmand_store::ForeignRecords;

#[derive(Debug)]
pub struct PredecessorProgram {
    pub id: u32,
    pub name: String,
    /// Type as `bpfman load` accepts it; for fentry and fexit with the function.
    pub kind: String,
    pub source: PredecessorSource,
    pub metadata: BTreeMap<String, String>,
    pub globals: BTreeMap<String, Vec<u8>>,
    /// Kernel id of the owner of the maps that it shares, if the user requested that.
    pub map_owner: Option<u32>,
    pub maps: Vec<u32>,
    pub target: Option<String>,
}

#[derive(Debug)]
pub enum PredecessorSource {
    File { path: String, bytes: Vec<u8> },
    Image { url: String },
}

#[derive(Debug)]
pub struct PredecessorLink {
    /// Id, which is the name of its pin.
    pub id: u32,
    /// Name of its pin after the import.
    pub number: u32,
    pub program: u32,
    pub point: PredecessorPoint,
}

#[derive(Debug)]
pub enum PredecessorPoint {
    /// XDP, tc or tcx.
    Interface(PredecessorPlace),
    /// `category/name`.
    Tracepoint(String),
    /// Function of the kernel, with an offset in bytes.
    Kprobe { function: String, offset: u64 },
    /// Function of a binary, or an offset in it.
    Uprobe { target: String, function: Option<String>, offset: u64, pid: Option<i32>, container: Option<i32> },
    /// The target for which the program was loaded.
    OfProgram,
}

#[derive(Debug)]
pub struct PredecessorPlace {
    pub hook: &'static str,
    pub interface: String,
    pub ifindex: u32,
    pub namespace: u64,
    pub netns: Option<String>,
    pub direction: Option<String>,
    /// Position in the chain; 0 runs first.
    pub priority: i32,
    pub proceed_on: Vec<i32>,
}

#[derive(Debug, Default)]
pub struct PredecessorState {
    pub programs: Vec<PredecessorProgram>,
    pub links: Vec<PredecessorLink>,
}

type Fields = BTreeMap<String, Vec<u8>>;

impl PredecessorState {
    pub fn read(records: ForeignRecords) -> anyhow::Result<Self> {
        let mut trees: BTreeMap<String, Fields> = BTreeMap::new();
        for record in records {
            let record = record?;
            let key = String::from_utf8_lossy(&record.key).into_owned();
            trees
                .entry(String::from_utf8_lossy(&record.tree).into_owned())
                .or_default()
                .insert(key, record.value);
        }
        let mut state = Self::default();
        for (tree, fields) in &trees {
            let number = |prefix| tree.strip_prefix(prefix).and_then(|id: &str| id.parse::<u32>().ok());
            // Trees with the prefix "pre_" belong to interrupted calls.
            if let Some(id) = number("program_") {
                state
                    .programs
                    .push(program(id, fields).with_context(|| format!("the record of program {id}"))?);
            } else if let Some(id) = number("link_") {
                state.links.push(link(id, fields).with_context(|| format!("the record of link {id}"))?);
            }
        }
        state.programs.sort_by_key(|program| program.id);
        state.links.sort_by_key(|link| link.id);
        let ids: BTreeSet<u32> = state.links.iter().map(|link| link.id).collect();
        for (link, number) in state.links.iter_mut().zip((1..).filter(|number| !ids.contains(number))) {
            link.number = number;
        }
        Ok(state)
    }
}

impl PredecessorProgram {
    pub fn bytecode_of_file(&self) -> Option<&[u8]> {
        match &self.source {
            PredecessorSource::File { bytes, .. } => Some(bytes),
            PredecessorSource::Image { .. } => None,
        }
    }
}

fn text(fields: &Fields, key: &str) -> anyhow::Result<String> {
    optional(fields, key)?.with_context(|| format!("it has no field {key}"))
}

fn optional(fields: &Fields, key: &str) -> anyhow::Result<Option<String>> {
    let parse =
        |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).with_context(|| format!("field {key} is no text"));
    fields.get(key).map(parse).transpose()
}

fn bytes<const N: usize>(fields: &Fields, key: &str) -> anyhow::Result<Option<[u8; N]>> {
    let parse = |bytes: &Vec<u8>| {
        <[u8; N]>::try_from(&bytes[..]).with_context(|| format!("field {key} has another size"))
    };
    fields.get(key).map(parse).transpose()
}

fn is_set(fields: &Fields, key: &str) -> bool {
    fields.get(key).is_some_and(|bytes| bytes != &[0])
}

fn all<'a>(fields: &'a Fields, prefix: &'a str) -> impl Iterator<Item = (String, &'a Vec<u8>)> {
    fields.iter().filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?.to_owned(), value)))
}

fn program(id: u32, fields: &Fields) -> anyhow::Result<PredecessorProgram> {
    let source = match optional(fields, "location_image_url")? {
        Some(url) => PredecessorSource::Image { url },
        None => PredecessorSource::File {
            path: text(fields, "location_filename")?,
            bytes: fields.get("program_bytes").cloned().context("it has no bytecode")?,
        },
    };
    let metadata = all(fields, "metadata_")
        .map(|(key, value)| {
            anyhow::Ok((key, String::from_utf8(value.clone()).context("its metadata is no text")?))
        })
        .collect::<Result<_, _>>()?;
    Ok(PredecessorProgram {
        id,
        name: text(fields, "name")?,
        kind: kind(fields)?,
        source,
        metadata,
        globals: all(fields, "global_data_").map(|(key, value)| (key, value.clone())).collect(),
        map_owner: bytes(fields, "map_owner_id")?.map(u32::from_ne_bytes),
        maps: all(fields, "kernel_map_ids_")
            .map(|(_, id)| {
                Ok(u32::from_ne_bytes(
                    <[u8; 4]>::try_from(&id[..]).context("the id of a map has another size")?,
                ))
            })
            .collect::<anyhow::Result<_>>()?,
        target: optional(fields, "fentry_fn_name")?.or(optional(fields, "fexit_fn_name")?),
    })
}

fn kind(fields: &Fields) -> anyhow::Result<String> {
    let number = bytes(fields, "kind")?.map(u32::from_ne_bytes).context("it has no type")?;
    let word = match number {
        2 if is_set(fields, "is_uprobe") => {
            if is_set(fields, "uprobe_retprobe") {
                "uretprobe"
            } else {
                "uprobe"
            }
        }
        2 => {
            if is_set(fields, "kprobe_retprobe") {
                "kretprobe"
            } else {
                "kprobe"
            }
        }
        3 if is_set(fields, "is_tcx") => "tcx",
        3 => "tc",
        5 => "tracepoint",
        6 => "xdp",
        26 if fields.contains_key("fentry_fn_name") => "fentry",
        26 => "fexit",
        other => anyhow::bail!("type {other} is unknown"),
    };
    Ok(word.to_owned())
}

fn link(id: u32, fields: &Fields) -> anyhow::Result<PredecessorLink> {
    let program = bytes(fields, "program_id")?.map(u32::from_ne_bytes).context("it has no program")?;
    let number = |key: &str| anyhow::Ok(bytes(fields, key)?.map(i32::from_ne_bytes));
    let offset = |key: &str| anyhow::Ok(bytes(fields, key)?.map_or(0, u64::from_ne_bytes));
    let point = if let Some(hook) =
        ["xdp", "tc", "tcx"].into_iter().find(|hook| fields.contains_key(&format!("{hook}_iface")))
    {
        let key = |name: &str| format!("{hook}_{name}");
        let verdicts = key("proceed_on_");
        let mut proceed_on: Vec<(usize, i32)> = Vec::new();
        for (place, value) in all(fields, &verdicts) {
            let value = <[u8; 4]>::try_from(&value[..]).context("a verdict has another size")?;
            proceed_on.push((place.parse().context("a verdict has no place")?, i32::from_ne_bytes(value)));
        }
        proceed_on.sort_unstable();
        PredecessorPoint::Interface(PredecessorPlace {
            hook,
            interface: text(fields, &key("iface"))?,
            ifindex: bytes(fields, &key("ifindex"))?.map_or(0, u32::from_ne_bytes),
            namespace: bytes(fields, &key("nsid"))?.map_or(0, u64::from_ne_bytes),
            netns: optional(fields, &key("netns"))?,
            direction: optional(fields, &key("direction"))?,
            priority: number(&key("priority"))?.unwrap_or(0),
            proceed_on: proceed_on.into_iter().map(|(_, verdict)| verdict).collect(),
        })
    } else if let Some(name) = optional(fields, "tracepoint_name")? {
        PredecessorPoint::Tracepoint(name)
    } else if let Some(function) = optional(fields, "kprobe_fn_name")? {
        PredecessorPoint::Kprobe { function, offset: offset("kprobe_offset")? }
    } else if let Some(target) = optional(fields, "uprobe_target")? {
        PredecessorPoint::Uprobe {
            target,
            function: optional(fields, "uprobe_fn_name")?,
            offset: offset("uprobe_offset")?,
            pid: number("uprobe_pid")?,
            container: number("uprobe_container_pid")?,
        }
    } else {
        PredecessorPoint::OfProgram
    };
    Ok(PredecessorLink { id, number: id, program, point })
}
