use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::contender::Measured;

const WIDTH: f64 = 640.0;
const LEFT: f64 = 60.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 40.0;
const COLOURS: [&str; 8] =
    ["#1b6ca8", "#d1495b", "#66a182", "#edae49", "#6a4c93", "#2e4057", "#8d6a4f", "#00798c"];

struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.map(|value| value.max(0.01).log10()) {
            low = low.min(value.floor());
            high = high.max(value.ceil());
        }
        Self { low, high: high.max(low + 1.0) }
    }

    fn part(&self, value: f64) -> f64 {
        (value.max(0.01).log10() - self.low) / (self.high - self.low)
    }

    fn marks(&self) -> impl Iterator<Item = f64> {
        (self.low as i32..=self.high as i32).map(|power| 10_f64.powi(power))
    }
}

pub fn draw(title: &str, caption: &str, measured: &[Measured]) -> String {
    let mut parts = String::new();
    let better = if title.contains("is better") { "" } else { " (lower is better)" };
    let _ = writeln!(parts, "<text x=\"8\" y=\"18\" font-size=\"13\">{}{better}</text>", escape(title));
    let height = if measured.iter().all(|one| one.at.is_some()) {
        lines(&mut parts, measured)
    } else {
        bars(&mut parts, measured)
    };
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{parts}\
         <text x=\"8\" y=\"{}\" font-size=\"9\">{}</text>\n</svg>\n",
        height - 6.0,
        escape(caption)
    )
}

fn lines(svg: &mut String, measured: &[Measured]) -> f64 {
    const HEIGHT: f64 = 340.0;
    let values = Scale::of(measured.iter().map(Measured::median));
    let sizes = Scale::of(measured.iter().filter_map(|one| one.at).map(f64::from));
    let right = WIDTH - label_width(measured.iter().map(|one| &one.name));
    let x = |size: f64| LEFT + sizes.part(size) * (right - LEFT);
    let y = |value: f64| HEIGHT - BOTTOM - values.part(value) * (HEIGHT - TOP - BOTTOM);
    for mark in values.marks() {
        let at = y(mark);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{mark}</text>",
            LEFT - 6.0,
            at + 4.0
        );
    }
    for mark in sizes.marks() {
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{mark}</text>",
            x(mark),
            HEIGHT - BOTTOM + 16.0
        );
    }
    let mut named: BTreeMap<&str, Vec<&Measured>> = BTreeMap::new();
    for one in measured {
        named.entry(&one.name).or_default().push(one);
    }
    for (number, (name, points)) in named.iter_mut().enumerate() {
        points.sort_by_key(|one| one.at);
        let colour = COLOURS[number % COLOURS.len()];
        let places: Vec<(f64, f64)> =
            points.iter().map(|one| (x(f64::from(one.at.unwrap_or_default())), y(one.median()))).collect();
        let line: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
            line.join(" ")
        );
        for (x, y) in places {
            let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{colour}\"/>");
        }
        let row = TOP + 12.0 + 15.0 * number as f64;
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{row}\" fill=\"{colour}\">{}</text>",
            right + 8.0,
            escape(name)
        );
    }
    HEIGHT
}

fn bars(svg: &mut String, measured: &[Measured]) -> f64 {
    const ROW: f64 = 22.0;
    let values = Scale::of(measured.iter().map(Measured::median));
    let name = |one: &Measured| one.at.map_or_else(|| one.name.clone(), |at| format!("{}, {at}", one.name));
    let names: Vec<String> = measured.iter().map(name).collect();
    let left = label_width(names.iter());
    for (number, (one, name)) in measured.iter().zip(&names).enumerate() {
        let row = TOP + ROW * number as f64;
        let length = (values.part(one.median()) * (WIDTH - left - 80.0)).max(1.0);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{left}\" y=\"{row:.1}\" width=\"{length:.1}\" height=\"16\" fill=\"{}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{:.1}</text>",
            left - 8.0,
            row + 12.0,
            escape(name),
            COLOURS[number % COLOURS.len()],
            left + length + 6.0,
            row + 12.0,
            one.median()
        );
    }
    TOP + ROW * measured.len() as f64 + 24.0
}

fn label_width<'a>(labels: impl Iterator<Item = &'a String>) -> f64 {
    const LETTER: f64 = 6.5;
    16.0 + LETTER * labels.map(|label| label.chars().count()).max().unwrap_or_default() as f64
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
