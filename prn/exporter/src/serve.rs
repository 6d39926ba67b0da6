//! The port: `/metrics` for Prometheus.
//!
//! A few connections at a time, one request each, which has to come at once. Where there is no
//! place left, one that has said nothing goes first, and then one that does not read its answer.
//! Who asks gets the text in the form that they take.

use std::cell::Cell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::rc::Rc;
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
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use crate::listen::{Listener, Stream};
use crate::scrape::Scraper;

/// Most connections at a time. Those above wait in the listener's queue.
const CONNECTIONS_MAX: usize = 16;
/// Time for a request.
const REQUEST_TIME: Duration = Duration::from_secs(1);
/// Time for reading the answer.
const READING_TIME: Duration = Duration::from_secs(10);
/// How long to wait where no connection can be accepted for want of descriptors.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Where it says what is here.
const PAGE: &str = "prn-exporter: the metrics are at /metrics\n";

/// Serves for ever.
pub async fn run(listener: Listener, scraper: Arc<Scraper>) -> Infallible {
    let mut guests = Guests::default();
    loop {
        let Ok(stream) = listener.accept().await else {
            tokio::time::sleep(BACK_OFF).await;
            continue;
        };
        guests.make_room().await;
        guests.serve(stream, Arc::clone(&scraper));
        // What it has sent already is read before another one comes.
        tokio::task::yield_now().await;
    }
}

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// It has sent no whole request.
    Silent,
    /// It waits for its answer, which comes within a bounded time.
    Waits,
    /// It has its answer to read.
    Answered,
}

/// What a connection shares with what may push it out.
struct Progress {
    step: Cell<Step>,
    /// Wakes the clock of its own.
    is_answered: Notify,
    /// Wakes what waits for a place.
    some: Rc<Notify>,
}

impl Progress {
    fn answered(&self) {
        self.step.set(Step::Answered);
        self.is_answered.notify_one();
        self.some.notify_one();
    }
}

struct Guest {
    progress: Rc<Progress>,
    task: AbortHandle,
}

/// The connections, the oldest first.
#[derive(Default)]
struct Guests {
    all: VecDeque<Guest>,
    tasks: JoinSet<()>,
    some: Rc<Notify>,
}

impl Guests {
    /// Returns when there is a place.
    async fn make_room(&mut self) {
        loop {
            while self.tasks.try_join_next().is_some() {}
            self.all.retain(|guest| !guest.task.is_finished());
            if self.all.len() < CONNECTIONS_MAX {
                return;
            }
            let oldest = |step| {
                let mut guests = self.all.iter();
                guests.position(|guest| guest.progress.step.get() == step)
            };
            let place = oldest(Step::Silent).or_else(|| oldest(Step::Answered));
            match place.and_then(|place| self.all.remove(place)) {
                Some(guest) => guest.task.abort(),
                None => {
                    tokio::select! {
                        _ = self.tasks.join_next() => {}
                        () = self.some.notified() => {}
                    }
                }
            }
        }
    }

    fn serve(&mut self, stream: Stream, scraper: Arc<Scraper>) {
        let progress = Rc::new(Progress {
            step: Cell::new(Step::Silent),
            is_answered: Notify::new(),
            some: Rc::clone(&self.some),
        });
        let its = Rc::clone(&progress);
        let task = self.tasks.spawn_local(async move {
            tokio::select! {
                () = async {
                    match stream {
                        Stream::Tcp(stream) => connection(stream, &scraper, &its).await,
                        Stream::Unix(stream) => connection(stream, &scraper, &its).await,
                    }
                } => {}
                () = async {
                    its.is_answered.notified().await;
                    tokio::time::sleep(READING_TIME).await;
                } => {}
            }
        });
        self.all.push_back(Guest { progress, task });
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    scraper: &Arc<Scraper>,
    progress: &Rc<Progress>,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let (scraper, progress) = (Arc::clone(scraper), Rc::clone(progress));
        async move {
            progress.step.set(Step::Waits);
            let answer = answer(&request, &scraper).await;
            progress.answered();
            Ok::<_, Infallible>(answer)
        }
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

async fn answer(request: &Request<Incoming>, scraper: &Arc<Scraper>) -> Response<Full<Bytes>> {
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
            let text = text(scraper.families().await.as_slice(), form);
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
