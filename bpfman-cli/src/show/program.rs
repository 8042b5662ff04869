//! Programs: one as two blocks, several as a table.

use serde::Serialize;

use super::CommandOutput;
use super::block::Block;
use super::json::ProgramJson;
use super::kernel;
use super::screen::Screen;
use super::standing::StandingWord;
use super::table::TextTable;
use crate::kernel_type;

const LINKS_IN_A_ROW: usize = 3;

/// Answer to `list programs`: always a table.
#[derive(Serialize)]
pub struct ProgramList {
    /// Programs, in the daemon's order.
    pub programs: Vec<ProgramJson>,
}

/// Answer to `load`: one program in full, several as a list.
#[derive(Serialize)]
pub struct LoadedPrograms {
    /// Programs, in the order of the command line.
    pub programs: Vec<ProgramJson>,
}

impl CommandOutput for ProgramJson {
    fn table(&self, screen: Screen) -> String {
        blocks(self, screen)
    }

    fn ids(&self) -> Vec<String> {
        vec![self.program_id.to_string()]
    }
}

impl CommandOutput for ProgramList {
    fn table(&self, screen: Screen) -> String {
        list(&self.programs, screen)
    }

    fn ids(&self) -> Vec<String> {
        self.programs.iter().flat_map(ProgramJson::ids).collect()
    }
}

impl CommandOutput for LoadedPrograms {
    fn table(&self, screen: Screen) -> String {
        let mut text = match &self.programs[..] {
            [program] => blocks(program, screen),
            programs => list(programs, screen),
        };
        for program in &self.programs {
            if let Some(log) = &program.verifier_log {
                let title = screen.bold(&format!("Verifier Log of {}", program.name));
                text.push_str(&format!(" {title}\n{}\n\n", log.trim_end()));
            }
        }
        text
    }

    fn ids(&self) -> Vec<String> {
        self.programs.iter().flat_map(ProgramJson::ids).collect()
    }
}

fn list(programs: &[ProgramJson], screen: Screen) -> String {
    let mut columns = vec!["Program ID", "Application", "Type", "Function Name", "Links"];
    // A column after those of v0.6.0, only if it has a value.
    let of_session = |program: &ProgramJson| program.owner.clone().filter(|_| !program.managed);
    let has_session = programs.iter().any(|program| of_session(program).is_some());
    columns.extend(has_session.then_some("Session"));
    let mut table = TextTable::new(&columns);
    for program in programs {
        let mut row = vec![
            program.program_id.to_string(),
            program.application.clone().unwrap_or_default(),
            kernel_type::table_name(&program.program_type).to_owned(),
            program.name.clone(),
            links_cell(&program.link_ids),
        ];
        row.extend(has_session.then(|| of_session(program).unwrap_or_default()));
        table.row(row);
    }
    let mut text = table.render(screen);
    text.push('\n');
    text
}

fn links_cell(links: &[u32]) -> String {
    if links.is_empty() {
        return String::new();
    }
    let named: Vec<String> = links.iter().take(LINKS_IN_A_ROW).map(u32::to_string).collect();
    let more = if links.len() > LINKS_IN_A_ROW { ", ..." } else { "" };
    format!("({}) {}{more}", links.len(), named.join(", "))
}

fn blocks(program: &ProgramJson, screen: Screen) -> String {
    let mut text = match &program.owner {
        _ if program.managed => managed(program, screen),
        Some(owner) => Block::new("Bpfman State").line("Owner", owner).render(screen),
        None => String::new(),
    };
    if let Some(kernel) = &program.kernel {
        text.push_str(&kernel::block(kernel, screen));
    }
    text
}

