//! The answers about what is missing: rules that never matched, and logs that were not scanned.

use maud::{Markup, html};

use super::super::summary::Summary;
use super::page::Page;
use super::text::{breakable, severity_class};
use crate::alert::escape;

impl Page<'_> {
    pub(super) fn silent(&self) -> Markup {
        let rules = &self.summary.unmatched;
        if rules.is_empty() {
            return html! { p { "All rules matched." } };
        }
        html! {
            p.soft {
                "A rule may be silent because nothing happened. If no record that it looked at had a value at one of its paths, the path may be misspelt, "
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

    pub(super) fn scanned(&self) -> Markup {
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
}
