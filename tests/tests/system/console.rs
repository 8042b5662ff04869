//! `bpfman console` in a real browser: its views, live updates and keyboard operation.

use bpfman_proto::v1::BpfmanProgramType as Type;
use bpfman_tests::accessibility::Axe;
use bpfman_tests::browser::{Browser, key};
use bpfman_tests::network::INTERFACE;
use bpfman_tests::requests::{attach, load, number, pairs, xdp};
use bpfman_tests::traffic::Traffic;
use bpfman_tests::wait::until;
use bpfman_tests::{Daemon, Launch, Network, compile};
use serde_json::json;

use crate::equipment::{Program, detach};
use crate::radar::{LOADER, Stranger};
use bpfman_tests::console::Console;

const PASS: i32 = 2;
const DROP: i32 = 1;

const VIEWS: [(&str, &str); 8] = [
    ("overview", "Overview"),
    ("hooks", "Hooks"),
    ("programs", "Programs"),
    ("maps", "Maps"),
    ("journal", "Journal"),
    ("radar", "Radar"),
    ("sessions", "Sessions"),
    ("machine", "Machine"),
];

fn assert_clean(console: &Console, browser: &Browser) {
    assert_eq!(browser.errors(), [""; 0], "the browser's console");
    let own = format!("{}/", console.origin());
    let requests = browser.requests();
    assert!(requests.iter().any(|url| url.starts_with(&own)), "{requests:?}");
    // The browser loads its own parts without a network request.
    let others: Vec<_> = requests
        .iter()
        .filter(|url| !url.starts_with(&own) && !url.starts_with("data:") && !url.starts_with("chrome:"))
        .collect();
    assert!(others.is_empty(), "{others:?}");
}

fn heading(browser: &Browser, text: &str) {
    let script = format!("return document.querySelector('main h1').innerText.includes({})", json!(text));
    browser.until(&format!("the heading {text:?}"), &script);
}

fn hook(network: &Network) -> String {
    format!("xdp:{INTERFACE}@{}", network.far.path().display())
}

fn chain_view(network: &Network) -> String {
    format!("hooks/{}", hook(network).replace(':', "%3A").replace('@', "%40").replace('/', "%2F"))
}

#[test]
fn all_views_work_by_keyboard_and_the_browser_reports_no_error() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let wire = daemon.wire();
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, PASS);
    wire.attach(attach(program.id, xdp(&network.far.path(), INTERFACE, 50, &[]))).unwrap();
    let console = Console::start(&daemon);
    let browser = console.browser("hooks");
    assert!(!browser.url().contains("token"), "the token is out of the address: {}", browser.url());
    let painted =
        browser.script("return performance.getEntriesByName('first-contentful-paint')[0]?.startTime");
    println!("first paint after {painted} ms");
    for (number, (view, title)) in VIEWS.iter().enumerate() {
        browser.press(&[&(number + 1).to_string()]);
        heading(&browser, title);
        let current = browser.script("return document.querySelector('nav [aria-current]').dataset.view");
        assert_eq!(current, *view);
        browser.until("the focus is where reading goes on", "return document.activeElement.tagName === 'H1'");
    }
    browser.script("document.activeElement.blur(); window.getSelection().removeAllRanges();");
    browser.press(&["3"]);
    heading(&browser, "Programs");
    browser.press(&["/"]);
    assert_eq!(browser.script("return document.activeElement.type"), "search");
    let rows = "return [...document.querySelectorAll('tbody tr')].length";
    browser.until("the program is listed", &format!("{rows} === 1"));
    for letter in ["n", "o", "n", "e"] {
        browser.press(&[letter]);
    }
    browser.until("the filter leaves nothing", &format!("{rows} === 0"));
    browser.press(&[key::ESCAPE]);
    browser.until("all is listed again", &format!("{rows} === 1"));
    let on_program = format!("return document.activeElement.hash === '#/programs/{}'", program.id);
    for _ in 0..40 {
        if browser.script(&on_program) == true {
            break;
        }
        browser.press(&[key::TAB]);
    }
    assert_eq!(browser.script(&on_program), true, "Tab reaches the program");
    browser.press(&[key::ENTER]);
    heading(&browser, "xdp_member");
    browser.shows("SHA-256 of the object");
    browser.shows("Attach");
    let unnamed = "return [...document.querySelectorAll('a, button, input')].filter((one) => \
        !(one.textContent.trim() || one.getAttribute('aria-label') || one.labels?.length)).length";
    assert_eq!(browser.script(unnamed), 0, "everything that takes the focus has a name");
    assert_clean(&console, &browser);
}

