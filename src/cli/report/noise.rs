//! The answers about noise: how much, of which rules, and who causes it.

use maud::{Markup, html};

use super::super::console::counted;
use super::super::summary::{Summary, shown_columns};
use super::chart::{Axis, Bar, share};
use super::page::Page;
use super::text::{per_day, severity_class};
use crate::rules::Severity;

impl Page<'_> {
    pub(super) fn when(&self, axis: Option<&Axis>) -> Markup {
        let Some((details, axis)) = self.summary.details.as_ref().zip(axis).filter(|_| self.summary.messages > 0)
        else {
            return html! { p { "No message would have been sent." } };
        };
        let shown: Vec<_> = details.severities.iter().rev().filter(|(_, n)| *n > 0).collect();
        let severities: Vec<_> = details.severities.iter().map(|(severity, _)| *severity).collect();
        let dated: u64 = axis.bars.iter().map(Bar::total).sum();
        let undated = self.summary.messages.saturating_sub(dated);
        let has_gaps = axis.bars.iter().any(|bar| bar.days == 0);
        let unit = axis.unit();
        let place = |wanted: Severity| severities.iter().position(|severity| *severity == wanted).unwrap_or_default();
        html! {
            p.soft {
                "Each message counts at the time of its call, with the highest severity of its rules. "
                @if undated > 0 { (counted(undated, "message")) " without a time that could be read." }
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

    pub(super) fn rules(&self, axis: Option<&Axis>) -> Markup {
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

    pub(super) fn who(&self) -> Markup {
        let groups = self.summary.details.as_ref().map_or(&[][..], |details| &details.groups);
        if groups.iter().all(|group| group.top.named.is_empty()) {
            return html! { p { "No call alerted." } };
        }
        html! {
            p.soft { "Calls that alerted, whatever the number of their messages. " a href="#alerts" { "Each rule" } " has its own." }
            div.groups { @for group in groups { (self.list(group.title, &group.top, "calls")) } }
        }
    }
}
