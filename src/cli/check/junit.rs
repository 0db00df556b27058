//! The results of tests in the form of JUnit, which continuous integration shows.

use std::fmt::Write as _;

use super::trial::Outcome;
use crate::alert::escape;

/// The results of a configuration: whether it is valid, and its tests, by rule.
pub(super) fn report(file: &str, problems: &[String], outcomes: &[Outcome]) -> String {
    let valid = (!problems.is_empty()).then(|| problems.join("\n"));
    let cases = [(file, "the configuration is valid", valid.as_deref())].into_iter();
    let tests =
        outcomes.iter().map(|outcome| (outcome.rule.as_str(), outcome.test.as_str(), outcome.failure.as_deref()));
    let cases: Vec<_> = cases.chain(tests).collect();
    let failures = cases.iter().filter(|(_, _, failure)| failure.is_some()).count();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\">\n",
        text(file),
        cases.len()
    );
    for (rule, test, failure) in cases {
        let _ = write!(xml, "<testcase classname=\"{}\" name=\"{}\"", text(rule), text(test));
        let _ = match failure {
            Some(failure) => writeln!(xml, "><failure message=\"{}\"/></testcase>", text(failure)),
            None => writeln!(xml, "/>"),
        };
    }
    xml + "</testsuite>\n</testsuites>\n"
}

/// A text as XML has it in an attribute, control characters escaped, which XML can't hold.
fn text(text: &str) -> String {
    let text = escape(text);
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
