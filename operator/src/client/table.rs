const CELL: usize = 48;

pub fn table<const COLUMNS: usize>(header: [&str; COLUMNS], rows: &[[String; COLUMNS]]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let last = COLUMNS.saturating_sub(1);
    let cell = |column: usize, text: &str| {
        let text = text.replace(['\n', '\t'], " ");
        let text = if text.is_empty() { "-".to_owned() } else { text };
        if column < last && text.chars().count() > CELL {
            text.chars().take(CELL - 1).chain(['…']).collect()
        } else {
            text
        }
    };
    let lines: Vec<Vec<String>> = std::iter::once(header.map(str::to_owned))
        .chain(rows.iter().cloned())
        .map(|row| row.iter().enumerate().map(|(column, text)| cell(column, text)).collect())
        .collect();
    let width = |column: usize| {
        lines.iter().filter_map(|line| line.get(column)).map(|text| text.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..COLUMNS).map(width).collect();
    lines
        .iter()
        .map(|line| {
            let cells = line.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}"));
            format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_text() {
        let rows = [["a".to_owned(), "one".to_owned()], ["long-name".to_owned(), String::new()]];
        assert_eq!(table(["NAME", "WHAT"], &rows), "NAME       WHAT\na          one\nlong-name  -\n");
    }

    #[test]
    fn long_cells_are_cut_and_the_last_one_is_not() {
        let long = "x".repeat(200);
        let text = table(["A", "B"], &[[long.clone(), long.clone()]]);
        assert!(text.contains(&format!("{}…  {long}\n", "x".repeat(47))), "{text}");
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(table(["A"], &[]), "");
    }
}
