//! What every response has, whoever made it: the boot epoch, and details of errors.
//!
//! It also tells the service whose call it is, answers a call that has no answer at its client's
//! deadline, and turns a panic into an error of that one call. The deadline counts until the
//! response begins: a client that wants less of a stream, or of a long list, ends it itself. What
//! its client does not take is let go of ([`Lease`]).

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response};
use prn_api_frontend::log;
use prn_proto::BOOT_EPOCH_METADATA;
use tonic::Status;
use tonic::body::Body;

use crate::answers::Answers;
use crate::clients::Certified;
use crate::connection::calls;
use crate::errors;
use crate::input::intake::Intake;
use crate::lease::Lease;
use crate::metrics::Metrics;
use crate::outgoing::{ACCEPT_ENCODING, Outgoing};
use crate::service::REQUEST_MAX;
use crate::services::Services;
use crate::subscribe::body::{Handed, ResponseBody};
use crate::supervisor::Supervisor;

/// Most bytes of all answers that wait for their clients, but for output: as many as sixteen of the
/// longest lists.
const WAITING_MAX: usize = 64 * 1024 * 1024;

/// For how long a call that is under way may go on when another frontend is to take this one's
/// place.
const LAST_ANSWERS: Duration = Duration::from_millis(400);

/// The service as a connection calls it.
#[derive(Debug, Clone)]
pub struct Envelope {
    services: Services,
    supervisor: Supervisor,
    epoch: HeaderValue,
    waiting: Arc<Answers>,
    metrics: Arc<Metrics>,
}

impl Envelope {
    /// Around the services of the supervisor's run `epoch`: 32 hexadecimal digits.
    pub fn new(
        services: Services,
        supervisor: Supervisor,
        epoch: &str,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            services,
            supervisor,
            epoch: HeaderValue::from_str(epoch).unwrap_or(HeaderValue::from_static("")),
            waiting: Answers::new(WAITING_MAX),
            metrics,
        }
    }

    /// Where it is counted what clients do.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The answer to a call that is not taken.
    pub fn refuse(&self, status: &Status) -> Response<ResponseBody> {
        self.addressed(status.clone().into_http())
    }

    fn addressed(&self, mut response: Response<Body>) -> Response<ResponseBody> {
        response.headers_mut().insert(
            HeaderName::from_static(BOOT_EPOCH_METADATA),
            self.epoch.clone(),
        );
        let handed = response.extensions_mut().remove::<Handed>();
        response.map(|body| ResponseBody::new(body, handed))
    }

    /// Answers one call of this client.
    pub async fn call(
        mut self,
        client: Certified,
        mut request: Request<Intake>,
    ) -> Result<Response<ResponseBody>, Infallible> {
        if !asks_for_compression(request.headers()) {
            request.headers_mut().remove(ACCEPT_ENCODING);
        }
        let Certified { client: by, .. } = client.clone();
        request.extensions_mut().insert(client);
        let deadline = deadline(request.headers());
        let path = request.uri().path().to_owned();
        let _open = self.metrics.calls_open.enter();
        let call = self.services.call(request.map(Body::new));
        let mut response = tokio::select! {
            biased;
            denial = by.access.over() => errors::denied(denial).into_http(),
            response = answered(call, deadline) => response,
            () = replaced(&self.supervisor) => errors::restarting().into_http(),
        };
        self.metrics.answered(&path, response.headers());
        if let Some(outgoing) = response.extensions_mut().remove::<Outgoing>() {
            let hold = |revoke| self.waiting.enter(by.number, outgoing.bytes, revoke);
            let call = calls::current();
            response =
                response.map(|body| Body::new(Lease::new(body, outgoing.trailers, call, hold)));
        }
        Ok(self.addressed(response))
    }
}

/// Returns when nothing that is under way can end here any more.
async fn replaced(supervisor: &Supervisor) {
    supervisor.is_replaced().await;
    tokio::time::sleep(LAST_ANSWERS).await;
}