fn managed(program: &ProgramJson, screen: Screen) -> String {
    let mut block = Block::new("Bpfman State");
    block
        .line("BPF Function", &program.name)
        .line("Program Type", kernel_type::table_name(&program.program_type));
    let links = program.links.iter().flatten();
    let bytecode = program.bytecode.as_ref();
    match bytecode.and_then(|bytecode| bytecode.image_url.as_ref()) {
        Some(url) => {
            block.line("Image URL", url).optional("Pull Policy", bytecode.and_then(|from| from.pull_policy))
        }
        None => block.optional("Path", bytecode.and_then(|from| from.path.as_ref())),
    };
    if let Some(line) = provenance(program) {
        block.line("Provenance", line);
    }
    block
        .lines(
            "Global",
            program.global_data.iter().map(|(name, hex)| match program.globals.get(name) {
                Some(text) => format!("{name}={text}"),
                // With 0x, because digits alone read as a number; this is also the option's form for bytes.
                None => format!("{name}=0x{}", hex.to_uppercase()),
            }),
        )
        .lines("Metadata", program.metadata.iter().map(|(key, value)| format!("{key}={value}")))
        .optional("Map Pin Path", program.map_pin_path.as_ref())
        .optional("Map Owner ID", program.map_owner_id)
        .lines("Maps Used By", program.maps_used_by.iter().map(u32::to_string))
        .lines("Links", links.map(|link| format!("{} ({})", link.link_id, link.attachment)));
    block
        .if_any("CPU Limit", program.cpu_limit.as_ref())
        .if_any("Unloaded In", program.ttl_left.map(seconds));
    if StandingWord::differs(program.standing) || program.cpu_excess.is_some() {
        block.line("State", &program.state);
    }
    block.render(screen)
}

/// Formats a time to live in the units of the option.
pub fn seconds(left: u64) -> String {
    humantime::format_duration(std::time::Duration::from_secs(left)).to_string()
}

fn provenance(program: &ProgramJson) -> Option<String> {
    let bytecode = program.bytecode.as_ref()?;
    let (digest, verified_by) = (bytecode.image_digest.as_ref()?, bytecode.verified_by.as_ref()?);
    let caller = program.loaded_by_uid.map_or_else(String::new, |uid| format!(", asked for by user {uid}"));
    let at = program.kernel.as_ref().map_or_else(String::new, |kernel| format!(" at {}", kernel.loaded_at));
    Some(format!("{digest}, verified by {verified_by}{caller}{at}"))
}

#[cfg(test)]
mod tests {
    use bpfman_proto::ext::v1 as ext;
    use bpfman_proto::v1;
    use bpfman_proto::v1::bytecode_location::Location;

    use super::*;

    fn kernel_info(id: u32, number: u32) -> v1::KernelProgramInfo {
        v1::KernelProgramInfo {
            id,
            name: "a_name_of_fifte".into(),
            program_type: number,
            loaded_at: "2025-07-22T08:16:06+00:00".into(),
            tag: "d796b57bdaf88123".into(),
            gpl_compatible: true,
            map_ids: vec![27, 28],
            btf_id: 101,
            bytes_xlated: 96,
            jited: true,
            bytes_jited: 76,
            bytes_memlock: 4096,
            verified_insns: 9,
        }
    }

    fn link(id: u32) -> ext::Link {
        ext::Link { id, program_id: 63, attachment: format!("eth{id} pos-0"), ..Default::default() }
    }

    fn managed_program() -> ext::Program {
        ext::Program {
            info: Some(v1::ProgramInfo {
                name: "a_name_of_fifteen_and_more".into(),
                bytecode: Some(v1::BytecodeLocation { location: Some(Location::File("/lib/pass.o".into())) }),
                links: vec![1, 2],
                global_data: [
                    ("size".to_owned(), vec![0x0a, 0xff]),
                    ("limit".to_owned(), vec![0x28, 0x23, 0, 0]),
                ]
                .into(),
                map_owner_id: None,
                map_pin_path: "/run/bpfman/fs/maps/63".into(),
                map_used_by: vec!["63".into(), "64".into()],
                metadata: [
                    ("owner".to_owned(), "acme".to_owned()),
                    ("bpfman_application".into(), "shop".into()),
                ]
                .into(),
            }),
            kernel_info: Some(kernel_info(63, 6)),
            program_type: "xdp".into(),
            links: vec![link(1), link(2)],
            state: "ok".into(),
            uid: 5,
            global_texts: [("limit".to_owned(), "9000".to_owned())].into(),
            ..Default::default()
        }
    }

