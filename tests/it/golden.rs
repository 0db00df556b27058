//! The messages that the documentation shows, in `tests/golden`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::world::BUCKET;
use crate::{event, file, pages, path};

/// A golden file.
pub fn golden(name: &str) -> String {
    String::from_utf8(file(&format!("tests/golden/{name}"))).unwrap()
}

/// The lines of a golden file.
pub fn golden_lines(name: &str) -> Vec<String> {
    golden(name).lines().map(str::to_owned).collect()
}

/// Asserts that a text is the golden file, which always ends with a line break. With the environment variable
/// `UPDATE_GOLDEN=1` it writes the file instead.
pub fn assert_golden(name: &str, text: &str) {
    let text = format!("{}\n", text.strip_suffix('\n').unwrap_or(text));
    if std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1") {
        std::fs::write(path("tests/golden").join(name), &text).unwrap();
    } else {
        assert_eq!(text, golden(name), "not as tests/golden/{name}");
    }
}

/// The log that the golden messages of one record name: the one that `fixtures/events/s3-put.json` announces.
pub fn log() -> String {
    let event = event("s3-put");
    format!("s3://{BUCKET}/{}", event["Records"][0]["s3"]["object"]["key"].as_str().unwrap())
}

/// The message as text, of another log.
pub fn text_of(log: &str) -> String {
    golden("text.txt").replace(&self::log(), log)
}

/// A line of the documentation may leave out parts: `…` stands for each.
pub fn shows(shown: &str, line: &str) -> bool {
    match shown.split_once('…') {
        Some((start, shown)) => line.strip_prefix(start).is_some_and(|line| {
            line.char_indices().map(|(at, _)| at).chain([line.len()]).any(|at| shows(shown, &line[at..]))
        }),
        None => shown == line,
    }
}

#[test]
fn the_readme_shows_the_golden_message() {
    let subject = format!("Subject: {}\n\n", golden_lines("subjects.txt")[0]);
    let pages = pages();
    let shown: Vec<_> = pages.split(&subject).skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!shown.is_empty(), "no page shows {subject}");
    for message in shown {
        let (shown, lines): (Vec<_>, Vec<_>) = (message.lines().collect(), golden_lines("text.txt"));
        assert_eq!(shown.len(), lines.len(), "{message}");
        for (shown, line) in shown.iter().zip(&lines) {
            assert!(shows(shown, line), "{shown:?} is not {line:?}");
        }
    }
}

#[test]
fn the_manual_shows_callers_as_messages_tell_them() {
    let manual = String::from_utf8(file("docs/messages.md")).unwrap();
    let section = manual.split("### Who").nth(1).unwrap().split("The table of").next().unwrap();
    let lines = golden_lines("callers.txt");
    let callers: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("Who     : ")).collect();
    let shown: Vec<_> = section.split('`').skip(1).step_by(2).filter(|text| *text != "AssumeRoot").collect();
    assert!(shown.len() > 15, "{shown:?}");
    for text in shown {
        assert!(callers.iter().any(|caller| shows(text, caller)), "no caller is told as {text}");
    }
    // And the other way round: each type of the golden messages has a line.
    let rows: Vec<Vec<_>> = section
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.split(|c: char| !c.is_alphanumeric()).collect())
        .collect();
    let types: BTreeSet<_> = golden_lines("callers.json")
        .iter()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter_map(|message| Some(message["event"]["userIdentity"]["type"].as_str()?.to_owned()))
        .collect();
    assert!(types.len() > 12, "{types:?}");
    for kind in &types {
        assert!(rows.iter().any(|row| row.contains(&kind.as_str())), "the table of callers does not have {kind}");
    }
}
