use std::time::Duration;

use bpfman_proto::ext::v1 as ext;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};

use super::{DetailSubject, KeyEffect, LoadedDetails, TopScreen, draw};
use crate::args::top::TopView;
use crate::figures::{FigureRates, rates};

fn program(id: u32, name: &str, kind: &str, owner: &str) -> ext::ProgramFigures {
    ext::ProgramFigures {
        id,
        name: name.to_owned(),
        r#type: kind.to_owned(),
        ours: !owner.is_empty(),
        owner: owner.to_owned(),
        memory_bytes: 4096 * id,
        ..Default::default()
    }
}

fn reading(at_seconds: u64) -> ext::Figures {
    let packets = 125_000 * at_seconds;
    let dropped = 25_000 * at_seconds;
    let member = |link, program, name: &str, owner: &str| ext::MemberFigures {
        link_id: link,
        program_id: program,
        program_name: name.to_owned(),
        owner: owner.to_owned(),
        runs: Some(packets),
        ..Default::default()
    };
    let chain = ext::ChainFigures {
        hook: "xdp:eth0".to_owned(),
        mode: "xdp".to_owned(),
        strategy: "splice".to_owned(),
        entry_program_id: 90,
        runs: packets,
        nanoseconds: packets * 160,
        counters: true,
        timing: true,
        members: vec![
            ext::MemberFigures { nanoseconds_per_run: Some(17.4), ..member(1, 7, "count", "root") },
            ext::MemberFigures {
                nanoseconds_per_run: Some(141.0),
                ended: vec![
                    ext::VerdictCount { verdict: "aborted".to_owned(), packets: at_seconds },
                    ext::VerdictCount { verdict: "drop".to_owned(), packets: dropped },
                ],
                ..member(2, 8, "firewall", "application:shop/web")
            },
        ],
        all_proceeded: packets - dropped - at_seconds,
        ..Default::default()
    };
    let chained = |id, name: &str, owner: &str, each: u64| ext::ProgramFigures {
        nanoseconds_in_chains: packets * each,
        places: vec!["xdp:eth0".to_owned()],
        ..program(id, name, "xdp", owner)
    };
    let map = |id, name: &str, memory_bytes| ext::MapFigures {
        id,
        name: name.to_owned(),
        r#type: "hash".to_owned(),
        memory_bytes,
        max_entries: 1024,
        owners: vec!["root".to_owned()],
        program_ids: vec![7],
    };
    ext::Figures {
        at_ns: at_seconds * 1_000_000_000,
        runs_timed: true,
        programs: vec![
            chained(7, "count", "root", 17),
            chained(8, "firewall", "application:shop/web", 141),
            ext::ProgramFigures {
                runs: 40 * at_seconds,
                nanoseconds: 120_000 * at_seconds,
                ..program(9, "on_open", "kprobe", "user:1000")
            },
            program(60, "sd_devices", "cgroup_device", ""),
        ],
        chains: vec![chain],
        maps: vec![map(3, "blocked", 1_300_000), map(4, "counts", 8192)],
        ..Default::default()
    }
}

fn figures() -> FigureRates {
    rates(&reading(0), &reading(1))
}

fn screen(view: TopView) -> TopScreen {
    let mut screen = TopScreen::new(view, Duration::from_secs(1), true);
    screen.take(figures());
    screen
}

fn drawn(screen: &mut TopScreen, columns: u16, rows: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).unwrap();
    terminal.draw(|frame| draw(frame, screen)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width);
    let symbols: Vec<&str> = buffer.content.iter().map(|cell| cell.symbol()).collect();
    let lines: Vec<String> = symbols.chunks(width).map(|row| row.concat().trim_end().to_owned()).collect();
    lines.join("\n")
}

fn press(screen: &mut TopScreen, keys: &str) -> Vec<KeyEffect> {
    let key = |character| match character {
        '\n' => KeyCode::Enter,
        '\t' => KeyCode::Tab,
        '\x1b' => KeyCode::Esc,
        character => KeyCode::Char(character),
    };
    let press = |character| screen.press(KeyEvent::new(key(character), KeyModifiers::NONE));
    keys.chars().map(press).collect()
}

#[test]
fn programs_at_80_by_24() {
    let shown = text(&drawn(&mut screen(TopView::Programs), 80, 24));
    assert_eq!(shown, PROGRAMS_80.trim_end_matches('\n'), "\n{shown}");
}

#[test]
fn chains_at_80_by_24() {
    let shown = text(&drawn(&mut screen(TopView::Chains), 80, 24));
    assert_eq!(shown, CHAINS_80.trim_end_matches('\n'), "\n{shown}");
}