#[test]
fn changes_show_without_reload_and_counters_grow_with_traffic() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let console = Console::start(&daemon);
    let browser = console.browser("hooks");
    browser.script("window.stays = true");
    browser.shows("No hook has a chain");
    browser.shows("Nothing else is attached.");
    let points = compile::object("points").display().to_string();
    let line = format!("load file -p {points} --programs raw_tracepoint:entered -q");
    let entered = daemon.bpfman(&line).success().trim().to_owned();
    daemon.bpfman(&format!("attach {entered} raw-tracepoint -t sys_enter -q")).success();
    let other = "[...document.querySelectorAll('table[aria-label=\"Other attachments\"] tbody tr')]";
    browser.until(
        "the other attachment is in the first view",
        &format!("return {other}.some((row) => row.innerText.includes('sys_enter'))"),
    );
    daemon.bpfman(&format!("unload {entered}")).success();
    let first = Program::member(&wire, "xdp_member", Type::Xdp, 1, PASS);
    let at = |priority| xdp(&network.far.path(), INTERFACE, priority, &[]);
    wire.attach(attach(first.id, at(50))).unwrap();
    browser.shows(&hook(&network));
    console.go(&browser, &chain_view(&network));
    let members = "return document.querySelectorAll('.chain > li:not(.end)').length";
    browser.until("one member", &format!("{members} === 1"));
    let second = Program::member(&wire, "xdp_member", Type::Xdp, 2, DROP);
    let link = wire.attach(attach(second.id, at(60))).unwrap().link_id;
    browser.until("two members", &format!("{members} === 2"));
    daemon.bpfman(&format!("chain counters {} on", hook(&network))).success();
    let runs = "parseInt(document.querySelectorAll('.chain .runs')[1].textContent)";
    browser.until("runs are counted", &format!("return {runs} >= 0"));
    assert_eq!(traffic.send(40), 0, "the second drops all");
    browser.until("forty runs are seen", &format!("return {runs} >= 40"));
    browser.until(
        "the verdict is drawn",
        "return [...document.querySelectorAll('.verdicts li')].some((row) => row.textContent.startsWith('drop') \
         && row.querySelector('meter').value > 0.5)",
    );
    console.go(&browser, &format!("programs/{}", second.id));
    let told = "/Runs\\s+(\\d+)/.exec(document.body.innerText)?.[1]";
    browser.until("the program has the runs of its chain", &format!("return parseInt({told}) >= 40"));
    console.go(&browser, "programs");
    let row = "[...document.querySelectorAll('table[aria-label=\"Programs\"] tbody tr')]";
    let id = second.id;
    browser.until(
        "so has the list",
        &format!("return {row}.some((row) => row.cells[0].innerText === '{id}' && parseInt(row.cells[7].innerText) >= 40)"),
    );
    console.go(&browser, &chain_view(&network));
    detach(&wire, link);
    browser.until("one member again", &format!("{members} === 1"));
    console.go(&browser, "journal");
    browser.shows("Detach");
    wire.unload(bpfman_proto::v1::UnloadRequest { id: second.id }).unwrap();
    browser.shows("Unload");
    assert_eq!(browser.script("return window.stays"), true, "nothing was loaded again");
    assert_clean(&console, &browser);
}

#[test]
fn overview_shows_health_drops_and_changes() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let program = Program::member(&wire, "xdp_member", Type::Xdp, 1, DROP);
    let console = Console::start(&daemon);
    let browser = console.browser("overview");
    let card = |title: &str| {
        format!(
            "[...document.querySelectorAll('.card')].find((card) => card.querySelector('h2').innerText === '{title}')"
        )
    };
    let shows = |title: &str, text: &str| {
        let script = format!("return {}.innerText.includes({})", card(title), json!(text));
        browser.until(&format!("{title}: {text}"), &script);
    };
    shows("Health", "OK");
    shows("Packets", "bpfman attach PROGRAM xdp:INTERFACE");
    shows("Programs", "0 attachments; 1 xdp");
    let link = wire.attach(attach(program.id, xdp(&network.far.path(), INTERFACE, 50, &[]))).unwrap().link_id;
    shows("Newest changes", "root: Attach");
    shows("Packets", &format!("bpfman chain counters {} on", hook(&network)));
    daemon.bpfman(&format!("chain counters {} on", hook(&network))).success();
    let drops = format!("{}.querySelector('.figure')", card("Drops"));
    let is_red = format!("return parseFloat({drops}.innerText) > 0 && {drops}.classList.contains('bad')");
    until("drops are counted", || {
        assert_eq!(traffic.send(5), 0);
        browser.script(&is_red) == true
    });
    std::fs::write(daemon.path("policy.toml"), "mode = \"sometimes\"\n").unwrap();
    detach(&wire, link);
    shows("Health", "1 finding");
    shows("Health", "bpfman policy check");
    assert_clean(&console, &browser);
}

