//! The manuals about rules: their configurations are valid and pass their own tests, and their commands print what the
//! pages show. And the README's figures are those of the benchmarks.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::golden::shows;
use crate::program::{Run, folder, run_in};
use crate::{PROGRAM, file, path};

/// In the order in which a reader saves their files.
const PAGES: [&str; 7] = [
    "docs/configuration.md", "docs/packs.md", "docs/noise.md", "docs/history.md", "docs/rules.md", "docs/operating.md",
    "README.md",
];

/// A page, at a time when none of its exceptions has ended.
fn page(name: &str) -> String {
    String::from_utf8(file(name)).unwrap().replace("2027-", "2097-")
}

/// The blocks of code of a text, each with its language.
fn blocks(text: &str) -> Vec<(&str, &str)> {
    let parts = text.split("\n```").skip(1).step_by(2);
    parts.map(|block| block.split_once('\n').unwrap()).collect()
}

/// The configurations of a page. A rule alone gets a configuration around it.
fn configurations(page: &str) -> Vec<String> {
    let configurations = blocks(page).into_iter().filter(|(language, _)| language.starts_with("json"));
    let is_rule = |text: &str| text.starts_with("{ \"name\"");
    let whole = |text| if is_rule(text) { format!("{{ \"rules\": [\n{text}\n] }}") } else { text.to_owned() };
    configurations.map(|(_, text)| whole(text)).collect()
}

fn check(configuration: &str) -> Run {
    run_in(folder(&[("c.json", configuration.as_bytes())]).path(), &["check", "c.json"], Vec::new())
}

/// What a run said, but for the topic that nothing names here.
fn said(run: &Run) -> [String; 2] {
    let lines = |texts: [&str; 2]| {
        let lines = texts.into_iter().flat_map(str::lines).filter(|line| !line.contains("set TOPIC_ARN"));
        lines.collect::<Vec<_>>().join("\n")
    };
    // A terminal shows what the program wrote first, first.
    [lines([&run.stderr, &run.stdout]), lines([&run.stdout, &run.stderr])]
}

#[test]
fn configurations_are_valid_pass_their_tests_and_cause_no_warning() {
    let mut tests = 0;
    for name in PAGES {
        for configuration in configurations(&page(name)) {
            let checked = check(&configuration);
            assert_eq!(checked.code, 0, "{name}: {configuration}\n{}", checked.stderr);
            assert!(!said(&checked)[0].contains("warning: "), "{name}: {configuration}\n{}", checked.stderr);
            tests += configuration.matches("\"alerts\": ").count();
        }
    }
    assert!(tests > 25, "{tests}");
}

/// `check` lists the keys that it knows where it finds one that it does not know.
#[test]
fn each_key_of_the_language_is_shown() {
    let shown = configurations(&page(PAGES[0])).concat();
    let rule = |keys: &str| format!("{{\"rules\": [{{\"name\": \"r\", {keys}}}]}}");
    let mut keys = 0;
    for configuration in [
        "{\"colour\": 1}".to_owned(),
        "{\"sns\": {\"colour\": 1}}".to_owned(),
        rule("\"colour\": 1"),
        rule("\"any\": [{\"colour\": 1}]"),
        rule("\"ignore\": [{\"colour\": 1}]"),
        rule("\"threshold\": {\"colour\": 1, \"count\": 2, \"by\": [\"a\"], \"within\": \"1h\"}"),
        rule("\"firstSeen\": {\"colour\": 1, \"by\": [\"a\"], \"within\": \"1h\"}"),
        rule("\"suppress\": {\"colour\": 1, \"by\": [\"a\"], \"for\": \"1h\"}"),
        rule("\"tests\": [{\"colour\": 1}]"),
        rule("\"where\": {\"a\": {\"colour\": 1}}"),
    ] {
        let checked = check(&configuration);
        let known = checked.stderr.split_once("known names: ").unwrap_or_else(|| panic!("{checked:?}")).1;
        for key in known.lines().next().unwrap().split(", ") {
            assert!(shown.contains(&format!("\"{key}\": ")), "the manual does not show `{key}` of {configuration}");
            keys += 1;
        }
    }
    assert!(keys > 40, "{keys}");
}