    #[test]
    fn one_program_is_two_blocks() {
        let shown = ProgramJson::new(&managed_program()).table(Screen::PLAIN);
        assert_eq!(
            shown,
            " Bpfman State
 BPF Function:  a_name_of_fifteen_and_more
 Program Type:  xdp
 Path:          /lib/pass.o
 Global:        limit=9000
                size=0x0AFF
 Metadata:      bpfman_application=shop
                owner=acme
 Map Pin Path:  /run/bpfman/fs/maps/63
 Map Owner ID:  None
 Maps Used By:  63
                64
 Links:         1 (eth1 pos-0)
                2 (eth2 pos-0)

 Kernel State
 Program ID:                       63
 BPF Function:                     a_name_of_fifte
 Kernel Type:                      xdp
 Loaded At:                        2025-07-22T08:16:06+00:00
 Tag:                              d796b57bdaf88123
 GPL Compatible:                   true
 Map IDs:                          [27, 28]
 BTF ID:                           101
 Size Translated (bytes):          96
 JITted:                           true
 Size JITted:                      76
 Kernel Allocated Memory (bytes):  4096
 Verified Instruction Count:       9

"
        );
    }

    #[test]
    fn a_program_from_an_image_names_it_instead_of_a_path() {
        let mut program = managed_program();
        let image = v1::BytecodeImage { url: "r/x:1".into(), image_pull_policy: 1, ..Default::default() };
        if let Some(info) = &mut program.info {
            info.bytecode = Some(v1::BytecodeLocation { location: Some(Location::Image(image)) });
        }
        let shown = ProgramJson::new(&program).table(Screen::PLAIN);
        assert!(shown.contains(" Image URL:     r/x:1\n Pull Policy:   IfNotPresent\n Global:"), "{shown}");
        assert!(!shown.contains("Path:          /lib"), "{shown}");
    }

    #[test]
    fn a_program_from_an_image_says_whence_in_one_line() {
        let mut program = managed_program();
        let image = v1::BytecodeImage { url: "r/x:1".into(), ..Default::default() };
        if let Some(info) = &mut program.info {
            info.bytecode = Some(v1::BytecodeLocation { location: Some(Location::Image(image)) });
        }
        program.image_digest = "sha256:ab".into();
        program.verified_by = "key sha256:cd (rule r/*)".into();
        program.loaded_by_uid = Some(7);
        let shown = ProgramJson::new(&program).table(Screen::PLAIN);
        let line = shown.lines().find(|line| line.contains("Provenance:")).unwrap();
        for part in ["sha256:ab", "key sha256:cd (rule r/*)", "user 7", "2025-07-22T08:16:06"] {
            assert!(line.contains(part), "{line}");
        }
    }

    #[test]
    fn third_party_program_has_kernel_facts_only() {
        let foreign = ext::Program { kernel_info: Some(kernel_info(9, 26)), ..Default::default() };
        let record = ProgramJson::new(&foreign);
        let shown = record.table(Screen::PLAIN);
        assert!(shown.starts_with(" Kernel State\n Program ID:                       9\n"), "{shown}");
        assert!(shown.contains(" Kernel Type:                      tracing\n"), "{shown}");
        assert_eq!((record.managed, record.program_type.as_str(), record.uid), (false, "tracing", None));
    }

