//! The results of tests in the form of JUnit, which continuous integration shows.

use std::fmt::Write as _;

use super::Suite;
use crate::alert::escape;

/// The results of a configuration file, whose tests are the first suite: whether it is valid, and all tests.
pub(super) fn report(file: &str, problems: &[String], suites: &[Suite]) -> String {
    let mut xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n".to_owned();
    let mut cases = vec![(file, "the configuration is valid", problems)];
    for Suite { name, outcomes, .. } in suites {
        cases.extend(outcomes.iter().map(|outcome| {
            let test = outcome.name.as_ref().unwrap_or(&outcome.place);
            (outcome.rule.as_str(), test.as_str(), outcome.failure.as_deref().unwrap_or_default())
        }));
        suite(&mut xml, name, &cases);
        cases.clear();
    }
    xml + "</testsuites>\n"
}

/// Writes results: of each, the rule, the test, and the lines about its failure.
fn suite(xml: &mut String, name: &str, cases: &[(&str, &str, &[String])]) {
    let failures = cases.iter().filter(|(_, _, failure)| !failure.is_empty()).count();
    let (name, tests) = (text(name), cases.len());
    let _ = writeln!(xml, "<testsuite name=\"{name}\" tests=\"{tests}\" failures=\"{failures}\">");
    for (rule, test, failure) in cases {
        let _ = write!(xml, "<testcase classname=\"{}\" name=\"{}\"", text(rule), text(test));
        let lines: Vec<_> = failure.iter().map(|line| text(line)).collect();
        let _ = match lines.first() {
            Some(first) => writeln!(xml, "><failure message=\"{first}\">{}</failure></testcase>", lines.join("\n")),
            None => writeln!(xml, "/>"),
        };
    }
    xml.push_str("</testsuite>\n");
}

/// A text as XML has it, control characters escaped, which XML can't hold.
fn text(text: &str) -> String {
    let text = escape(text);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
