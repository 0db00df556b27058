//! The charts of the page, as SVG: messages over time.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use maud::{Markup, html};

use super::super::summary::{Details, Reading};
use crate::rules::Severity;

/// The most bars of a chart.
const BARS: u64 = 62;

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

/// The last second of the year 9999, the last that has a text.
const END: u64 = 253_402_300_799;

/// The size of a chart and of a small one, in its own units.
const HEIGHT: f64 = 100.0;
const BAR: f64 = 10.0;
const SMALL: u64 = 20;

/// The time that a chart covers, in equal pieces.
pub(super) struct Axis {
    /// The begin of the first piece, and the length of each, in seconds.
    start: u64,
    step: u64,
    pub(super) bars: Vec<Bar>,
}

/// A piece of time.
pub(super) struct Bar {
    pub(super) label: String,
    /// How many of its days have logs.
    pub(super) days: u64,
    /// The messages by severity, the least one first.
    pub(super) counts: Vec<u64>,
}

impl Axis {
    /// The days of a scan; several at once where there are many, hours where there are at most two. `None` where nothing has
    /// a time.
    pub(super) fn of(reading: &Reading, details: &Details) -> Option<Self> {
        let days = reading.days.iter().filter_map(|day| seconds(day, "T00:00:00Z"));
        let hours = details.hours.iter().filter_map(|(hour, counts)| Some((seconds(hour, ":00:00Z")?, counts)));
        let all = || days.clone().chain(hours.clone().map(|(hour, _)| hour));
        let (start, end) = (all().min()? / DAY * DAY, all().max()? / DAY * DAY + DAY);
        let days_in_all = (end - start) / DAY;
        let step = if days_in_all <= 2 { HOUR } else { days_in_all.div_ceil(BARS) * DAY };
        let severities = details.severities.len();
        let bar = |n: u64| Bar { label: label(start + n * step, step), days: 0, counts: vec![0; severities] };
        let mut axis = Axis { start, step, bars: (0..(end - start).div_ceil(step)).map(bar).collect() };
        for day in days {
            for hour in (0..DAY).step_by(usize::try_from(step.min(DAY)).unwrap_or(1)) {
                axis.at(day + hour).into_iter().for_each(|bar| bar.days += 1);
            }
        }
        for (hour, counts) in hours {
            if let Some(bar) = axis.at(hour) {
                bar.counts.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
            }
        }
        Some(axis)
    }

    fn at(&mut self, time: u64) -> Option<&mut Bar> {
        self.bars.get_mut(usize::try_from(time.checked_sub(self.start)? / self.step).ok()?)
    }

    /// What a bar stands for.
    pub(super) fn unit(&self) -> String {
        match self.step {
            HOUR => "hour".to_owned(),
            DAY => "day".to_owned(),
            step => format!("{} days", step / DAY),
        }
    }

    fn highest(&self) -> u64 {
        self.bars.iter().map(Bar::total).max().unwrap_or_default().max(1)
    }

    /// Bars of the messages, their severities on top of each other.
    pub(super) fn chart(&self, severities: &[Severity]) -> Markup {
        let (highest, width) = (self.highest(), self.width());
        let mut shapes = Vec::new();
        for (n, bar) in self.bars.iter().enumerate() {
            let (x, mut top) = (place(n), HEIGHT);
            if bar.days == 0 {
                shapes.push(
                    html! { rect.gap x=(x) y="0" width=(BAR) height=(HEIGHT) { title { (bar.label) ": no logs" } } },
                );
            }
            for (severity, count) in severities.iter().zip(&bar.counts).rev().filter(|(_, count)| **count > 0) {
                let height = share(*count, highest) * HEIGHT;
                top -= height;
                let [y, height] = [top, height].map(|n| format!("{n:.2}"));
                shapes.push(html! {
                    rect class=(severity) x=(x + 1.0) y=(y) width=(BAR - 2.0) height=(height) {
                        title { (bar.label) ": " (count) " " (severity) }
                    }
                });
            }
        }
        let (first, last) =
            (self.bars.first().map_or("", |bar| &bar.label), self.bars.last().map_or("", |bar| &bar.label));
        html! {
            div.plot {
                div."y"."axis" aria-hidden="true" { span { (highest) } span { "0" } }
                svg.bars viewBox=(format!("0 0 {width} {HEIGHT}")) preserveAspectRatio="none" role="img"
                    aria-labelledby="chart-title chart-text" {
                    title #chart-title { "Messages by " (self.unit()) " and severity" }
                    desc #chart-text {
                        "From " (first) " to " (last) ", at most " (highest) " by " (self.unit())
                        ". The table below has the same numbers."
                    }
                    @for y in [0, 25, 50, 75] { line x1="0" x2=(width) y1=(y) y2=(y) {} }
                    @for shape in &shapes { (shape) }
                }
                div."x"."axis" aria-hidden="true" { span { (first) } @if self.bars.len() > 1 { span { (last) } } }
            }
        }
    }

    /// Small bars of a rule's messages by day.
    pub(super) fn small(&self, days: &[(String, u64)]) -> Markup {
        let mut counts = vec![0; self.bars.len()];
        for (day, n) in days {
            let place = seconds(day, "T00:00:00Z")
                .and_then(|day| usize::try_from(day.checked_sub(self.start)? / self.step).ok());
            place.and_then(|place| counts.get_mut(place)).into_iter().for_each(|sum| *sum += n);
        }
        let highest = counts.iter().copied().max().unwrap_or_default().max(1);
        let mut path = String::new();
        for (n, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let top = SMALL - (count * SMALL).div_ceil(highest).min(SMALL);
            let _ = write!(path, "M{} {SMALL}V{top}h8V{SMALL}z", place(n) + 1.0);
        }
        html! {
            svg.spark viewBox=(format!("0 0 {} {SMALL}", self.width())) preserveAspectRatio="none" aria-hidden="true" {
                path d=(path) {}
            }
        }
    }

    /// Whether a rule's days can be told apart.
    pub(super) fn has_days(&self) -> bool {
        self.step >= DAY && self.bars.len() > 1
    }

    #[allow(clippy::cast_precision_loss)] // of some sixty
    fn width(&self) -> f64 {
        self.bars.len() as f64 * BAR
    }
}

impl Bar {
    pub(super) fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// A part of a whole.
#[allow(clippy::cast_precision_loss)] // of counts that become lengths
pub(super) fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[allow(clippy::cast_precision_loss)] // of some sixty
fn place(bar: usize) -> f64 {
    bar as f64 * BAR
}

/// A time, since 1970.
fn seconds(time: &str, rest: &str) -> Option<u64> {
    let time: SystemTime = humantime::parse_rfc3339(&format!("{time}{rest}")).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

fn label(start: u64, step: u64) -> String {
    let text =
        |time: u64| humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(time.min(END))).to_string();
    let (first, last) = (text(start), text(start + step - 1));
    match step {
        HOUR => format!("{} {}", &first[..10], &first[11..16]),
        DAY => first[..10].to_owned(),
        _ => format!("{} to {}", &first[..10], &last[..10]),
    }
}