/// The call's own response, or the error of its deadline or its panic.
async fn answered(
    call: impl Future<Output = Result<Response<Body>, Infallible>>,
    deadline: Option<Duration>,
) -> Response<Body> {
    // Nothing that the call leaves behind is used again: what it shares is behind locks without
    // panics.
    let call = AssertUnwindSafe(call).catch_unwind();
    let answer = match deadline {
        None => Some(call.await),
        Some(after) => tokio::time::timeout(after, call).await.ok(),
    };
    match answer {
        Some(Ok(Ok(response))) => with_details(response),
        Some(Err(_panic)) => {
            log::error("a call ended by a panic", &[]);
            errors::internal().into_http()
        }
        None => errors::deadline_exceeded().into_http(),
    }
}

/// An error of tonic itself has a code and a message alone.
fn with_details(response: Response<Body>) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.code() != tonic::Code::Ok && status.details().is_empty() => {
            errors::by_transport(status.code(), REQUEST_MAX).into_http()
        }
        Some(_) | None => response,
    }
}

/// Whether a client wants its response compressed, and does not merely say what it could read: it
/// compressed its request, or it names a compression before it names none. Some libraries name all
/// that they know in every call, after `identity`.
fn asks_for_compression(headers: &HeaderMap) -> bool {
    let known = |name: &str| matches!(name, "gzip" | "zstd");
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(accepted) = text(ACCEPT_ENCODING) else {
        return false;
    };
    let mut accepted = accepted.split(',').map(str::trim);
    if text("grpc-encoding").is_some_and(known) {
        return accepted.any(known);
    }
    accepted.take_while(|name| *name != "identity").any(known)
}

/// The time that the client gives the call: `grpc-timeout`, at most eight digits and a unit (gRPC
/// over HTTP/2).
fn deadline(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<Duration> {
        deadline(&HeaderMap::from_iter([(
            HeaderName::from_static("grpc-timeout"),
            text.parse().unwrap(),
        )]))
    }

    #[tokio::test]
    async fn r8_a_panic_is_an_internal_error_of_one_call() {
        let response = answered(async { panic!("a fault of ours") }, None).await;
        let status = Status::from_header_map(response.headers()).unwrap();
        assert_eq!(
            (status.code(), status.message()),
            (tonic::Code::Internal, "internal error")
        );
    }

    #[test]
    fn compression_is_for_those_who_ask_and_not_for_those_who_could() {
        let asks = |accept: Option<&str>, encoding: Option<&str>| {
            let value = |name, value: Option<&str>| {
                Some((HeaderName::from_static(name), value?.parse().unwrap()))
            };
            let both = [
                value(ACCEPT_ENCODING, accept),
                value("grpc-encoding", encoding),
            ];
            asks_for_compression(&both.into_iter().flatten().collect())
        };
        assert!(asks(Some("gzip"), None));
        assert!(asks(Some("zstd,gzip,identity"), None));
        assert!(asks(Some("identity, deflate, gzip"), Some("gzip")));
        for (accept, encoding) in [
            (None, None),
            (Some("identity,deflate,gzip"), None),
            (Some("deflate"), None),
            (Some("identity,gzip"), Some("identity")),
            (None, Some("gzip")),
            (Some("identity"), Some("gzip")),
        ] {
            assert!(!asks(accept, encoding), "{accept:?} {encoding:?}");
        }
    }

    #[test]
    fn deadlines_are_read_as_grpc_writes_them() {
        assert_eq!(parsed("1S"), Some(Duration::from_secs(1)));
        assert_eq!(
            parsed("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        assert_eq!(parsed("250m"), Some(Duration::from_millis(250)));
        for malformed in ["", "S", "1", "1s", "-1S", "+1S", "123456789S", "1 S", "é"] {
            assert_eq!(parsed(malformed), None, "{malformed:?}");
        }
    }
}
