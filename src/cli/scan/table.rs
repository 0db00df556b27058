//! The summary of a scan as text: a table that fits the terminal, with one line for each rule, and all that lies behind it.

use std::fmt::Write as _;

use console::Term;

use super::super::summary::{Group, RuleSummary, Summary, Top, Unmatched, shown_columns};
use crate::alert::escape;

/// The width where nobody looks, so that files and pipes get the same text everywhere.
const USUAL_WIDTH: usize = 100;

/// The most callers of a rule in its line.
const TOP: usize = 3;

/// The least room in which a caller is shown.
const LEAST_ROOM: usize = 16;

/// The width of the terminal to which stderr leads.
pub(super) fn width() -> usize {
    Term::stderr().size_checked().map_or(USUAL_WIDTH, |(_, columns)| usize::from(columns))
}

/// The counts by rule in lines of that width, with or without the rules that never matched.
pub(super) fn table(summary: &Summary, width: usize, with_unmatched: bool) -> String {
    // Without records, they would mislead.
    if summary.reading.records == 0 {
        return String::new();
    }
    let mut text = rows(summary, width);
    if with_unmatched {
        let (known, disabled): (Vec<_>, Vec<_>) = summary.unmatched.iter().partition(|rule| rule.is_enabled);
        let (silent, blind): (Vec<_>, Vec<_>) = known.into_iter().partition(|rule| rule.unseen.is_empty());
        for (what, rules) in [
            ("never matched", silent),
            ("never matched, and test paths that no record had (--verbose names them)", blind),
            ("disabled", disabled),
        ] {
            if !rules.is_empty() {
                let names = rules.iter().map(|rule| escape(&rule.name)).collect::<Vec<_>>();
                let _ = write!(text, "\n{what}:\n{}", wrapped(&names, width));
            }
        }
    }
    text
}

fn rows(summary: &Summary, width: usize) -> String {
    let mut text = String::new();
    let columns = shown_columns(&summary.rules);
    let numbers = |cell: &dyn Fn(&'static str) -> String| {
        let cells = columns.iter().map(|name| format!("{:>width$}", cell(name), width = name.len().max(7)));
        cells.collect::<Vec<_>>().join("  ")
    };
    if summary.rules.is_empty() {
        return text;
    }
    let head = numbers(&|name| name.to_owned()) + "  messages/day  ";
    let left = width.saturating_sub(head.len());
    let names: Vec<_> = summary.rules.iter().map(|rule| escape(&rule.name)).collect();
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or_default().max("rule".len());
    let of_names = longest.min(left.max(LEAST_ROOM));
    let room = left.saturating_sub(of_names + 2);
    let title = if room < LEAST_ROOM { "" } else { "top callers" };
    let _ = writeln!(text, "\n{}", format!("{head}{:of_names$}  {title}", "rule").trim_end());
    for (rule, name) in summary.rules.iter().zip(names) {
        let counts = rule.columns();
        let count = |wanted: &str| counts.iter().find(|(name, _)| *name == wanted).map_or(0, |(_, n)| *n);
        let numbers = numbers(&|name| count(name).to_string());
        let callers = if room < LEAST_ROOM { String::new() } else { callers(&rule.callers, room) };
        let (per_day, name) = (summary.per_day(rule.messages), cut_right(&name, of_names));
        let row = format!("{numbers}  {per_day:>12.1}  {name:of_names$}  {callers}");
        let _ = writeln!(text, "{}", row.trim_end());
    }
    text
}

/// As many callers as fit, at least one.
fn callers(top: &Top, room: usize) -> String {
    let length = |text: &str| text.chars().count();
    let all = top.named.len().min(TOP);
    let shown = |n: usize, share: Option<usize>| {
        let mut texts: Vec<_> = top
            .named
            .iter()
            .take(n)
            .map(|(who, count)| {
                let (who, count) = (escape(who), format!(" ({count})"));
                share.map_or(who.clone(), |share| cut_left(&who, share.saturating_sub(length(&count)))) + &count
            })
            .collect();
        texts.extend(more(top, n));
        texts.join(", ")
    };
    let whole = (1..=all).rev().map(|n| shown(n, None)).find(|text| length(text) <= room);
    let least = || {
        let rest = more(top, 1).map_or(0, |more| length(&more) + 2);
        shown(all.min(1), Some(room.saturating_sub(rest)))
    };
    whole.unwrap_or_else(least)
}

/// How many there are beside the first `n`.
fn more(top: &Top, n: usize) -> Option<String> {
    let count = top.others.count + top.named.len().saturating_sub(n) as u64;
    let at_least = if top.others.is_at_least { "at least " } else { "" };
    (count > 0).then(|| format!("{at_least}{count} more"))
}

/// At most so many characters of a name: its end, which tells a person or a session from others, from a separator on if
/// there is one.
fn cut_left(name: &str, room: usize) -> String {
    let length = name.chars().count();
    if length <= room {
        return name.to_owned();
    }
    let ends = name.char_indices().skip(length + 1 - room.max(1)).map(|(at, _)| &name[at..]);
    let mut at_separators =
        ['/', ':'].into_iter().filter_map(|separator| ends.clone().find(|end| end.starts_with(separator)));
    match at_separators.next().or_else(|| ends.clone().next()) {
        Some(end) if name.contains(['/', ':']) => format!("…{end}"),
        _ => cut_right(name, room),
    }
}

