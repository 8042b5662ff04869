use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::Profile;

const WIDTH: f64 = 1200.0;
const BORDER: f64 = 10.0;
const ROW: f64 = 17.0;
const TITLE: f64 = 34.0;
const CHARACTER: f64 = 7.0;
const NARROWEST: f64 = 0.2;
const KERNEL: &str = "_[k]";

#[derive(Default)]
struct Call {
    samples: u64,
    callees: BTreeMap<String, Self>,
}

impl Call {
    fn depth(&self) -> usize {
        self.callees.values().map(|callee| callee.depth() + 1).max().unwrap_or(0)
    }
}

impl Profile {
    /// Returns the profile as one SVG without scripts: the pointer shows names and shares of narrow boxes.
    #[must_use]
    pub fn to_flame_graph(&self) -> String {
        let mut root = Call::default();
        for (stack, weight) in self.stacks() {
            root.samples += weight.samples;
            let mut call = &mut root;
            for name in stack {
                call = call.callees.entry(name.clone()).or_default();
                call.samples += weight.samples;
            }
        }
        let height = TITLE + ROW * (root.depth() + 1) as f64 + BORDER;
        let total = self.total();
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"monospace\" font-size=\"11\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fdfdf8\"/>\n\
             <text x=\"{BORDER}\" y=\"20\" font-size=\"14\">{} samples, {:.2} s of CPU time in {:.1} s</text>\n",
            total.samples,
            total.nanoseconds as f64 / 1e9,
            self.duration.as_secs_f64(),
        );
        let mut drawing = Drawing {
            svg: &mut svg,
            all: root.samples,
            scale: (WIDTH - 2.0 * BORDER) / root.samples.max(1) as f64,
            bottom: height - BORDER - ROW,
        };
        drawing.call("all", &root, 0, 0);
        svg.push_str("</svg>\n");
        svg
    }
}

struct Drawing<'a> {
    svg: &'a mut String,
    all: u64,
    scale: f64,
    bottom: f64,
}

impl Drawing<'_> {
    fn call(&mut self, name: &str, call: &Call, depth: usize, before: u64) {
        let width = call.samples as f64 * self.scale;
        if width < NARROWEST {
            return;
        }
        let (x, y) = (BORDER + before as f64 * self.scale, self.bottom - ROW * depth as f64);
        let share = 100.0 * call.samples as f64 / self.all.max(1) as f64;
        let name = escaped(name);
        // Writing to a string does not fail.
        let _ = writeln!(
            self.svg,
            "<g><title>{name}: {} samples, {share:.2} %</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
             height=\"{:.1}\" rx=\"1\" fill=\"{}\"/>{}</g>",
            call.samples,
            ROW - 1.0,
            colour(&name, depth),
            label(&name, x, y, width),
        );
        let mut before = before;
        for (callee, below) in &call.callees {
            self.call(callee, below, depth + 1, before);
            before += below.samples;
        }
    }
}

fn label(name: &str, x: f64, y: f64, width: f64) -> String {
    let room = (width - 6.0) / CHARACTER;
    if room < 3.0 {
        return String::new();
    }
    let plain = unescaped(name);
    let shown = if plain.chars().count() as f64 <= room {
        name.to_owned()
    } else {
        // The result is not negative: the box fits at least three characters.
        escaped(&plain.chars().take((room - 1.0) as usize).chain(['…']).collect::<String>())
    };
    format!("<text x=\"{:.1}\" y=\"{:.1}\">{shown}</text>", x + 3.0, y + 12.0)
}

fn colour(name: &str, depth: usize) -> String {
    let hash = name.bytes().fold(5381_u32, |hash, byte| hash.wrapping_mul(33) ^ u32::from(byte));
    let shade = hash % 100;
    if depth == 0 {
        "#c9c9c0".to_owned()
    } else if name.ends_with(KERNEL) {
        format!("hsl({},55%,{}%)", 195 + shade % 25, 66 + shade % 10)
    } else {
        format!("hsl({},85%,{}%)", 12 + shade % 40, 60 + shade % 12)
    }
}

fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            character if character.is_control() => text.push('?'),
            character => text.push(character),
        }
    }
    text
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use crate::{Profile, Weight};

    fn graph(stacks: &[(&[&str], u64)]) -> String {
        let mut profile = Profile::new(SystemTime::UNIX_EPOCH, Duration::from_secs(2));
        for (names, samples) in stacks {
            let stack = names.iter().map(|name| (*name).to_owned()).collect();
            profile.add(stack, Weight { samples: *samples, nanoseconds: samples * 10_000_000 });
        }
        profile.to_flame_graph()
    }

    #[test]
    fn boxes_are_as_wide_as_their_share_and_beside_each_other() {
        let svg = graph(&[(&["a", "f"], 25), (&["b", "g_[k]"], 75)]);
        assert!(svg.contains("100 samples, 1.00 s of CPU time in 2.0 s"), "{svg}");
        assert!(svg.contains("<title>f: 25 samples, 25.00 %</title><rect x=\"10.0\""), "{svg}");
        assert!(svg.contains("<title>b: 75 samples, 75.00 %</title><rect x=\"305.0\""), "{svg}");
        assert!(svg.contains("width=\"885.0\""), "{svg}");
    }

    #[test]
    fn names_are_text_and_no_markup() {
        let svg = graph(&[(&["<script>&\u{1b}"], 1)]);
        assert!(svg.contains("&lt;script&gt;&amp;?"), "{svg}");
        assert!(!svg.contains("<script>"));
    }

    #[test]
    fn a_profile_without_samples_is_a_picture_too() {
        assert!(graph(&[]).ends_with("</svg>\n"));
    }
}
