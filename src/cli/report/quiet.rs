//! The answers about quiet: what would make it quieter, and what is held back already.

use maud::{Markup, html};

use super::super::console::counted;
use super::super::summary::{Edit, Group, RuleSummary, Top};
use super::page::Page;
use super::text::{breakable, prose};
use crate::alert::escape;

impl Page<'_> {
    pub(super) fn quieter(&self) -> Markup {
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

    pub(super) fn held(&self) -> Markup {
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
    format!("{} of {}", edit.saved, counted(rule.messages, "message"))
}

fn not_sent(rule: &RuleSummary) -> Option<&Group> {
    let unsent = rule.counts.suppressed + rule.counts.ignored + rule.counts.dry;
    rule.details.as_ref()?.groups.last().filter(|_| unsent > 0)
}
