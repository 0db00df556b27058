//! The page: what a scan found, as the answers to the questions that people ask before a rule pages anyone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::super::summary::{Details, Edit, Group, RuleSummary, Summary, Top, shown_columns};
use super::chart::{Axis, share};
use crate::alert::escape;
use crate::rules::Severity;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The most bytes of a page.
const LIMIT: usize = 1_000_000;

/// How much of everything is shown: the first that makes the page fit.
const MEASURES: [Measure; 5] = [
    Measure { rules: 1_000, names: 10, name: 200, sample: 6_000 },
    Measure { rules: 1_000, names: 5, name: 120, sample: 2_000 },
    Measure { rules: 500, names: 3, name: 100, sample: 500 },
    Measure { rules: 200, names: 2, name: 80, sample: 200 },
    Measure { rules: 50, names: 1, name: 60, sample: 100 },
];

/// How much is shown.
#[derive(Clone, Copy)]
struct Measure {
    /// Rules, and lines of other tables.
    rules: usize,
    /// Callers and the like in one table.
    names: usize,
    /// Characters of a name.
    name: usize,
    /// Characters of an alert.
    sample: usize,
}

/// The page, in HTML.
pub(super) fn page(summary: &Summary) -> String {
    let mut pages = MEASURES.into_iter().map(|measure| Page { summary, measure }.html().into_string());
    let mut page = pages.next().unwrap_or_default();
    while page.len() > LIMIT {
        let Some(smaller) = pages.next() else { break };
        page = smaller;
    }
    page
}

struct Page<'s> {
    summary: &'s Summary,
    measure: Measure,
}

