//! The report as JSON.

use std::string::String;

use super::*;

/// Removes one JSON value from the start of `text`.
fn value(text: &str) -> Option<&str> {
    match text.chars().next()? {
        '{' => elements(&text[1..], '}', |text| value(string(text)?.strip_prefix(':')?)),
        '[' => elements(&text[1..], ']', value),
        '"' => string(text),
        '0'..='9' => Some(text.trim_start_matches(|digit: char| digit.is_ascii_digit())),
        _ => ["true", "false", "null"].iter().find_map(|word| text.strip_prefix(word)),
    }
}

fn string(text: &str) -> Option<&str> {
    let (inside, rest) = text.strip_prefix('"')?.split_once('"')?;
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'\\';
    inside.bytes().all(plain).then_some(rest)
}

fn elements(mut text: &str, end: char, one: impl Fn(&str) -> Option<&str>) -> Option<&str> {
    if let Some(rest) = text.strip_prefix(end) {
        return Some(rest);
    }
    loop {
        text = one(text)?;
        match text.strip_prefix(',') {
            Some(rest) => text = rest,
            None => return text.strip_prefix(end),
        }
    }
}

#[test]
fn every_report_is_one_json_object() {
    for row in [intel::ROWS, amd::ROWS, virtual_machines::ROWS].into_iter().flatten() {
        for line in ["", "spec-ctrl=no", "spec-ctrl=verw,no-ibpb xpti=dom0 smt=0"] {
            let json = Report::new(row.facts, Options::parse(line).defences).json().to_string();
            assert!(json.starts_with('{'), "{json}");
            assert_eq!(value(&json), Some(""), "{json}");
            assert!(json.len() < 7000, "{} bytes", json.len());
        }
    }
}

#[test]
fn json_has_the_processor_the_options_and_each_flaw() {
    let facts = Facts { microcode: Some(0xf0), ..processor(Vendor::Intel, 6, 0x5e, 3) };
    let json = Report::new(facts, Options::parse("xpti=no").defences).json().to_string();
    for part in [
        r#""vendor":"Intel","family":6,"model":94,"stepping":3,"microcode":"0xf0","arch_capabilities":null"#,
        r#""options":"xpti=no pcid=xpti pv-l1tf=default"#,
        r#""split_roots":{"dom0":false,"domu":false}"#,
        r#"{"name":"meltdown","status":"affected","why":"model on the list","state":"vulnerable","measures":[],"left":["off-by-option"]}"#,
        r#""note":"only dom0 has device memory"}"#,
    ] {
        assert!(json.contains(part), "{part} in {json}");
    }
    let count = |json: &String, text: &str| json.matches(text).count();
    assert_eq!(count(&json, "\"status\""), Flaw::ALL.len());
}
