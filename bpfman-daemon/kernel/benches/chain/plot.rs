use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::results::{Case, net};

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 330.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 210.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 36.0;
const COLOURS: [&str; 10] = [
    "#1b6ca8", "#d1495b", "#66a182", "#edae49", "#6a4c93", "#2e4057", "#8d6a4f", "#00798c", "#999999",
    "#c77dba",
];
/// Smaller times, in nanoseconds, are noise.
const FLOOR: f64 = 0.3;
const CEILING: f64 = 1000.0;
const MAX_MEMBERS: f64 = 32.0;

fn x(members: usize) -> f64 {
    LEFT + (members as f64).log2() / MAX_MEMBERS.log2() * (WIDTH - LEFT - RIGHT)
}

fn y(net: f64) -> f64 {
    let part = (net.clamp(FLOOR, CEILING) / FLOOR).ln() / (CEILING / FLOOR).ln();
    HEIGHT - BOTTOM - part * (HEIGHT - TOP - BOTTOM)
}

pub fn draw(cases: &[Case], caption: &str) -> String {
    let mut groups: Vec<&str> = Vec::new();
    // Making a chain takes milliseconds, which needs another scale.
    for case in cases.iter().filter(|case| case.members > 0 && !case.group.starts_with("making")) {
        if !groups.contains(&case.group.as_str()) {
            groups.push(&case.group);
        }
    }
    let height = HEIGHT * groups.len() as f64 + 24.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (place, group) in groups.iter().enumerate() {
        let _ = writeln!(svg, "<g transform=\"translate(0 {})\">", HEIGHT * place as f64);
        diagram(&mut svg, cases, group);
        svg.push_str("</g>\n");
    }
    let _ = writeln!(
        svg,
        "<text x=\"8\" y=\"{}\" font-size=\"9\">{}</text>\n</svg>",
        height - 8.0,
        escape(caption)
    );
    svg
}

fn diagram(svg: &mut String, cases: &[Case], group: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{LEFT}\" y=\"18\" font-size=\"13\">{}: net ns a packet, by members (lower is better)</text>",
        escape(group)
    );
    for net in [0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0] {
        let (at, end) = (y(net), WIDTH - RIGHT);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {at:.1}H{end}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{net}</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    for members in [1, 2, 5, 10, 20, 32] {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{members}</text>",
            x(members),
            HEIGHT - BOTTOM + 16.0
        );
    }
    let mut designs: BTreeMap<&str, Vec<(usize, f64)>> = BTreeMap::new();
    for case in cases.iter().filter(|case| case.group == group && case.members > 0) {
        designs.entry(&case.design).or_default().push((case.members, net(cases, case)));
    }
    for (number, (design, points)) in designs.iter_mut().enumerate() {
        points.sort_by_key(|(members, _)| *members);
        let colour = COLOURS[number % COLOURS.len()];
        let line: Vec<String> =
            points.iter().map(|(members, net)| format!("{:.1},{:.1}", x(*members), y(*net))).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
            line.join(" ")
        );
        for (members, net) in points {
            let _ = writeln!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\" fill=\"{colour}\"/>",
                x(*members),
                y(*net)
            );
        }
        let row = TOP + 12.0 + 15.0 * number as f64;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{row}\" fill=\"{colour}\">{}</text>",
            WIDTH - RIGHT + 8.0,
            escape(design)
        );
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
