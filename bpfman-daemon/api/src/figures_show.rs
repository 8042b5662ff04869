//! Conversion of statistics to the wire.

use bpfman_model::map_type;
use bpfman_proto::ext::v1 as wire;
use bpfman_proto::{APPLICATION_KEY, APPLICATION_KEY_NEWER};
use bpfmand_engine::{ChainFigures, MapFigures, MemberFigures, ProgramFigures, SourceRecord};

use crate::chains_show::by_verdict;
use crate::{ext_show, show};

pub fn program(figures: &ProgramFigures) -> wire::ProgramFigures {
    let (facts, counts) = (&figures.facts, figures.counts);
    let mut shown = wire::ProgramFigures {
        id: figures.id.0,
        name: facts.name.clone(),
        r#type: ext_show::kernel_type_name(facts.kernel_type),
        runs: counts.runs,
        nanoseconds: counts.nanoseconds,
        missed: counts.missed,
        nanoseconds_in_chains: figures.in_chains,
        jited_bytes: facts.bytes_jited,
        memory_bytes: facts.bytes_memlock,
        verified_insns: facts.verified_insns,
        loaded_at: show::loaded_at(facts),
        places: figures.places.texts(),
        ..Default::default()
    };
    let Some(record) = &figures.record else { return shown };
    let application =
        record.metadata.get(APPLICATION_KEY).or_else(|| record.metadata.get(APPLICATION_KEY_NEWER));
    shown.ours = true;
    shown.name = record.name.clone();
    shown.r#type = record.program_type.name().to_owned();
    shown.owner = record.owner().to_string();
    shown.application = application.cloned().unwrap_or_default();
    if let SourceRecord::Image { url, digest, .. } = &record.source {
        shown.image = url.clone();
        shown.image_digest = digest.clone();
    }
    shown
}

pub fn counts(figures: &ProgramFigures) -> wire::ProgramCounts {
    wire::ProgramCounts {
        id: figures.id.0,
        runs: figures.counts.runs,
        nanoseconds: figures.counts.nanoseconds,
        missed: figures.counts.missed,
        nanoseconds_in_chains: figures.in_chains,
    }
}

pub fn chain(figures: &ChainFigures) -> wire::ChainFigures {
    let counts = figures.counts.unwrap_or_default();
    wire::ChainFigures {
        hook: figures.hook.clone(),
        mode: figures.mode.to_owned(),
        strategy: figures.strategy.to_owned(),
        entry_program_id: figures.entry.0,
        runs: counts.runs,
        nanoseconds: counts.nanoseconds,
        counters: figures.counters,
        timing: figures.timing,
        members: figures.members.iter().map(member).collect(),
        all_proceeded: figures.all_proceeded,
        failed: figures.failed,
    }
}

fn member(figures: &MemberFigures) -> wire::MemberFigures {
    let (program, time) = (&figures.program, figures.time.unwrap_or_default());
    let counted = figures.counters.as_ref();
    let ended = counted.map(|counted| if figures.shadow { &counted.shadowed } else { &counted.ended });
    wire::MemberFigures {
        link_id: figures.link.0,
        program_id: program.id.0,
        program_name: program.name.clone(),
        owner: program.owner().to_string(),
        image_digest: program.source.image_digest().unwrap_or_default().to_owned(),
        shadow: figures.shadow,
        runs: counted.map(|counted| counted.runs),
        ended: ended.map(|ended| by_verdict(ended)).unwrap_or_default(),
        nanoseconds_per_run: figures.time.and_then(|time| time.nanoseconds_per_run()),
        timed_runs: time.samples,
        timed_nanoseconds: time.nanoseconds,
        clock_samples: time.clock_samples,
        clock_nanoseconds: time.clock_nanoseconds,
    }
}

pub fn map(figures: &MapFigures) -> wire::MapFigures {
    wire::MapFigures {
        id: figures.id.0,
        name: figures.name.clone(),
        r#type: map_type::name(figures.facts.map_type),
        memory_bytes: figures.facts.bytes_memlock,
        max_entries: figures.facts.max_entries,
        owners: figures.owners.iter().map(ToString::to_string).collect(),
        program_ids: figures.programs.iter().map(|id| id.0).collect(),
    }
}
