use std::fmt::Write as _;
use std::path::Path;

use crate::Metric;

/// Returns metrics as a Markdown table, sorted by name.
#[must_use]
pub fn metrics_table<'m>(metrics: impl IntoIterator<Item = &'m Metric>) -> String {
    let mut metrics: Vec<&Metric> = metrics.into_iter().collect();
    metrics.sort_unstable_by_key(|metric| metric.series());
    let mut text = "| name | type | labels | meaning |\n| --- | --- | --- | --- |\n".to_owned();
    for metric in metrics {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing to a String does not fail.
        _ = writeln!(
            text,
            "| `{}` | {} | {} | {} |",
            metric.series(),
            metric.kind.name(),
            labels.join(", "),
            metric.help.trim_end_matches('.')
        );
    }
    text
}

/// Compares the section of a page between the lines `<!-- NAME -->` and `<!-- end of NAME -->` with a table. If they
/// differ, returns how to update it; with `BPFMAN_WRITE_DOCS=1` in the environment, updates it.
pub fn section_difference(page: &Path, name: &str, table: &str) -> std::io::Result<Option<String>> {
    let text = std::fs::read_to_string(page)?;
    let (begin, end) = (format!("<!-- {name} -->\n\n"), format!("\n<!-- end of {name} -->\n"));
    let parts = text.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?)));
    let Some((before, (found, after))) = parts else {
        return Ok(Some(format!("{} has no section {name}", page.display())));
    };
    if found == table {
        return Ok(None);
    }
    if std::env::var_os("BPFMAN_WRITE_DOCS").is_some() {
        std::fs::write(page, format!("{before}{begin}{table}{end}{after}"))?;
        return Ok(None);
    }
    Ok(Some(format!(
        "the section {name} of {} is not what the code says: run this test with BPFMAN_WRITE_DOCS=1, and look at what \
         changes",
        page.display()
    )))
}