#[test]
fn maps_and_owners_have_their_sums() {
    let shown = text(&drawn(&mut screen(TopView::Maps), 80, 8));
    assert_eq!(shown, MAPS_80.trim_end_matches('\n'), "\n{shown}");
    let shown = text(&drawn(&mut screen(TopView::Owners), 80, 9));
    assert_eq!(shown, OWNERS_80.trim_end_matches('\n'), "\n{shown}");
}

#[test]
fn small_terminal_shows_what_fits_or_a_message() {
    let shown = text(&drawn(&mut screen(TopView::Programs), 20, 5));
    assert_eq!(shown, "20x5 is too small: 3\n0x6 at least\n\n\n", "\n{shown}");
    let shown = text(&drawn(&mut screen(TopView::Programs), 36, 8));
    assert_eq!(shown, PROGRAMS_36.trim_end_matches('\n'), "\n{shown}");
    for columns in [1, 2, 29, 30, 31, 45, 60, 79, 200] {
        for rows in [1, 2, 5, 6, 7, 50] {
            for view in [TopView::Programs, TopView::Chains, TopView::Maps, TopView::Owners] {
                let mut screen = screen(view);
                drawn(&mut screen, columns, rows);
                press(&mut screen, "jjG?");
                drawn(&mut screen, columns, rows);
                press(&mut screen, "q\nG");
                drawn(&mut screen, columns, rows);
            }
        }
    }
}

#[test]
fn only_what_is_wrong_has_a_colour_and_none_has_without_colours() {
    let colours = |buffer: &Buffer| {
        let mut found: Vec<Color> = buffer.content.iter().flat_map(|cell| [cell.fg, cell.bg]).collect();
        found.retain(|colour| *colour != Color::Reset);
        found.dedup();
        found
    };
    let mut shown = screen(TopView::Programs);
    assert_eq!(colours(&drawn(&mut shown, 80, 24)), []);
    shown.lose("the daemon has gone; trying again".to_owned());
    let lost = drawn(&mut shown, 80, 24);
    assert_eq!(colours(&lost), [Color::Red]);
    assert!(text(&lost).ends_with("the daemon has gone; trying again"));
    let mut plain = TopScreen::new(TopView::Programs, Duration::from_secs(1), false);
    plain.take(figures());
    plain.lose("the daemon has gone".to_owned());
    let plain = drawn(&mut plain, 80, 24);
    assert_eq!(colours(&plain), []);
    assert!(plain.content.iter().any(|cell| cell.modifier.contains(Modifier::REVERSED)));
}

#[test]
fn names_that_others_chose_are_shown_as_text() {
    let mut hostile = figures();
    hostile.programs[0].name = "x\x1b]0;owned\x07\n".to_owned();
    hostile.chains[0].hook = "xdp:e\x1b[2J".to_owned();
    hostile.note = Some("no CPU times:\x1b[2J".to_owned());
    for view in [TopView::Programs, TopView::Chains] {
        let mut screen = TopScreen::new(view, Duration::from_secs(1), true);
        screen.take(hostile.clone());
        press(&mut screen, "/\x1b");
        let shown = drawn(&mut screen, 80, 24);
        assert!(shown.content.iter().all(|cell| !cell.symbol().contains(char::is_control)), "{shown:?}");
        assert!(text(&shown).contains("\\u{1b}"), "{}", text(&shown));
    }
}

#[test]
fn rows_are_sorted_and_filtered_and_the_chosen_one_is_kept() {
    let first = |screen: &mut TopScreen| text(&drawn(screen, 80, 24)).lines().nth(3).unwrap().to_owned();
    let mut screen = screen(TopView::Programs);
    assert!(first(&mut screen).contains("firewall"), "by CPU time");
    press(&mut screen, "ss");
    assert!(text(&drawn(&mut screen, 80, 24)).contains("*PER RUN"));
    assert!(first(&mut screen).contains("on_open"), "by time of a run");
    press(&mut screen, "r");
    assert!(text(&drawn(&mut screen, 80, 24)).contains("^PER RUN"));
    assert!(first(&mut screen).contains("sd_devices"), "the other way round");
    press(&mut screen, "/SHOP");
    let shown = text(&drawn(&mut screen, 80, 24));
    assert!(shown.ends_with("/SHOP_") && shown.contains("firewall") && !shown.contains("on_open"), "{shown}");
    press(&mut screen, "x\n");
    assert!(text(&drawn(&mut screen, 80, 24)).contains("nothing with this text"));
    press(&mut screen, "\x1b");
    assert!(text(&drawn(&mut screen, 80, 24)).contains("on_open"));
    press(&mut screen, "gj");
    let chosen = press(&mut screen, "\n");
    press(&mut screen, "qrss");
    drawn(&mut screen, 80, 24);
    assert_eq!(press(&mut screen, "\n"), chosen);
}

