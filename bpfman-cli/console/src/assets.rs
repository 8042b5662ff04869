//! Files of the page, compiled into the binary: a table maps request paths to them, and no file is opened.

/// File of the page.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    pub path: &'static str,
    pub content_type: &'static str,
    pub bytes: &'static [u8],
}

const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! pages {
    ($($path:literal, $content_type:expr, $file:literal;)*) => {
        /// All files of the page.
        pub const PAGES: &[Asset] = &[
            $(Asset { path: $path, content_type: $content_type, bytes: include_bytes!(concat!("../page/", $file)) },)*
        ];
    };
}

pages! {
    "/", "text/html; charset=utf-8", "index.html";
    "/style.css", "text/css; charset=utf-8", "style.css";
    "/icon.svg", "image/svg+xml", "icon.svg";
    "/causes.js", SCRIPT, "causes.js";
    "/console.js", SCRIPT, "console.js";
    "/dom.js", SCRIPT, "dom.js";
    "/fleet.js", SCRIPT, "fleet.js";
    "/hooks.js", SCRIPT, "hooks.js";
    "/journal.js", SCRIPT, "journal.js";
    "/live.js", SCRIPT, "live.js";
    "/machine.js", SCRIPT, "machine.js";
    "/maps.js", SCRIPT, "maps.js";
    "/nodes.js", SCRIPT, "nodes.js";
    "/overview.js", SCRIPT, "overview.js";
    "/polled.js", SCRIPT, "polled.js";
    "/programs.js", SCRIPT, "programs.js";
    "/radar.js", SCRIPT, "radar.js";
    "/refreshed.js", SCRIPT, "refreshed.js";
    "/refusal.js", SCRIPT, "refusal.js";
    "/request.js", SCRIPT, "request.js";
    "/rollouts.js", SCRIPT, "rollouts.js";
    "/sessions.js", SCRIPT, "sessions.js";
    "/table.js", SCRIPT, "table.js";
    "/words.js", SCRIPT, "words.js";
}

#[must_use]
pub fn page(path: &str) -> Option<&'static Asset> {
    PAGES.iter().find(|asset| asset.path == path)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const MAX_BYTES: usize = 200_000;

    #[test]
    fn all_parts_together_are_small() {
        let all: usize = PAGES.iter().map(|asset| asset.bytes.len()).sum();
        println!("the pages take {all} bytes");
        assert!(all <= MAX_BYTES, "{all} bytes");
    }

    #[test]
    fn each_file_of_the_folder_is_a_part_and_each_part_a_file() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("page");
        let names = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| format!("/{}", entry.unwrap().file_name().to_str().unwrap())).collect();
        let mut parts: Vec<String> = PAGES.iter().map(|asset| asset.path.replace("//", "/")).collect();
        for part in &mut parts {
            if part == "/" {
                *part = "/index.html".to_owned();
            }
        }
        names.sort();
        parts.sort();
        assert_eq!(parts, names);
    }

    #[test]
    fn no_asset_violates_the_content_policy_or_uses_another_host() {
        for asset in PAGES {
            let text = std::str::from_utf8(asset.bytes).unwrap();
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for forbidden in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "<style",
                " style=",
                "onclick=",
                "javascript:",
                "http://",
                "https://",
                "import(\"http",
            ] {
                assert!(!text.contains(forbidden), "{} has {forbidden:?}", asset.path);
            }
        }
    }

    #[test]
    fn only_whole_paths_of_the_table_are_found() {
        assert!(page("/style.css").is_some());
        for path in [
            "",
            "//",
            "/../Cargo.toml",
            "/page/../style.css",
            "/style.css/",
            "/STYLE.CSS",
            "/%2e%2e/style.css",
        ] {
            assert!(page(path).is_none(), "{path}");
        }
    }
}
