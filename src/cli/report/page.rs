//! The page: what a scan found, as the answers to the questions that people ask before a rule pages anyone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::super::console::counted;
use super::super::summary::{Details, Summary, Top};
use super::chart::Axis;
use super::text::{breakable, capitalized, cut, day, per_day};
use crate::alert::escape;

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
pub(super) struct Measure {
    /// Rules, and lines of other tables.
    pub(super) rules: usize,
    /// Callers and the like in one table.
    pub(super) names: usize,
    /// Characters of a name.
    pub(super) name: usize,
    /// Characters of an alert.
    pub(super) sample: usize,
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

/// The page in the making. Its answers are in files of their own.
pub(super) struct Page<'s> {
    pub(super) summary: &'s Summary,
    pub(super) measure: Measure,
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
                        time { (day(last)) } " would have sent " (counted(*messages, "message")) ". There are logs of "
                        (counted(reading.days.len() as u64, "day")) "."
                    }
                    None => { "With " code { (self.text(&self.summary.configuration)) } ", no record with a time was read." }
                }
            }
            @if reading.is_interrupted {
                p.warn { strong { "The scan was interrupted." } " The numbers are about a part of the logs." }
            }
            @if reading.failed > 0 {
                p.warn {
                    strong { (counted(reading.failed, "log")) " could not be read to the end." }
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

    /// The most frequent ones, with the rest in a line.
    pub(super) fn list(&self, title: &str, top: &Top, unit: &str) -> Markup {
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

    /// What became of lines for which there is no room.
    pub(super) fn left_out(&self, lines: usize) -> Markup {
        let left_out = lines.saturating_sub(self.measure.rules);
        html! { @if left_out > 0 { p.soft { (left_out) " more are left out, so that the page stays small. " code { "scan --verbose" } " shows them." } } }
    }

    /// A text that may be a stranger's: visible, and not too long.
    pub(super) fn text(&self, text: &str) -> String {
        cut(&escape(text), self.measure.name)
    }
}
