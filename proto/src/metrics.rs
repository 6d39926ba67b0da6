//! Metrics as text, in both forms that Prometheus reads. Pure.
//!
//! OpenMetrics 1.0 (github.com/prometheus/OpenMetrics) has units and an end; the older form,
//! version 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats), calls a counter by its
//! samples' name.

use std::fmt::Write;

use crate::v1::metric_family::Kind;
use crate::v1::{MetricFamily, MetricSample};

/// A form of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format 0.0.4.
    Plain,
}

impl Form {
    /// Its media type, for `Content-Type`.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Plain => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// What says how a family is to be read.
    fn head(self, text: &mut String, family: &MetricFamily) {
        let (name, suffix, kind) = match (self, family.kind()) {
            (Self::OpenMetrics, Kind::Counter) => (&family.name, "", "counter"),
            (Self::Plain, Kind::Counter) => (&family.name, "_total", "counter"),
            (_, Kind::Gauge) => (&family.name, "", "gauge"),
            (Self::OpenMetrics, Kind::Unspecified) => (&family.name, "", "unknown"),
            (Self::Plain, Kind::Unspecified) => (&family.name, "", "untyped"),
        };
        let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
        put(text, format_args!("# HELP {name}{suffix} {help}\n"));
        put(text, format_args!("# TYPE {name}{suffix} {kind}\n"));
        if self == Self::OpenMetrics && !family.unit.is_empty() {
            put(text, format_args!("# UNIT {name} {}\n", family.unit));
        }
    }
}

/// All of these families, one after the other.
pub fn text(families: &[MetricFamily], form: Form) -> String {
    let mut text = String::new();
    for family in families {
        form.head(&mut text, family);
        let suffix = match family.kind() {
            Kind::Counter => "_total",
            Kind::Gauge | Kind::Unspecified => "",
        };
        for sample in &family.samples {
            put(&mut text, format_args!("{}{suffix}", family.name));
            put_labels(&mut text, sample);
            put(&mut text, format_args!(" {}\n", sample.value));
        }
    }
    if form == Form::OpenMetrics {
        text.push_str("# EOF\n");
    }
    text
}

fn put_labels(text: &mut String, sample: &MetricSample) {
    let mut open = '{';
    for (name, value) in &sample.labels {
        let value = value
            .replace('\\', "\\\\")
            .replace('\n', "\\n")
            .replace('"', "\\\"");
        put(text, format_args!("{open}{name}=\"{value}\""));
        open = ',';
    }
    if !sample.labels.is_empty() {
        text.push('}');
    }
}

fn put(text: &mut String, part: std::fmt::Arguments<'_>) {
    // Writing to a String never fails.
    let _written = text.write_fmt(part);
}

/// A family without values.
pub fn family(kind: Kind, name: &str, unit: &str, help: &str) -> MetricFamily {
    MetricFamily {
        name: name.to_owned(),
        kind: kind.into(),
        unit: unit.to_owned(),
        help: help.to_owned(),
        samples: Vec::new(),
    }
}

/// A value, and what tells it from others.
pub fn sample(labels: &[(&str, &str)], value: f64) -> MetricSample {
    let labels = labels.iter();
    MetricSample {
        labels: labels
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        value,
    }
}

/// A count as a value: exact up to 2^53, which is more than anything here comes to.
#[expect(clippy::as_conversions, reason = "no other conversion loses so little")]
pub fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn families() -> [MetricFamily; 2] {
        let mut sent = family(
            Kind::Counter,
            "prn_sent_bytes",
            "bytes",
            "Sent.\nAll of it.",
        );
        sent.samples = vec![
            sample(&[("to", "a\"b\\c\nd"), ("by", "x")], number(1 << 53)),
            sample(&[], 0.5),
        ];
        let mut open = family(Kind::Gauge, "prn_open", "", "Open.");
        open.samples = vec![sample(&[], number(3))];
        [sent, open]
    }

    #[test]
    fn openmetrics_has_units_and_an_end() {
        assert_eq!(
            text(&families(), Form::OpenMetrics),
            "# HELP prn_sent_bytes Sent.\\nAll of it.\n\
             # TYPE prn_sent_bytes counter\n\
             # UNIT prn_sent_bytes bytes\n\
             prn_sent_bytes_total{by=\"x\",to=\"a\\\"b\\\\c\\nd\"} 9007199254740992\n\
             prn_sent_bytes_total 0.5\n\
             # HELP prn_open Open.\n\
             # TYPE prn_open gauge\n\
             prn_open 3\n\
             # EOF\n"
        );
    }

    #[test]
    fn the_older_form_calls_a_counter_by_its_samples_name() {
        let text = text(&families(), Form::Plain);
        assert!(text.starts_with("# HELP prn_sent_bytes_total "), "{text}");
        assert!(
            text.contains("# TYPE prn_sent_bytes_total counter\n"),
            "{text}"
        );
        assert!(
            !text.contains("# UNIT") && !text.contains("# EOF"),
            "{text}"
        );
    }
}
