use std::io::Write as _;

use bpfman_proto::printable::{LineEscaper, json, lines, one_line, shell_word};

#[test]
fn plain_text_stays_as_it_is() {
    for text in ["quay.io/acme/filter:v1", "Grüße, 世界", "", "a\\b \"c\""] {
        assert_eq!(one_line(text), text);
    }
    assert_eq!(lines("one\n\ttwo"), "one\n\ttwo");
}

#[test]
fn control_characters_and_line_ends_are_escaped() {
    assert_eq!(
        one_line("x\nINFO y\r\x1b]0;owned\x07\u{9b}2J"),
        "x\\nINFO y\\r\\u{1b}]0;owned\\u{7}\\u{9b}2J"
    );
    assert_eq!(one_line("a\u{2028}b\u{202e}c\u{2066}d\x7f"), "a\\u{2028}b\\u{202e}c\\u{2066}d\\u{7f}");
    assert_eq!(lines("x\n\x1b[2J"), "x\n\\u{1b}[2J");
}

#[test]
fn a_word_stays_one_word_of_a_shell() {
    assert_eq!(shell_word("xdp:eth0@/run/netns/blue"), "xdp:eth0@/run/netns/blue");
    assert_eq!(shell_word("xdp:$(reboot);'x"), r"'xdp:$(reboot);'\''x'");
    assert_eq!(shell_word("a\nb\u{9b}"), "'a?b?'");
    assert_eq!(shell_word(""), "''");
}

#[test]
fn json_means_the_same_and_commands_no_terminal() {
    assert_eq!(
        json("{\"a\": \"\u{9b}2J\u{202e}\x7f Grüße\"}\n"),
        "{\"a\": \"\\u009b2J\\u202e\\u007f Grüße\"}\n"
    );
    assert_eq!(json("{\n\t\"a\": 1\n}\n"), "{\n\t\"a\": 1\n}\n");
}

#[test]
fn an_event_is_one_line_of_a_log() {
    let mut log = LineEscaper(Vec::new());
    log.write_all(b"INFO refused error=x\nINFO forged\n").unwrap();
    log.write_all(b"INFO next\n").unwrap();
    assert_eq!(log.0, b"INFO refused error=x\\nINFO forged\nINFO next\n");
}
