//! What a server does and has done, in numbers.

use std::collections::BTreeMap;

use prn_proto::v1;
use prn_proto::v1::metric_family::Kind;

use crate::client::Client;
use crate::error::ClientError;

/// A server's metrics.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Metrics {
    /// In the order of their names.
    pub families: Vec<MetricFamily>,
    /// The same as text (OpenMetrics 1.0).
    #[cfg_attr(feature = "serde", serde(skip))]
    pub text: String,
    /// Random id of this server run.
    pub boot_epoch: String,
}

/// Metrics of one name.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct MetricFamily {
    /// Its name. As text, `_total` comes behind that of a counter.
    pub name: String,
    /// What its values are.
    pub kind: MetricKind,
    /// What they are counted in: "bytes", "seconds", or nothing.
    pub unit: String,
    /// What it says.
    pub help: String,
    /// Its values.
    pub samples: Vec<MetricSample>,
}

/// What the values of a family are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub enum MetricKind {
    /// They only grow, and begin at 0 with the server's network half.
    Counter,
    /// They are what is so now.
    Gauge,
    /// Of a newer server.
    Unknown,
}

/// One value.
#[derive(Debug, Clone, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct MetricSample {
    /// What tells it from others of its family.
    pub labels: BTreeMap<String, String>,
    /// It.
    pub value: f64,
}

impl From<v1::MetricFamily> for MetricFamily {
    fn from(raw: v1::MetricFamily) -> Self {
        let kind = match raw.kind() {
            Kind::Counter => MetricKind::Counter,
            Kind::Gauge => MetricKind::Gauge,
            Kind::Unspecified => MetricKind::Unknown,
        };
        let samples = raw.samples.into_iter();
        Self {
            kind,
            name: raw.name,
            unit: raw.unit,
            help: raw.help,
            samples: samples
                .map(|sample| MetricSample {
                    labels: sample.labels,
                    value: sample.value,
                })
                .collect(),
        }
    }
}

impl Client {
    /// What the server does and has done, in numbers.
    ///
    /// # Errors
    /// As any call. One of before there was this call: [`ClientError::Refused`] with
    /// [`Code::Unimplemented`](crate::Code::Unimplemented).
    pub async fn metrics(&self) -> Result<Metrics, ClientError> {
        let request = v1::GetMetricsRequest { with_text: true };
        let response = self
            .repeatable(
                self.call_timeout,
                request,
                |mut service, request| async move { service.get_metrics(request).await },
            )
            .await?;
        Ok(Metrics {
            families: response
                .families
                .into_iter()
                .map(MetricFamily::from)
                .collect(),
            text: response.text,
            boot_epoch: response.boot_epoch,
        })
    }
}
