//! Plots as inline SVG.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "places on a picture, and decades of which there are few"
)]

use std::fmt::Write as _;

use super::Slot;
use crate::sink::text::{date_time, duration};

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 180.0;
/// Room for what is written at the axes.
const LEFT: f64 = 60.0;
const BOTTOM: f64 = 24.0;
const TOP: f64 = 8.0;
/// Labels along the time axis.
const LABELS: usize = 6;

/// Calls a slot as bars, with those that failed at their foot.
pub(super) fn calls(slots: &[Slot]) -> String {
    let most = slots.iter().map(|slot| slot.calls).max().unwrap_or(0).max(1);
    let height = |count: u64| share(count, most) * (HEIGHT - TOP - BOTTOM);
    let mut svg = open("Calls over time");
    axis(&mut svg, &[(0.0, "0".to_owned()), (1.0, most.to_string())]);
    let width = (step(slots) - 1.0).max(0.5);
    for (index, slot) in slots.iter().enumerate() {
        let x = LEFT + step(slots) * index as f64;
        for (class, count) in [("calls", slot.calls), ("failed", slot.failed.min(slot.calls))] {
            let (height, foot) = (height(count), HEIGHT - BOTTOM);
            if count > 0 {
                push(
                    &mut svg,
                    format_args!(
                        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"><title>{} {count} {class}</title></rect>",
                        foot - height,
                        date_time(slot.start_unix_ms)
                    ),
                );
            }
        }
    }
    close(svg, slots)
}

/// Percentiles as lines on a logarithmic scale.
pub(super) fn latencies(slots: &[Slot]) -> String {
    let all = || {
        slots
            .iter()
            .flat_map(|slot| [slot.p50_us, slot.p95_us, slot.p99_us])
            .flatten()
    };
    let low = all().fold(f64::INFINITY, f64::min).max(1.0).log10().floor();
    let high = all().fold(1.0, f64::max).log10().ceil().max(low + 1.0);
    let mut svg = open("Latency over time");
    if !low.is_finite() {
        return close(svg, slots);
    }
    let decades = (high - low) as usize;
    let ticks: Vec<_> = (0..=decades)
        .map(|decade| {
            let at = decade as f64 / (high - low);
            (at, duration(10f64.powf(low + decade as f64)))
        })
        .collect();
    axis(&mut svg, &ticks);
    let place = |us: f64| y((us.max(1.0).log10() - low) / (high - low));
    for (class, pick) in [
        ("p99", (|slot| slot.p99_us) as fn(&Slot) -> Option<f64>),
        ("p95", |slot| slot.p95_us),
        ("p50", |slot| slot.p50_us),
    ] {
        line(&mut svg, slots, class, |slot| pick(slot).map(place));
    }
    close(svg, slots)
}

/// A line that has gaps where there is nothing.
fn line(svg: &mut String, slots: &[Slot], class: &str, place: impl Fn(&Slot) -> Option<f64>) {
    let mut path = String::new();
    let mut pen_up = true;
    for (index, slot) in slots.iter().enumerate() {
        let x = LEFT + step(slots) * (index as f64 + 0.5);
        match place(slot) {
            None => pen_up = true,
            Some(y) if pen_up => {
                // A point of its own shows by its round ends.
                push(&mut path, format_args!("M{x:.1} {y:.1}h0.1"));
                pen_up = false;
            }
            Some(y) => push(&mut path, format_args!("L{x:.1} {y:.1}")),
        }
    }
    push(svg, format_args!("<path class=\"{class}\" d=\"{path}\"/>"));
}

fn open(title: &str) -> String {
    format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">")
}

/// Grid lines from bottom (0) to top (1), with what is written at them.
fn axis(svg: &mut String, ticks: &[(f64, String)]) {
    for (at, label) in ticks {
        let y = y(*at);
        push(
            svg,
            format_args!(
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT - 6.0,
                y + 4.0
            ),
        );
    }
}

fn close(mut svg: String, slots: &[Slot]) -> String {
    for (index, slot) in slots.iter().enumerate().step_by(slots.len().div_ceil(LABELS).max(1)) {
        let x = LEFT + step(slots) * index as f64;
        push(
            &mut svg,
            format_args!(
                "<text x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
                HEIGHT - 6.0,
                // Without the year.
                date_time(slot.start_unix_ms).get(5..).unwrap_or_default()
            ),
        );
    }
    svg.push_str("</svg>");
    svg
}

fn y(share: f64) -> f64 {
    HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
}

fn step(slots: &[Slot]) -> f64 {
    (WIDTH - LEFT) / slots.len().max(1) as f64
}

fn share(count: u64, most: u64) -> f64 {
    count as f64 / most as f64
}

fn push(out: &mut String, args: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    out.write_fmt(args).unwrap_or_default();
}