/// At the width of a telephone, a window and a desktop, in light and in dark.
#[test]
fn views_fit_the_screen_and_are_accessible() {
    let (daemon, network) = (Daemon::start_with(&crate::radar::launch()), Network::new());
    crate::radar::wait_until_on(&daemon);
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    let mut program = String::new();
    for (who, verdict) in [(1, PASS), (2, DROP)] {
        let member = Program::member(&wire, "xdp_member", Type::Xdp, who, verdict);
        wire.attach(attach(member.id, xdp(&network.far.path(), INTERFACE, 50, &[]))).unwrap();
        program = format!("programs/{}", member.id);
    }
    daemon.bpfman(&format!("chain counters {} on", hook(&network))).success();
    let _stranger = Stranger::at_interface(LOADER, &network.near, INTERFACE);
    let axe = Axe::find("system console::views_fit_the_screen_and_are_accessible");
    let console = Console::start(&daemon);
    let browser = console.browser("overview");
    let chain = chain_view(&network);
    for width in [380, 900, 1280] {
        let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        browser.protocol("Emulation.setDeviceMetricsOverride", &size);
        for scheme in ["light", "dark"] {
            browser.prefer(scheme);
            for view in VIEWS.iter().map(|(view, _)| *view).chain([chain.as_str(), program.as_str()]) {
                let _through = traffic.send(20);
                console.go(&browser, view);
                browser.until("it is drawn", "return document.querySelector('main h1 + *') !== null");
                // At 900, tables may be scrolled.
                let parts = if width == 900 { "html" } else { "html, .scroll" };
                let wide = browser.script(&format!(
                    "return Math.max(...[...document.querySelectorAll('{parts}')].map((part) => part.scrollWidth - part.clientWidth))"
                ));
                assert!(wide.as_i64().unwrap() <= 0, "{view} at {width}, {scheme}: {wide} pixels too wide");
                // Cards and tables differ, and so do the colours of both schemes: other widths repeat them.
                let differs = [(380, "light"), (1280, "dark")].contains(&(width, scheme));
                if let Some(axe) = axe.as_ref().filter(|_| differs) {
                    axe.check(&browser, &format!("{view} at {width}, {scheme}"));
                }
            }
        }
    }
}

#[test]
fn radar_view_shows_third_party_programs() {
    let (daemon, network) = (Daemon::start_with(&crate::radar::launch()), Network::new());
    crate::radar::wait_until_on(&daemon);
    let console = Console::start(&daemon);
    let browser = console.browser("radar");
    heading(&browser, "Radar");
    browser.shows("Nothing of bpfman's.");
    let stranger = Stranger::at_interface(LOADER, &network.far, INTERFACE);
    let in_table = |label: &str, words: [&str; 2]| {
        format!(
            "return [...document.querySelectorAll('table[aria-label=\"{label}\"] tbody tr')] \
             .some((row) => {}.every((word) => row.innerText.includes(word)))",
            json!(words)
        )
    };
    let (program, process) = (stranger.made("load").to_string(), format!("({})", stranger.pid()));
    browser.until("the program is listed", &in_table("Programs of others", [&program, &process]));
    let link = stranger.made("link").to_string();
    browser.until("its link is named by the hook", &in_table("Links of others", [&link, &hook(&network)]));
    browser.until("so is it by process", &in_table("Processes", [&process, &hook(&network)]));
    let made = format!("program {program} ");
    browser.until("what it did is told", &in_table("What others did", ["Seen load", &made]));
    assert_clean(&console, &browser);
}

