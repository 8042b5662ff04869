//! Blocks: a title, then `Name: value` lines, for one program or link.

use super::screen::Screen;
use super::table::TextTable;

/// Titled list of names and values.
#[derive(Clone, Debug)]
pub struct Block {
    table: TextTable,
}

impl Block {
    #[must_use]
    pub fn new(title: &str) -> Self {
        Self { table: TextTable::new(&[title, ""]) }
    }

    pub fn line(&mut self, name: &str, value: impl ToString) -> &mut Self {
        self.table.row(vec![format!("{name}:"), value.to_string()]);
        self
    }

    /// Adds `name: value`, or `None` without a value.
    pub fn optional(&mut self, name: &str, value: Option<impl ToString>) -> &mut Self {
        match value {
            Some(value) => self.line(name, value),
            None => self.line(name, "None"),
        }
    }

    /// Adds `name: value`, or nothing without a value.
    pub fn if_any(&mut self, name: &str, value: Option<impl ToString>) -> &mut Self {
        match value {
            Some(value) => self.line(name, value),
            None => self,
        }
    }

    /// Adds a name with one value per line, or `None` if there are no values.
    pub fn lines(&mut self, name: &str, values: impl IntoIterator<Item = String>) -> &mut Self {
        let mut values = values.into_iter();
        self.optional(name, values.next());
        for value in values {
            self.table.row(vec![String::new(), value]);
        }
        self
    }

    /// Returns the text of the block, with the empty line that ends every block.
    #[must_use]
    pub fn render(&self, screen: Screen) -> String {
        let mut text = self.table.render(screen);
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_aligned_and_missing_ones_are_none() {
        let mut block = Block::new("Bpfman State");
        block.line("BPF Function", "pass").optional("Map Owner ID", None::<u32>);
        block.lines("Maps Used By", ["7".to_owned(), "8".to_owned()]).lines("Links", []);
        assert_eq!(
            block.render(Screen::PLAIN),
            concat!(
                " Bpfman State\n",
                " BPF Function:  pass\n",
                " Map Owner ID:  None\n",
                " Maps Used By:  7\n",
                "                8\n",
                " Links:         None\n",
                "\n"
            )
        );
    }
}
