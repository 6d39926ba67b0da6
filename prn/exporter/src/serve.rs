//! The port: `/metrics` for Prometheus.
//!
//! A few connections at a time, one request each, which has to come at once. Who asks gets the text in
//! the form that they take.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prn_proto::metrics::{Form, text};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::scrape::Scraper;

/// Most connections at a time. Those above wait in the listener's queue.
const CONNECTIONS_MAX: usize = 16;
/// Time for a request.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// Time for all of a connection: the answer's own is shorter.
const CONNECTION_TIME: Duration = Duration::from_secs(120);
/// How long to wait where no connection can be accepted for want of descriptors.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Where it says what is here.
const PAGE: &str = "prn-exporter: the metrics are at /metrics\n";

/// Serves for ever.
pub async fn run(listener: TcpListener, scraper: Arc<Scraper>) -> Infallible {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // It is never closed.
        let place = Arc::clone(&places).acquire_owned().await;
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(BACK_OFF).await;
            continue;
        };
        let scraper = Arc::clone(&scraper);
        drop(tokio::task::spawn_local(async move {
            let _place = place;
            drop(tokio::time::timeout(CONNECTION_TIME, connection(stream, &scraper)).await);
        }));
    }
}

async fn connection(stream: TcpStream, scraper: &Arc<Scraper>) {
    let service = service_fn(|request: Request<Incoming>| {
        let scraper = Arc::clone(scraper);
        async move { Ok::<_, Infallible>(answer(&request, &scraper).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIME)
        .keep_alive(false)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    // How it ends is the other side's affair.
    drop(served.await);
}

async fn answer(request: &Request<Incoming>, scraper: &Scraper) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = plain("GET alone\n");
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => {
            let form = form(request.headers().get(ACCEPT));
            let text = text(&scraper.families().await, form);
            let mut response = Response::new(Full::new(Bytes::from(text)));
            let media_type = HeaderValue::from_static(form.media_type());
            response.headers_mut().insert(CONTENT_TYPE, media_type);
            response
        }
        "/" => plain(PAGE),
        _ => {
            let mut response = plain(PAGE);
            *response.status_mut() = StatusCode::NOT_FOUND;
            response
        }
    }
}

fn plain(text: &'static str) -> Response<Full<Bytes>> {
    Response::new(Full::new(Bytes::from_static(text.as_bytes())))
}

/// The form that is taken.
fn form(accept: Option<&HeaderValue>) -> Form {
    let accept = accept.and_then(|accept| accept.to_str().ok());
    match accept.is_some_and(|accept| accept.contains("application/openmetrics-text")) {
        true => Form::OpenMetrics,
        false => Form::Plain,
    }
}
