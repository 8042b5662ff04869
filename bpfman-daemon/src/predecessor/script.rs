//! Shell commands of `bpfman` that take over the state of v0.6.0.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use bpfman_model::{VerdictFamily, hexadecimal};
use bpfman_proto::printable::shell_word as word;

use super::state::{
    PredecessorLink, PredecessorPlace, PredecessorPoint, PredecessorProgram, PredecessorSource,
    PredecessorState,
};

pub struct Script<'s> {
    pub state: &'s PredecessorState,
    pub bytecode: &'s Path,
    pub pins: &'s Path,
    pub dispatchers: &'s [PathBuf],
}

/// Priority of the filters that v0.6.0 creates.
const FILTER_PRIORITY: u16 = 50;

pub fn bytecode_path(folder: &Path, program: &PredecessorProgram) -> PathBuf {
    folder.join(format!("program_{}.o", program.id))
}

impl Script<'_> {
    fn pin(&self, name: &str) -> String {
        word(&self.pins.join(name).display().to_string())
    }

    fn xdp_hooks(&self) -> BTreeMap<(u64, u32), &PredecessorPlace> {
        let places = self.state.links.iter().filter_map(|link| match &link.point {
            PredecessorPoint::Interface(place) if place.hook == "xdp" => Some(place),
            _ => None,
        });
        places.map(|place| ((place.namespace, place.ifindex), place)).collect()
    }

    /// Returns the owner of the maps that a program shares, as requested or because one call loaded both.
    fn map_owner(&self, program: &PredecessorProgram) -> Option<u32> {
        let earlier = || self.state.programs.iter().take_while(|other| other.id != program.id);
        let shares = |other: &&PredecessorProgram| other.maps.iter().any(|map| program.maps.contains(map));
        program.map_owner.or_else(|| earlier().find(shares).map(|other| other.id))
    }

    fn load(&self, program: &PredecessorProgram, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PredecessorProgram { id, name, kind, .. } = program;
        let from = match &program.source {
            PredecessorSource::File { path, .. } => {
                writeln!(out, "# program {id} {} of file {}", word(name), word(path))?;
                format!("file --path {}", word(&bytecode_path(self.bytecode, program).display().to_string()))
            }
            PredecessorSource::Image { url } => {
                writeln!(out, "# program {id} {} of an image, which the policy has to let in", word(name))?;
                format!("image --image-url {}", word(url))
            }
        };
        let target = program.target.as_ref().map(|function| format!(":{function}")).unwrap_or_default();
        write!(out, "p{id}=$(bpfman load {from} --programs {}", word(&format!("{kind}:{name}{target}")))?;
        for (key, value) in &program.metadata {
            write!(out, " -m {}", word(&format!("{key}={value}")))?;
        }
        for (key, value) in &program.globals {
            write!(out, " -g {}", word(&format!("{key}={}", hexadecimal(value))))?;
        }
        if let Some(owner) = self.map_owner(program) {
            write!(out, " --map-owner-id \"$p{owner}\"")?;
        }
        writeln!(out, " -q)")
    }

    fn attachment(link: &PredecessorLink, kind: &str) -> String {
        let mut line = format!("bpfman attach \"$p{}\" ", link.program);
        match &link.point {
            PredecessorPoint::Interface(place) => {
                let (hook, interface) = (place.hook, word(&place.interface));
                line += &format!("{hook} --iface {interface} --priority {}", place.priority);
                if let Some(direction) = &place.direction {
                    line += &format!(" --direction {}", word(direction));
                }
                if let Some(netns) = &place.netns {
                    line += &format!(" --netns {}", word(netns));
                }
                let verdicts = if hook == "xdp" { VerdictFamily::Xdp } else { VerdictFamily::Tc };
                let names: Vec<_> =
                    place.proceed_on.iter().filter_map(|code| verdicts.name_of(*code)).collect();
                if !names.is_empty() {
                    line += &format!(" --proceed-on {}", names.join(","));
                }
            }
            PredecessorPoint::Tracepoint(name) => line += &format!("tracepoint --tracepoint {}", word(name)),
            PredecessorPoint::Kprobe { function, offset } => {
                line += &format!("kprobe --fn-name {} --offset {offset}", word(function));
            }
            PredecessorPoint::Uprobe { target, function, offset, pid, container } => {
                line += &format!("uprobe --target {} --offset {offset}", word(target));
                if let Some(function) = function {
                    line += &format!(" --fn-name {}", word(function));
                }
                for (flag, process) in [("--pid", pid), ("--container-pid", container)] {
                    if let Some(process) = process {
                        line += &format!(" {flag} {process}");
                    }
                }
            }
            PredecessorPoint::OfProgram => line += kind,
        }
        line + " -q"
    }

    /// Writes the commands for all XDP programs of an interface. Its dispatcher cannot become a member of a chain in
    /// between: kernels refuse that for a program with functions replaced by freplace (seen on 6.1 and 6.12).
    fn take_over_xdp(
        &self,
        hook: (u64, u32),
        place: &PredecessorPlace,
        out: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        writeln!(out, "# XDP of {}: for a moment none of its programs runs", word(&place.interface))?;
        let pin = self.pin(&format!("xdp/dispatcher_{}_{}_link", hook.0, hook.1));
        writeln!(out, "bpfman stray remove {pin}")?;
        for link in &self.state.links {
            if matches!(&link.point, PredecessorPoint::Interface(other)
                if other.hook == "xdp" && (other.namespace, other.ifindex) == hook)
            {
                writeln!(out, "{}", Self::attachment(link, "xdp"))?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Script<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PredecessorState { programs, links } = self.state;
        writeln!(
            out,
            "# bpfman v0.6.0 left {} programs and {} links, which run on.",
            programs.len(),
            links.len()
        )?;
        writeln!(
            out,
            "# These commands take them over: each runs here before it ends there, so for a moment both run."
        )?;
        writeln!(out, "# XDP ends there first. Maps are new: what their old ones hold is not taken along.")?;
        writeln!(out, "set -e")?;
        for program in programs {
            self.load(program, out)?;
        }
        for link in links {
            let is_xdp = matches!(&link.point, PredecessorPoint::Interface(place) if place.hook == "xdp");
            if let Some(program) = programs.iter().find(|program| program.id == link.program && !is_xdp) {
                writeln!(out, "{}", Self::attachment(link, &program.kind))?;
            }
        }
        for (hook, place) in self.xdp_hooks() {
            self.take_over_xdp(hook, place, out)?;
        }
        writeln!(out, "# everything runs here: what else v0.6.0 attached ends")?;
        let mut filters = BTreeSet::new();
        for link in links {
            match &link.point {
                PredecessorPoint::Interface(place) if place.hook == "xdp" => {}
                PredecessorPoint::Interface(place) if place.hook == "tc" => {
                    let direction = place.direction.as_deref().unwrap_or("ingress");
                    let inside = place.netns.as_ref().map(|netns| format!("nsenter --net={} ", word(netns)));
                    filters.insert(format!(
                        "{}tc filter del dev {} {} pref {FILTER_PRIORITY}",
                        inside.unwrap_or_default(),
                        word(&place.interface),
                        word(direction)
                    ));
                }
                _ => writeln!(out, "bpfman stray remove {}", self.pin(&format!("links/{}", link.number)))?,
            }
        }
        for filter in filters {
            writeln!(out, "{filter}")?;
        }
        for folder in self.dispatchers {
            writeln!(out, "rm -r {}", word(&folder.display().to_string()))?;
        }
        for program in programs {
            writeln!(out, "bpfman stray remove {}", self.pin(&format!("prog_{}", program.id)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::word;

    #[test]
    fn words_stay_one_word_of_a_shell_whatever_they_say() {
        assert_eq!(word("/opt/a-b.o"), "/opt/a-b.o");
        assert_eq!(word("a b;$(reboot)"), "'a b;$(reboot)'");
        assert_eq!(word("it's\n\u{1b}[2J"), r"'it'\''s??[2J'");
        assert_eq!(word(""), "''");
    }
}
