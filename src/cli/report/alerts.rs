//! The answers about alerts: what each rule found, and what its messages say.

use maud::{Markup, html};

use super::super::console::counted;
use super::super::summary::RuleSummary;
use super::page::Page;
use super::text::{cut, prose};
use crate::alert::escape;

impl Page<'_> {
    pub(super) fn alerts(&self) -> Markup {
        let rules = &self.summary.rules;
        html! {
            @if rules.is_empty() { p { "There are none." } }
            @else { p.soft { "Each rule that matched, with its calls, and its first and most recent alert as a person gets it." } }
            @for (number, rule) in rules.iter().enumerate().take(self.measure.rules) {
                details id=(format!("rule-{number}")) {
                    summary {
                        (self.text(&rule.name)) " "
                        span.end {
                            "· " (rule.severity) " · " (counted(rule.counts.matches, "match")) " · "
                            (counted(rule.messages, "message"))
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
                @if groups > 0 { @for group in details.iter().flat_map(|it| &it.groups) { (self.list(group.title, &group.top, "matches")) } }
            }
            @if samples > 0 {
                @for (title, sample) in titles.iter().zip(details.iter().flat_map(|it| &it.samples)).filter(|(title, _)| !title.is_empty()) {
                    h3 { (title) }
                    pre tabindex="0" { (self.sample(&format!("{}\n\n{}", sample.subject, sample.body))) }
                }
            } @else { p.soft { "It sent no alert of its own." } }
        }
    }

    fn sample(&self, text: &str) -> String {
        cut(&text.trim_end().lines().map(escape).collect::<Vec<_>>().join("\n"), self.measure.sample)
    }
}