    #[test]
    fn drift_is_shown() {
        let standing = ext::Standing::Lost.into();
        let program =
            ext::Program { state: "lost: gone from the kernel".into(), standing, ..managed_program() };
        let shown = ProgramJson::new(&program).table(Screen::PLAIN);
        assert!(shown.contains(" State:         lost: gone from the kernel\n"), "{shown}");
    }

    /// The kernel keeps 15 characters of a name, and none of a program that is gone.
    #[test]
    fn names_of_a_table_are_whole_also_of_lost_programs() {
        let long = ProgramJson::new(&managed_program());
        let lost = ProgramJson::new(&ext::Program {
            kernel_info: Some(v1::KernelProgramInfo { name: String::new(), ..kernel_info(64, 6) }),
            standing: ext::Standing::Lost.into(),
            ..managed_program()
        });
        let text = ProgramList { programs: vec![long, lost] }.table(Screen::PLAIN);
        assert_eq!(text.matches("a_name_of_fifteen_and_more").count(), 2, "{text}");
    }

    #[test]
    fn many_programs_are_a_table() {
        let mut several = managed_program();
        if let Some(info) = &mut several.info {
            info.links = vec![1, 2, 3, 4];
        }
        let kretprobe = ext::Program {
            info: Some(v1::ProgramInfo { name: "leave".into(), ..v1::ProgramInfo::default() }),
            kernel_info: Some(kernel_info(7, 2)),
            program_type: "kretprobe".into(),
            ..Default::default()
        };
        let foreign = ext::Program { kernel_info: Some(kernel_info(9, 15)), ..Default::default() };
        let records =
            [managed_program(), several, kretprobe, foreign].iter().map(ProgramJson::listed).collect();
        assert_eq!(
            ProgramList { programs: records }.table(Screen::PLAIN),
            " Program ID  Application  Type           Function Name               Links
 63          shop         xdp            a_name_of_fifteen_and_more  (2) 1, 2
 63          shop         xdp            a_name_of_fifteen_and_more  (4) 1, 2, 3, ...
 7                        kprobe         leave
 9                        cgroup_device  a_name_of_fifte

"
        );
    }

    #[test]
    fn an_empty_list_is_its_header() {
        assert_eq!(
            ProgramList { programs: Vec::new() }.table(Screen::PLAIN),
            " Program ID  Application  Type  Function Name  Links\n\n"
        );
        assert!(ProgramList { programs: Vec::new() }.ids().is_empty());
    }

    #[test]
    fn load_of_one_is_shown_in_full_and_of_several_as_tables() {
        let record = ProgramJson::new(&managed_program());
        let one = LoadedPrograms { programs: vec![record.clone()] };
        assert_eq!(one.table(Screen::PLAIN), record.table(Screen::PLAIN));
        let logged = ProgramJson { verifier_log: Some("0: (b7) r0 = 2\n".into()), ..record.clone() };
        let text = LoadedPrograms { programs: vec![record, logged] }.table(Screen::PLAIN);
        assert!(text.starts_with(" Program ID  Application"), "{text}");
        assert!(
            text.ends_with("\n\n Verifier Log of a_name_of_fifteen_and_more\n0: (b7) r0 = 2\n\n"),
            "{text}"
        );
    }

    #[test]
    fn json_has_every_field_even_when_absent() {
        let foreign = ext::Program { kernel_info: Some(kernel_info(9, 26)), ..Default::default() };
        let value = serde_json::to_value(ProgramJson::new(&foreign)).unwrap();
        let full = serde_json::to_value(ProgramJson::new(&managed_program())).unwrap();
        let keys = |value: &serde_json::Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&value), keys(&full));
        assert_eq!(full["global_data"]["size"], "0aff");
        assert_eq!(full["bytecode"]["path"], "/lib/pass.o");
        assert_eq!(full["maps_used_by"], serde_json::json!([63, 64]));
        assert_eq!(full["kernel"]["type"], "xdp");
        assert!(value["bytecode"].is_null() && value["application"].is_null());
    }
}