#[test]
fn one_program_is_shown_with_what_the_daemon_says_of_it() {
    let mut screen = screen(TopView::Chains);
    drawn(&mut screen, 80, 24);
    let subject = DetailSubject::Program(8);
    assert_eq!(press(&mut screen, "G\n"), [KeyEffect::Draw, KeyEffect::Load(subject.clone())]);
    assert!(text(&drawn(&mut screen, 80, 24)).contains("asking the daemon"));
    screen.tell(LoadedDetails { subject: DetailSubject::Program(7), lines: vec!["of another".to_owned()] });
    screen.tell(LoadedDetails { subject, lines: (0..40).map(|at| format!("line {at}")).collect() });
    let shown = text(&drawn(&mut screen, 80, 12));
    assert!(shown.contains("Program 8 firewall (xdp)") && shown.contains("CPU 1.76 %"), "{shown}");
    assert!(!shown.contains("of another"), "{shown}");
    press(&mut screen, "G");
    assert!(text(&drawn(&mut screen, 80, 12)).contains("line 39"));
    press(&mut screen, "q");
    assert_eq!(press(&mut screen, "q"), [KeyEffect::Quit]);
}

#[test]
fn an_owner_opens_as_the_list_of_its_programs() {
    let mut screen = screen(TopView::Owners);
    drawn(&mut screen, 80, 24);
    press(&mut screen, "\n");
    let shown = text(&drawn(&mut screen, 80, 24));
    assert!(shown.contains("only: application:shop/web") && shown.contains("firewall"), "{shown}");
    assert!(!shown.contains("on_open"), "{shown}");
}

const PROGRAMS_80: &str = "\
bpfman top   CPU 2.01 %   4 programs   1 chain   2 maps   every 1s
 1 Programs  2 Chains  3 Maps  4 Owners
    ID NAME             TYPE       OWNER         *CPU %  RUNS/S  PER RUN  MEMORY
     8 firewall         xdp        application:    1.76    125k    141ns   32.0K
     7 count            xdp        root            0.21    125k     17ns   28.0K
     9 on_open          kprobe     user:1000       0.01      40    3.0us   36.0K
    60 sd_devices       cgroup_dev (others)           0       0        -    240K
















q quit   / filter   s sort   r reverse   Enter open   Tab view   ? help
";
const CHAINS_80: &str = "\
bpfman top   CPU 2.01 %   4 programs   1 chain   2 maps   every 1s
 1 Programs  2 Chains  3 Maps  4 Owners
HOOK, PROGRAMS    PKT/S *CPU %  PER RUN VERDICTS/S
xdp:eth0           125k   2.00    160ns through 100k
  count            125k            17ns
  firewall         125k           141ns drop 25.0k aborted 1

















q quit   / filter   s sort   r reverse   Enter open   Tab view   ? help
";
const MAPS_80: &str = "\
bpfman top   CPU 2.01 %   4 programs   1 chain   2 maps   every 1s
 1 Programs  2 Chains  3 Maps  4 Owners
    ID NAME      TYPE             *MEMORY MOST ENTRIES PROGRAMS OWNERS
     3 blocked   hash                1.2M         1024        1 root
     4 counts    hash                8.0K         1024        1 root


q quit   / filter   s sort   r reverse   Enter open   Tab view   ? help
";
const OWNERS_80: &str = "\
bpfman top   CPU 2.01 %   4 programs   1 chain   2 maps   every 1s
 1 Programs  2 Chains  3 Maps  4 Owners
OWNER                                     *CPU %  RUNS/S  MEMORY PROGRAMS   MAPS
application:shop/web                        1.76    125k   32.0K        1      0
root                                        0.21    125k    1.3M        1      2
user:1000                                   0.01      40   36.0K        1      0
(others)                                       0       0    240K        1      0

q quit   / filter   s sort   r reverse   Enter open   Tab view   ? help
";
const PROGRAMS_36: &str = "\
bpfman top   CPU 2.01 %   4 programs
 1 Programs  2 Chains  3 Maps  4 Own
    ID NAME                   *CPU %
     8 firewall                 1.76
     7 count                    0.21
     9 on_open                  0.01
    60 sd_devices                  0
q quit   / filter   s sort   r rever
";