fn cut_right(name: &str, room: usize) -> String {
    match name.char_indices().nth(room.saturating_sub(1)) {
        Some((at, _)) if name.chars().count() > room => format!("{}…", &name[..at]),
        _ => name.to_owned(),
    }
}

/// Names behind each other, in indented lines.
fn wrapped(names: &[String], width: usize) -> String {
    let (mut lines, mut line) = (String::new(), String::from(" "));
    for (i, name) in names.iter().enumerate() {
        let name = if i + 1 < names.len() { format!(" {name},") } else { format!(" {name}") };
        if line.trim() != "" && line.chars().count() + name.chars().count() > width {
            let _ = writeln!(lines, "{line}");
            line = String::from(" ");
        }
        line.push_str(&name);
    }
    lines + &line + "\n"
}

/// All that lies behind the table, rule by rule.
pub(super) fn details(summary: &Summary) -> String {
    let mut text = String::new();
    if let Some(details) = &summary.details {
        let messages = summary.messages;
        let _ = writeln!(text, "\nall rules: {messages} messages, {:.1} a day", summary.per_day(messages));
        let severities: Vec<_> =
            details.severities.iter().rev().map(|(severity, n)| (severity.to_string(), *n)).collect();
        text.push_str(&line("severities", &listed(&severities)));
        text.push_str(&line("days", &listed(&details.days())));
        details.groups.iter().for_each(|group| text.push_str(&group_line(group)));
    }
    summary.rules.iter().for_each(|rule| text.push_str(&of_rule(rule)));
    summary.unmatched.iter().filter(|rule| !rule.unseen.is_empty()).for_each(|rule| text.push_str(&unseen(rule)));
    text
}

fn of_rule(rule: &RuleSummary) -> String {
    let mut text = format!("\n{} ({}): {} messages\n", escape(&rule.name), rule.severity, rule.messages);
    for (title, top) in [("callers", &rule.callers), ("events", &rule.events)] {
        text.push_str(&line(title, &all(top)));
    }
    if let Some(details) = &rule.details {
        details.groups.iter().for_each(|group| text.push_str(&group_line(group)));
        text.push_str(&line("days", &listed(&details.days)));
        for edit in &details.edits {
            let saved = format!("{} saves {} of {} messages. {}", edit.what, edit.saved, rule.messages, edit.place);
            text.push_str(&line("quieter", &escape(&saved)));
            edit.text.lines().for_each(|line| {
                let _ = writeln!(text, "    {}", escape(line));
            });
        }
    }
    text
}

fn unseen(rule: &Unmatched) -> String {
    let paths: Vec<_> = rule.unseen.iter().map(|path| escape(path)).collect();
    let name = escape(&rule.name);
    format!("\n{name} never matched; no record that it looked at had a value at\n  {}\n", paths.join("\n  "))
}

fn group_line(group: &Group) -> String {
    line(group.title, &all(&group.top))
}

fn line(title: &str, text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("  {title}: {text}\n") }
}

fn listed(counts: &[(String, u64)]) -> String {
    let texts = counts.iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!("{} ({n})", escape(what)));
    texts.collect::<Vec<_>>().join(", ")
}

fn all(top: &Top) -> String {
    let texts = [listed(&top.named), more(top, top.named.len()).unwrap_or_default()];
    texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::Others;

    fn top(callers: &[&str], others: u64) -> Top {
        let named = callers.iter().zip([30, 2, 1]).map(|(name, n)| ((*name).to_owned(), n)).collect();
        Top { named, others: Others { count: others, is_at_least: others > 5, alerts: others } }
    }

    #[test]
    fn callers_are_shortened_from_the_left_where_their_names_have_parts() {
        let session = "arn:aws:sts::123456789012:assumed-role/deployer/alice@example.com";
        for (names, others, room, shown) in [
            (&[session][..], 0, 99, format!("{session} (30)")),
            (&[session], 0, 40, "…/deployer/alice@example.com (30)".to_owned()),
            (&[session], 0, 25, "…/alice@example.com (30)".to_owned()),
            (&["arn:aws:iam::123456789012:root"], 0, 24, "…:123456789012:root (30)".to_owned()),
            (&[session], 0, 20, "…ce@example.com (30)".to_owned()),
            (&[session, "bob"], 0, 35, "…/alice@example.com (30), 1 more".to_owned()),
            (&["alice", "bob", "eve"], 2, 99, "alice (30), bob (2), eve (1), 2 more".to_owned()),
            (&["alice", "bob", "eve"], 2, 28, "alice (30), bob (2), 3 more".to_owned()),
            (&["alice", "bob", "eve"], 9, 28, "alice (30), at least 11 more".to_owned()),
            (&["bob (account 123456789012)"], 0, 20, "bob (account 1… (30)".to_owned()),
            (&["éééééééééééééééééé"], 0, 16, "éééééééééé… (30)".to_owned()),
        ] {
            let text = callers(&top(names, others), room);
            assert_eq!(text, shown, "{room}");
            assert!(text.chars().count() <= room, "{text} {room}");
        }
    }

    #[test]
    fn names_are_wrapped_and_none_is_left_out() {
        let names: Vec<_> = (0..40).map(|n| format!("rule-{n}")).collect();
        let text = wrapped(&names, 30);
        assert!(text.lines().all(|line| line.len() <= 30 && line.starts_with("  rule")), "{text}");
        assert_eq!(text.split_whitespace().collect::<Vec<_>>().join(" "), names.join(", "));
        assert_eq!(wrapped(&["r".repeat(50)], 10), format!("  {}\n", "r".repeat(50)));
    }
}