#[test]
fn sessions_are_shown_while_they_run() {
    let daemon = crate::run_as::sessions();
    let console = Console::start(&daemon);
    let browser = console.browser("sessions");
    heading(&browser, "Sessions");
    browser.shows("none left anything");
    let go = daemon.path("go").display().to_string();
    let script = format!(
        "bpftool map create /sys/fs/bpf/m type array key 4 value 8 entries 4 name m && while [ ! -e {go} ]; do sleep 0.05; done"
    );
    let mut child = daemon.session_command(crate::run_as::ADA, &["sh", "-c", &script]).spawn().unwrap();
    browser.shows("1 maps");
    browser.shows("grant:tools");
    std::fs::write(&go, "").unwrap();
    assert!(child.wait().unwrap().success());
    browser.shows("none left anything");
    assert_clean(&console, &browser);
}

#[test]
fn names_of_tenants_are_shown_as_text() {
    let daemon = Daemon::start();
    let hostile = "<img src=x onerror=\"document.title='owned'\">\u{202e}gnp.exe";
    let mut request = load(&compile::object("chain"), &[("xdp_member", Type::Xdp)]);
    request.global_data.insert("who".to_owned(), number(1));
    request.global_data.insert("verdict".to_owned(), number(2));
    request.metadata = pairs(&[("bpfman_application", hostile), ("<script>owned=1</script>", "a\nb")]);
    let id = Program::of(&daemon.wire().load(request).unwrap().programs[0]).id;
    let console = Console::start(&daemon);
    let browser = console.browser("programs");
    let shown = "<img src=x onerror=\"document.title='owned'\">\\u{202e}gnp.exe";
    browser.shows(shown);
    console.go(&browser, &format!("programs/{id}"));
    browser.shows(shown);
    browser.shows("<script>owned=1</script>");
    browser.shows("a\\u{a}b");
    console.go(&browser, "journal");
    browser.shows("Load");
    assert_eq!(browser.script("return document.querySelectorAll('main img, main script').length"), 0);
    assert_eq!(browser.script("return document.title.includes('owned') || window.owned === 1"), false);
    assert_clean(&console, &browser);
}

#[test]
fn page_reports_a_lost_daemon_and_continues_when_it_is_back() {
    let mut daemon = Daemon::start();
    let console = Console::start(&daemon);
    let browser = console.browser("programs");
    browser.until("live", "return document.getElementById('connection').textContent === 'Live'");
    daemon.kill();
    browser.shows("cannot reach bpfmand");
    assert_eq!(browser.script("return document.getElementById('connection').textContent"), "Not connected");
    console.go(&browser, "maps");
    browser.shows("The daemon does not answer");
    daemon.again(&Launch::default());
    browser.until("live again", "return document.getElementById('connection').textContent === 'Live'");
    browser.shows("0 maps take");
    console.go(&browser, "programs");
    let program = Program::member(&daemon.wire(), "xdp_member", Type::Xdp, 1, PASS);
    browser.until(
        "what is loaded after the restart is shown",
        &format!("return document.querySelector('tbody tr')?.dataset.key === '{}'", program.id),
    );
}

#[test]
fn light_and_dark_follow_the_users_system_and_both_can_be_read() {
    let (daemon, network) = (Daemon::start(), Network::new());
    let (wire, traffic) = (daemon.wire(), Traffic::new(&network));
    for (who, verdict) in [(1, PASS), (2, PASS), (3, DROP)] {
        let program = Program::member(&wire, "xdp_member", Type::Xdp, who, verdict);
        wire.attach(attach(program.id, xdp(&network.far.path(), INTERFACE, who * 10, &[]))).unwrap();
    }
    daemon.bpfman(&format!("chain counters {} on", hook(&network))).success();
    let console = Console::start(&daemon);
    let browser = console.browser(&chain_view(&network));
    let contrast = "const parse = (colour) => colour.match(/[0-9.]+/g).slice(0, 3).map(Number); \
        const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4) \
            .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0); \
        const ground = light(parse(getComputedStyle(document.documentElement).backgroundColor)); \
        return ['h1', '.soft', 'main a', 'footer p'].map((which) => { \
            const text = light(parse(getComputedStyle(document.querySelector(which)).color)); \
            return (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05); })";
    let mut grounds = Vec::new();
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        let _through = traffic.send(200);
        browser.until("it was measured", "return document.querySelector('.verdicts li') !== null");
        grounds.push(browser.script("return getComputedStyle(document.documentElement).backgroundColor"));
        for ratio in browser.script(contrast).as_array().unwrap() {
            assert!(ratio.as_f64().unwrap() >= 4.5, "contrasts in {scheme}: {ratio}");
        }
    }
    assert_ne!(grounds[0], grounds[1]);
}