/// Whether these are the lines that a page shows, where `…` stands for any lines, or for a part of one.
fn are_shown(shown: &[&str], lines: &[&str]) -> bool {
    match shown {
        [] => lines.is_empty(),
        [dots, rest @ ..] if dots.trim() == "…" => {
            (0..=lines.len()).any(|skipped| are_shown(rest, &lines[skipped..]))
        }
        [line, rest @ ..] => {
            lines.split_first().is_some_and(|(first, others)| shows(line, first) && are_shown(rest, others))
        }
    }
}

/// Runs a command of a page in a folder with the files of the page.
fn play(command: &str, shown: &str, folder: &Path) -> bool {
    let command = command.split(" # ").next().unwrap().trim();
    let (command, to) = command.split_once(" > ").map_or((command, None), |(command, to)| (command, Some(to)));
    let words: Vec<&str> = command.split_whitespace().collect();
    match words[..] {
        ["cat", name] if folder.join(name).exists() => {
            assert_eq!(fs::read_to_string(folder.join(name)).unwrap(), shown, "{command}");
        }
        ["cat", name] => {
            fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
            fs::write(folder.join(name), shown).unwrap();
            return false;
        }
        ["cloudtrail-alerter", ref arguments @ ..] if !words.contains(&"|") => {
            let mut run = run_in(folder, arguments, Vec::new());
            if let Some(to) = to {
                fs::write(folder.join(to), std::mem::take(&mut run.stdout)).unwrap();
            }
            let lines: Vec<&str> = shown.lines().collect();
            let is_shown =
                lines.is_empty() || said(&run).iter().any(|said| are_shown(&lines, &said.lines().collect::<Vec<_>>()));
            assert!(is_shown, "{command} is shown with\n{shown}\nand prints\n{}", said(&run)[0]);
            return !lines.is_empty();
        }
        _ => return false,
    }
    true
}

#[test]
fn commands_print_what_the_pages_show() {
    let folder = tempfile::TempDir::new().unwrap();
    std::os::unix::fs::symlink(path("fixtures"), folder.path().join("fixtures")).unwrap();
    let mut compared = 0;
    for name in PAGES {
        let page = page(name);
        for part in page.split("\nSave this as `").skip(1) {
            fs::write(folder.path().join(part.split('`').next().unwrap()), blocks(part)[0].1).unwrap();
        }
        for (language, text) in blocks(&page) {
            let Some(session) = text.strip_prefix("$ ").filter(|_| language.is_empty()) else { continue };
            for command in session.split("\n$ ") {
                let (command, shown) = command.split_once('\n').unwrap_or((command, ""));
                let shown = if shown.is_empty() { String::new() } else { format!("{}\n", shown.trim_end()) };
                compared += usize::from(play(command, &shown, folder.path()));
            }
        }
    }
    assert!(compared >= 9, "{compared}");
}

/// A person adds it to a workflow, where nobody may look at it for months.
#[test]
fn the_step_for_warnings_fails_by_them_but_not_before_an_exception_ends() {
    let page = page("docs/rules.md");
    let (_, step) = blocks(&page).into_iter().find(|(_, text)| text.contains("name: No warnings")).unwrap();
    let script = step.split_once("run: |\n").unwrap().1;
    let soon = humantime::format_rfc3339(SystemTime::now() + Duration::from_hours(3 * 24)).to_string();
    for (source, until, passes) in
        [("^iam", &soon[..10], true), ("^iam", "2020-01-01", false), ("IAM", "2999-01-01", false)]
    {
        let rule = format!(
            r#"{{"rules": [{{"name": "r", "source": "{source}", "regexp": "^CreateUser$", "ignore": [{{
                "where": {{"userIdentity.arn": "^arn:aws:iam::123456789012:user/bob$"}}, "until": "{until}"}}]}}]}}"#
        );
        let folder = folder(&[("filter_config.json", rule.as_bytes())]);
        std::os::unix::fs::symlink(PROGRAM, folder.path().join("cloudtrail-alerter")).unwrap();
        // As GitHub runs it.
        let mut command = Command::new("bash");
        let command = command.args(["-e", "-c", script]).current_dir(folder.path());
        let run = command.env("TOPIC_ARN", "arn:aws:sns:us-east-1:123456789012:alerts").output().unwrap();
        assert_eq!(run.status.success(), passes, "{source} {until}: {run:?}");
    }
}