impl Page<'_> {
    fn html(&self) -> Markup {
        let Page { summary, .. } = self;
        let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
            hash(STYLE),
            hash(SCRIPT)
        );
        let axis = summary.details.as_ref().and_then(|details| Axis::of(&summary.reading, details));
        let sections = [
            ("when", "How many messages a day?", self.when(axis.as_ref())),
            ("rules", "Which rules make the noise?", self.rules(axis.as_ref())),
            ("who", "Who causes it?", self.who()),
            ("quieter", "What would make it quieter?", self.quieter()),
            ("held", "What is held back, and from whom?", self.held()),
            ("alerts", "What do the alerts say?", self.alerts()),
            ("silent", "Which rules never matched?", self.silent()),
            ("scanned", "What was scanned, and what was not?", self.scanned()),
        ];
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(policy);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="robots" content="noindex";
                    title { "Messages that " (self.text(&summary.configuration)) " would have sent" }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    a.skip href="#main" { "Skip to the answers" }
                    header {
                        (self.headline())
                        nav aria-label="Questions" {
                            ul { @for (id, question, _) in &sections { li { a href=(format!("#{id}")) { (question) } } } }
                        }
                    }
                    main #main tabindex="-1" {
                        @for (id, question, answer) in &sections {
                            section id=(id) aria-labelledby=(format!("{id}-title")) {
                                h2 id=(format!("{id}-title")) { (question) }
                                (answer)
                            }
                        }
                    }
                    footer {
                        p {
                            "Written by cloudtrail-alerter " (env!("CARGO_PKG_VERSION")) ". The numbers of rules and callers are those of "
                            code { "scan --verbose" } ", and a message is a line of " code { "scan --format json" } "."
                        }
                    }
                    script { (PreEscaped(SCRIPT)) }
                }
            }
        }
    }

    fn headline(&self) -> Markup {
        let Summary { reading, messages, rules, unmatched, .. } = self.summary;
        let busiest = self.summary.details.iter().flat_map(Details::days).max_by_key(|(_, n)| *n);
        let enabled = rules.len() + unmatched.iter().filter(|rule| rule.is_enabled).count();
        html! {
            p.eyebrow { "cloudtrail-alerter: what would have been sent" }
            h1 { @if *messages == 0 { "No messages" } @else { (per_day(self.summary, *messages)) " messages a day" } }
            p.lead {
                @match &reading.ends {
                    Some((first, last)) => {
                        "With " code { (self.text(&self.summary.configuration)) } ", the calls from " time { (day(first)) } " to "
                        time { (day(last)) } " would have sent " (counted(*messages, "message", "messages")) ". There are logs of "
                        (counted(reading.days.len() as u64, "day", "days")) "."
                    }
                    None => { "With " code { (self.text(&self.summary.configuration)) } ", no record with a time was read." }
                }
            }
            @if reading.is_interrupted {
                p.warn { strong { "The scan was interrupted." } " The numbers are about a part of the logs." }
            }
            @if reading.failed > 0 {
                p.warn {
                    strong { (counted(reading.failed, "log", "logs")) " could not be read to the end." }
                    " The numbers are without the rest of them: " a href="#scanned" { "what was not scanned" } "."
                }
            }
            dl.tiles {
                div { dt { "messages" } dd #messages { (messages) } }
                div { dt { @match &busiest { Some((day, _)) => { "on the busiest day, " time { (day) } } None => "on the busiest day" } }
                    dd { (busiest.as_ref().map_or(0, |(_, n)| *n)) } }
                div { dt { "days with logs" } dd #days { (reading.days.len()) } }
                div { dt { "records" } dd { (reading.records) } }
                div { dt { "matches" } dd #matches { (reading.matches) } }
                div { dt { "rules matched, of " (enabled) } dd { (rules.len()) } }
            }
        }
    }

    fn when(&self, axis: Option<&Axis>) -> Markup {
        let Some((details, axis)) = self.summary.details.as_ref().zip(axis).filter(|_| self.summary.messages > 0)
        else {
            return html! { p { "No message would have been sent." } };
        };
        let shown: Vec<_> = details.severities.iter().rev().filter(|(_, n)| *n > 0).collect();
        let severities: Vec<_> = details.severities.iter().map(|(severity, _)| *severity).collect();
        let dated: u64 = axis.bars.iter().map(super::chart::Bar::total).sum();
        let undated = self.summary.messages.saturating_sub(dated);
        let has_gaps = axis.bars.iter().any(|bar| bar.days == 0);
        let unit = axis.unit();
        let place = |wanted: Severity| severities.iter().position(|severity| *severity == wanted).unwrap_or_default();
        html! {
            p.soft {
                "Each message counts at the time of its call, with the highest severity of its rules. "
                @if undated > 0 { (counted(undated, "message has", "messages have")) " no time that could be read." }
            }
            figure {
                (axis.chart(&severities))
                figcaption {
                    ul.legend {
                        @for (severity, n) in &shown { li { span class=(severity_class(*severity)) { (severity) ": " (n) } } }
                        @if has_gaps { li { span.severity.none { "no logs" } } }
                    }
                }
            }
            details {
                summary { "The same numbers as a table" }
                div.scroll tabindex="0" role="region" aria-label="Messages over time" {
                    table {
                        caption { "Messages by " (unit) " (UTC) and severity" }
                        thead { tr {
                            th scope="col" { "time" }
                            th.n scope="col" { "messages" }
                            @for (severity, _) in &shown { th.n scope="col" { (severity) } }
                            th scope="col" { "logs" }
                        } }
                        tbody {
                            @for bar in &axis.bars {
                                tr {
                                    th scope="row" { (bar.label) }
                                    td.n { (bar.total()) }
                                    @for (severity, _) in &shown { td.n { (bar.counts[place(*severity)]) } }
                                    td { @if bar.days == 0 { "no logs" } @else { "yes" } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    fn rules(&self, axis: Option<&Axis>) -> Markup {
        let Summary { rules, messages, .. } = self.summary;
        if rules.is_empty() {
            return html! { p { "No rule matched." } };
        }
        let columns = shown_columns(rules);
        let axis = axis.filter(|axis| axis.has_days() && self.measure.rules >= 500);
        let mut sorted: Vec<_> = rules.iter().enumerate().collect();
        sorted.sort_by_key(|(_, rule)| std::cmp::Reverse(rule.messages));
        html! {
            p.soft {
                "A message may name several rules, and counts for each of them. " b { "matches" } " are calls, "
                b { "alerts" } " those that call for a message."
            }
            div.tools #rules-tools {}
            div.scroll tabindex="0" role="region" aria-labelledby="rules-title" {
                table.sortable data-tools="rules-tools" {
                    caption { "Rules with the most messages first" }
                    thead { tr {
                        th scope="col" { "rule" }
                        th scope="col" { "severity" }
                        th.n scope="col" { "messages" }
                        th.n scope="col" { "a day" }
                        @for column in &columns { th.n scope="col" { (column) } }
                        @if axis.is_some() { th.plain scope="col" { "over time" } }
                    } }
                    tbody {
                        @for (number, rule) in sorted.iter().take(self.measure.rules) {
                            tr {
                                th.name scope="row" {
                                    a href=(format!("#rule-{number}")) { (self.text(&rule.name)) }
                                    svg.share viewBox="0 0 100 3" preserveAspectRatio="none" aria-hidden="true" {
                                        rect width=(format!("{:.2}", 100.0 * share(rule.messages, *messages))) height="3" {}
                                    }
                                }
                                td data-order=(rule.severity as usize) { span class=(severity_class(rule.severity)) { (rule.severity) } }
                                td.n { (rule.messages) }
                                td.n { (per_day(self.summary, rule.messages)) }
                                @for (name, n) in rule.columns().iter().filter(|(name, _)| columns.contains(name)) {
                                    td.n data-column=(name) { (n) }
                                }
                                @if let Some(axis) = axis {
                                    td { @if let Some(details) = &rule.details { (axis.small(&details.days)) } }
                                }
                            }
                        }
                    }
                }
            }
            (self.left_out(rules.len()))
        }
    }

    fn who(&self) -> Markup {
        let groups = self.summary.details.as_ref().map_or(&[][..], |details| &details.groups);
        if groups.iter().all(|group| group.top.named.is_empty()) {
            return html! { p { "No call alerted." } };
        }
        html! {
            p.soft { "Calls that alerted, whatever the number of their messages. " a href="#alerts" { "Each rule" } " has its own." }
            div.groups { @for group in groups { (self.group(group, "calls")) } }
        }
    }

    fn group(&self, group: &Group, unit: &str) -> Markup {
        self.list(group.title, &group.top, unit)
    }

    fn list(&self, title: &str, top: &Top, unit: &str) -> Markup {
        let shown = top.named.len().min(self.measure.names);
        let others = top.others.count + (top.named.len() - shown) as u64;
        let rest = top.others.alerts + top.named[shown..].iter().map(|(_, n)| n).sum::<u64>();
        html! {
            table {
                caption { (capitalized(title)) }
                thead { tr { th.n scope="col" { (unit) } th.who scope="col" { (title) } } }
                tbody {
                    @for (name, n) in &top.named[..shown] { tr { td.n { (n) } td { (breakable(&self.text(name))) } } }
                    @if others > 0 {
                        tr.soft {
                            td.n { (rest) }
                            td { @if top.others.is_at_least { "at least " } (others) " more" }
                        }
                    }
                }
            }
        }
    }

    fn quieter(&self) -> Markup {
        let mut edits: Vec<_> = self.edits().collect();
        if edits.is_empty() {
            return html! { p { "There is no edit to propose." } };
        }
        edits.sort_by_key(|(_, _, edit, _)| std::cmp::Reverse(edit.saved));
        html! {
            p.soft {
                "For each rule, the edit that would have saved most messages of these logs. The number is exact for one edit alone, without "
                "the others. Look at what it hides before you take it."
            }
            @for (place, (number, rule, edit, others)) in edits.iter().take(self.measure.rules).enumerate() {
                details open[place < 3] {
                    summary {
                        b { (self.text(&rule.name)) } ": save " (saved(edit, rule)) " "
                        span.end { "· " (self.text(&edit.what)) }
                    }
                    div.in {
                        (edit_block(edit))
                        @for gentler in *others {
                            p { "Or save " (saved(gentler, rule)) ": " (self.text(&gentler.what)) "." }
                            (edit_block(gentler))
                        }
                        p { a href=(format!("#rule-{number}")) { "Calls and alerts of this rule" } }
                    }
                }
            }
            p.soft {
                "A rule has none if its messages are all about different callers, if a limit for each log has summarised them, or "
                "if only another scan could tell the number."
            }
        }
    }

    /// By rule, the edit that saves most, and others.
    fn edits(&self) -> impl Iterator<Item = (usize, &RuleSummary, &Edit, &[Edit])> {
        let rules = self.summary.rules.iter().enumerate();
        rules.filter_map(|(number, rule)| {
            let (best, others) = rule.details.as_ref()?.edits.split_first()?;
            Some((number, rule, best, others))
        })
    }

    fn held(&self) -> Markup {
        let held = |rule: &&RuleSummary| rule.counts.suppressed + rule.counts.ignored + rule.counts.dry > 0;
        let rules: Vec<_> = self.summary.rules.iter().filter(held).collect();
        if rules.is_empty() {
            return html! { p { "Nothing. No memory, exception or dry run took a match of a rule." } };
        }
        html! {
            p.soft {
                b { "suppressed" } " alerts were held back by " code { "threshold" } ", " code { "firstSeen" } " or " code { "suppress" }
                ", " b { "ignored" } " matches taken by an " code { "ignore" } " entry, " b { "dry" } " ones are of a rule in a dry run."
            }
            div.scroll tabindex="0" role="region" aria-labelledby="held-title" {
                table.sortable {
                    caption { "Matches that sent nothing, by rule" }
                    thead { tr {
                        th scope="col" { "rule" }
                        @for column in ["suppressed", "ignored", "dry"] { th.n scope="col" { (column) } }
                        th.plain scope="col" { "callers of matches that are not sent" }
                    } }
                    tbody {
                        @for rule in rules.iter().take(self.measure.rules) {
                            tr {
                                th.name scope="row" { (self.text(&rule.name)) }
                                td.n { (rule.counts.suppressed) }
                                td.n { (rule.counts.ignored) }
                                td.n { (rule.counts.dry) }
                                td.name { @if let Some(group) = not_sent(rule) { (self.inline(&group.top)) } }
                            }
                        }
                    }
                }
            }
            (self.left_out(rules.len()))
        }
    }

    fn inline(&self, top: &Top) -> Markup {
        let shown = top.named.len().min(3);
        let others = top.others.count + (top.named.len() - shown) as u64;
        html! {
            @for (place, (name, n)) in top.named[..shown].iter().enumerate() {
                @if place > 0 { ", " }
                (breakable(&self.text(name))) " (" (n) ")"
            }
            @if others > 0 { ", " @if top.others.is_at_least { "at least " } (others) " more" }
        }
    }

    fn alerts(&self) -> Markup {
        let rules = &self.summary.rules;
        html! {
            @if rules.is_empty() { p { "There are none." } }
            @else { p.soft { "Each rule that matched, with its calls, and its first and most recent alert as a person gets it." } }
            @for (number, rule) in rules.iter().enumerate().take(self.measure.rules) {
                details id=(format!("rule-{number}")) {
                    summary {
                        (self.text(&rule.name)) " "
                        span.end {
                            "· " (rule.severity) " · " (counted(rule.counts.matches, "match", "matches")) " · "
                            (counted(rule.messages, "message", "messages"))
                        }
                    }
                    div.in { (self.rule(rule)) }
                }
            }
            (self.left_out(rules.len()))
        }
    }

    fn rule(&self, rule: &RuleSummary) -> Markup {
        let details = rule.details.as_ref();
        let [groups, samples] = [details.map_or(0, |it| it.groups.len()), details.map_or(0, |it| it.samples.len())];
        let is_one = details
            .is_some_and(|it| matches!(&it.samples[..], [a, b] if (&a.subject, &a.body) == (&b.subject, &b.body)));
        let titles = if is_one { ["The alert", ""] } else { ["The first alert", "The most recent alert"] };
        html! {
            @if let Some(description) = &rule.description { p { (prose(&cut(description, self.measure.sample))) } }
            div.groups {
                (self.list("callers", &rule.callers, "matches"))
                (self.list("events", &rule.events, "matches"))
                @if groups > 0 { @for group in details.iter().flat_map(|it| &it.groups) { (self.group(group, "matches")) } }
            }
            @if samples > 0 {
                @for (title, sample) in titles.iter().zip(details.iter().flat_map(|it| &it.samples)).filter(|(title, _)| !title.is_empty()) {
                    h3 { (title) }
                    pre tabindex="0" { (self.sample(&format!("{}\n\n{}", sample.subject, sample.body))) }
                }
            } @else { p.soft { "It sent no alert of its own." } }
        }
    }

    fn silent(&self) -> Markup {
        let rules = &self.summary.unmatched;
        if rules.is_empty() {
            return html! { p { "All rules matched." } };
        }
        html! {
            p.soft {
                "A rule may be silent because nothing happened. If no record had a value at one of its paths, the path may be misspelt, "
                "or these logs do not have such calls."
            }
            div.tools #silent-tools {}
            div.scroll tabindex="0" role="region" aria-labelledby="silent-title" {
                table.sortable data-tools="silent-tools" {
                    caption { "Rules without a match" }
                    thead { tr {
                        th scope="col" { "rule" }
                        th scope="col" { "severity" }
                        th scope="col" { "paths without a value in any record that it looked at" }
                    } }
                    tbody {
                        @for rule in rules.iter().take(self.measure.rules) {
                            tr {
                                th.name scope="row" { (self.text(&rule.name)) }
                                td data-order=(rule.severity as usize) { span class=(severity_class(rule.severity)) { (rule.severity) } }
                                td.name {
                                    @if !rule.is_enabled { span.soft { "disabled" } }
                                    @else if rule.unseen.is_empty() { span.soft { "none" } }
                                    @for (place, path) in rule.unseen.iter().take(10 * self.measure.names).enumerate() {
                                        @if place > 0 { ", " }
                                        code { (breakable(&self.text(path))) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
            (self.left_out(rules.len()))
        }
    }

    fn scanned(&self) -> Markup {
        let Summary { reading, head, details, .. } = self.summary;
        let failures = details.as_ref().map_or(&[][..], |details| &details.failures);
        html! {
            p { (escape(head)) "." }
            dl.facts {
                dt { "Logs read to the end" } dd { (reading.logs) }
                dt { "Not read, or not to the end" } dd { (reading.failed) }
                dt { "Files that are not logs" } dd { (reading.skipped) " skipped" }
                dt { "Records" } dd { (reading.records) }
                @if reading.outside > 0 { dt { "Records outside of what was chosen" } dd { (reading.outside) } }
                dt { "Matches, each event once" } dd { (reading.matches) }
                dt { "of them ignored" } dd { (reading.ignored) }
                dt { "of them suppressed" } dd { (reading.suppressed) }
                dt { "Repeats of matches" } dd { (reading.repeats) }
                @if let Some((first, last)) = &reading.ends {
                    dt { "First record" } dd { (first) }
                    dt { "Last record" } dd { (last) }
                }
                dt { "Days with records" } dd { (reading.days.len()) }
            }
            @if !failures.is_empty() {
                h3 { "What could not be read" }
                ul { @for failure in failures.iter().take(self.measure.rules) { li { (self.text(failure)) } } }
                @if reading.failed > failures.len() as u64 { p { "And " (reading.failed - failures.len() as u64) " more." } }
            }
        }
    }

    /// What became of lines for which there is no room.
    fn left_out(&self, lines: usize) -> Markup {
        let left_out = lines.saturating_sub(self.measure.rules);
        html! { @if left_out > 0 { p.soft { (left_out) " more are left out, so that the page stays small. " code { "scan --verbose" } " shows them." } } }
    }

    /// A text that may be a stranger's: visible, and not too long.
    fn text(&self, text: &str) -> String {
        cut(&escape(text), self.measure.name)
    }

    fn sample(&self, text: &str) -> String {
        cut(&text.trim_end().lines().map(escape).collect::<Vec<_>>().join("\n"), self.measure.sample)
    }
}

/// What an edit hides, and its text, whose escapes keep it JSON.
fn edit_block(edit: &Edit) -> Markup {
    let text = edit.text.lines().map(escape).collect::<Vec<_>>().join("\n");
    html! {
        p { "It hides " (edit.hides) ". " (prose(&edit.place)) }
        div.edit data-saved=(edit.saved) { pre tabindex="0" { code { (text) } } }
    }
}

/// Of a rule's messages, those that an edit saves.
fn saved(edit: &Edit, rule: &RuleSummary) -> String {
    format!("{} of {}", edit.saved, counted(rule.messages, "message", "messages"))
}

/// A text of ours, with code between backquotes.
fn prose(text: &str) -> Markup {
    html! {
        @for (place, part) in text.split('`').enumerate() {
            @if place % 2 == 1 { code { (escape(part)) } } @else { (escape(part)) }
        }
    }
}

fn not_sent(rule: &RuleSummary) -> Option<&Group> {
    let unsent = rule.counts.suppressed + rule.counts.ignored + rule.counts.dry;
    rule.details.as_ref()?.groups.last().filter(|_| unsent > 0)
}

fn severity_class(severity: Severity) -> String {
    format!("severity {severity}")
}

fn per_day(summary: &Summary, messages: u64) -> String {
    format!("{:.1}", summary.per_day(messages))
}

fn counted(n: u64, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// The day of a time.
fn day(time: &str) -> &str {
    time.split('T').next().unwrap_or(time)
}

/// A text that may be broken behind its separators.
fn breakable(text: &str) -> Markup {
    html! { @for part in text.split_inclusive(['/', ':', '.']) { (part) wbr; } }
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// At most so many characters, and then how many were cut off.
fn cut(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((at, _)) => format!("{}… (cut: {} characters more)", &text[..at], text[at..].chars().count()),
        None => text.to_owned(),
    }
}
