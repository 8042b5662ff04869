//! Pages of the documentation: their code blocks, and the command lines in them.
//!
//! The form of a block determines its kind. `sh`: a script, all of which is run. `console`, or no language: output of a
//! terminal, in which a prompt (`$`, `#`, `web$`) precedes each command. Indented: one command per line, or a terminal
//! if it begins with a prompt. Any other language: data.

use std::fs;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    Script,
    Commands,
    Terminal,
    Data,
}

#[derive(Clone, Debug)]
pub struct Block {
    pub kind: BlockKind,
    pub first: usize,
    pub lines: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct CommandLine {
    pub page: String,
    pub number: usize,
    pub text: String,
    pub kind: BlockKind,
}

#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the repository").to_owned()
}

#[must_use]
pub fn book() -> Vec<String> {
    let contents = read("docs/SUMMARY.md");
    let mut pages: Vec<String> = Vec::new();
    for link in contents.split("](").skip(1) {
        let link = link.split(')').next().unwrap();
        let page = link.strip_prefix("../").map_or_else(|| format!("docs/{link}"), str::to_owned);
        if !pages.contains(&page) {
            pages.push(page);
        }
    }
    assert!(pages.len() > 50, "docs/SUMMARY.md has hardly a page: {pages:?}");
    pages
}

#[must_use]
pub fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut fence: Option<Block> = None;
    let (mut after_blank, mut indented) = (true, false);
    for (number, line) in (1..).zip(read(page).lines()) {
        if let Some(mark) = line.trim_start().strip_prefix("```") {
            if let Some(block) = fence.take() {
                blocks.push(block);
            } else {
                fence = Some(Block { kind: marked(mark.trim()), first: number + 1, lines: Vec::new() });
            }
            (after_blank, indented) = (false, false);
        } else if let Some(block) = &mut fence {
            block.lines.push(line.to_owned());
        } else if line.trim().is_empty() {
            after_blank = true;
        } else if let Some(text) = line.strip_prefix("    ").filter(|_| indented || after_blank) {
            match blocks.last_mut().filter(|_| indented && !after_blank) {
                Some(block) => block.lines.push(text.to_owned()),
                None => blocks.push(Block {
                    kind: if prompted(text).is_some() { BlockKind::Terminal } else { BlockKind::Commands },
                    first: number,
                    lines: vec![text.to_owned()],
                }),
            }
            (after_blank, indented) = (false, true);
        } else {
            (after_blank, indented) = (false, false);
        }
    }
    assert!(fence.is_none(), "{page}: a block has no end");
    blocks
}

#[must_use]
pub fn command_lines(page: &str) -> Vec<CommandLine> {
    blocks(page).iter().flat_map(|block| lines_of(page, block)).collect()
}

fn lines_of(page: &str, block: &Block) -> Vec<CommandLine> {
    let mut commands = Vec::new();
    let mut lines = (block.first..).zip(&block.lines);
    while let Some((number, line)) = lines.next() {
        let typed = match block.kind {
            BlockKind::Data => None,
            BlockKind::Terminal => prompted(line),
            BlockKind::Script | BlockKind::Commands => Some(line.as_str()),
        };
        let Some(typed) = typed.filter(|typed| !typed.trim().is_empty()) else { continue };
        let mut text = typed.to_owned();
        while text.ends_with('\\') {
            text.pop();
            text.push_str(lines.next().expect("a line behind the backslash").1.trim_start());
        }
        // A here-document for the command follows.
        if let Some((_, end)) = text.split_once("<<") {
            let end = end.trim_matches([' ', '\'']).to_owned();
            assert!(lines.any(|(_, line)| *line == end), "{page}:{number}: no line {end}");
        }
        commands.push(CommandLine { page: page.to_owned(), number, text, kind: block.kind });
    }
    commands
}

fn marked(mark: &str) -> BlockKind {
    match mark {
        "sh" => BlockKind::Script,
        "" | "console" | "bash" | "shell" => BlockKind::Terminal,
        _ => BlockKind::Data,
    }
}

/// Returns the command after a prompt, which may begin with a host name.
#[must_use]
pub fn prompted(line: &str) -> Option<&str> {
    let (prompt, typed) = line.split_once(' ')?;
    let host =
        prompt.strip_suffix('$').or_else(|| prompt.strip_suffix('#').filter(|host| host.is_empty()))?;
    host.chars().all(|letter| letter.is_ascii_alphanumeric()).then_some(typed)
}

#[must_use]
pub fn read(page: &str) -> String {
    let path = root().join(page);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