/// A cell of the only table that has this row and this column.
fn cell<'a>(page: &'a str, row: &str, column: &str) -> &'a str {
    let cells = |line: &'a str| line.split('|').map(str::trim);
    let tables = page.split("\n\n").filter(|table| table.starts_with('|'));
    let mut found = tables.filter_map(|table| {
        let at = cells(table.lines().next()?).position(|name| name == column)?;
        table.lines().find(|line| cells(line).nth(1) == Some(row)).and_then(|line| cells(line).nth(at))
    });
    let cell = found.next().unwrap_or_else(|| panic!("no table has {row} and {column}"));
    assert_eq!(found.next(), None, "a second table has {row} and {column}");
    cell
}

/// `make bench` writes the tables, and a person the README.
#[test]
fn the_readme_rounds_the_figures_of_the_benchmarks() {
    let readme = page("README.md").split_whitespace().collect::<Vec<_>>().join(" ");
    let benchmarks = page("docs/benchmarks.md");
    for (before, row, column) in [
        ("gzipped log of 50 MB of JSON takes ", "50 MB", "scan"),
        ("`gzip -dc` takes ", "50 MB", "gzip -dc"),
        ("**Memory** peaks at ", "50 MB, no match: peak", "cloudtrail-alerter"),
        ("repeat the sample's steps need ", "50 MB, no match: peak", "Python"),
        ("[Python](benches/sample.py) and ", "50 MB, no match: peak", "Node"),
        ("1,000 alerts takes ", "1,000 alerts: requests", "cloudtrail-alerter"),
        ("The sample's steps take ", "1,000 alerts: requests", "Python"),
        ("The sample's steps take ", "1,000 alerts: requests", "Node"),
    ] {
        let shown = readme.split_once(before).unwrap_or_else(|| panic!("the README has no `{before}`")).1;
        let mut shown = shown.split(' ').map(|word| word.trim_end_matches('.').replace(',', ""));
        let mut measured = cell(&benchmarks, row, column).split(' ');
        let (number, figure) = (shown.next().unwrap(), measured.next().unwrap().parse::<f64>().unwrap());
        let decimals = number.split_once('.').map_or(0, |(_, decimals)| decimals.len());
        assert_eq!(number, format!("{figure:.decimals$}"), "{before}…: {row}, {column}");
        if let Some(unit) = measured.next() {
            assert_eq!(shown.next().unwrap(), unit, "{before}…: {row}, {column}");
        }
    }
}

/// A heading's anchor, as GitHub makes it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).flat_map(char::to_lowercase).collect()
}

#[test]
fn links_between_the_pages_lead_to_headings() {
    let pages = fs::read_dir(path("docs")).unwrap().map(|entry| entry.unwrap().path()).chain([path("README.md")]);
    for from in pages.filter(|page| page.extension().is_some_and(|e| e == "md")) {
        let text = fs::read_to_string(&from).unwrap();
        for link in text.split("](").skip(1).map(|link| link.split(')').next().unwrap()) {
            let Some((page, heading)) = link.split_once('#').filter(|(page, _)| !page.contains("://")) else {
                continue;
            };
            let to = if page.is_empty() { from.clone() } else { from.parent().unwrap().join(page) };
            let target = fs::read_to_string(&to).unwrap_or_else(|e| panic!("{}: {link}: {e}", from.display()));
            let mut headings =
                target.lines().filter(|line| line.starts_with('#')).map(|line| anchor(line.trim_start_matches('#')));
            assert!(headings.any(|known| known == heading), "{}: no heading for {link}", from.display());
        }
    }
}
