//! One authenticated connection: HTTP/2 and nothing else.

pub mod calls;
mod stream;

use std::convert::Infallible;
use std::pin::pin;
use std::task::Context;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prn_ipc_protocol::types::UnixMicros;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio_rustls::server::TlsStream;
use tonic::Status;

use crate::access::{Access, LOOK};
use crate::clients::Certified;
use crate::connection::calls::{Calls, Spawner};
use crate::envelope::Envelope;
use crate::input::intake::Intake;
use crate::input::streams::{Inputs, STREAM_WINDOW, WINDOW};

// Each limit is set here, whatever hyper's and h2's defaults are or become.

/// Largest frame taken: a message of input with 64 KiB of data fills one, and leaves no few bytes
/// for another. The frames sent are as large as the client takes them.
const FRAME: u32 = 65 * 1024;
/// Most bytes of a stream that wait here for the socket: two chunks of output.
const SEND_BUFFER: usize = 128 * 1024;
/// Most bytes in a request's headers, decoded (RFC 9113, section 6.5.2): gRPC's own take a few
/// hundred. One request over it is refused (431), and one that decodes to four times of it, an
/// HPACK bomb, ends the connection. It also bounds CONTINUATION (CVE-2024-27316): h2 takes as many
/// frames as such a list fills, five at least.
const HEADERS: u32 = 8 * 1024;
/// What a client's header compression can make this server remember (RFC 7541, section 4.2):
/// HTTP/2's default.
const HEADER_TABLE: u32 = 4096;
/// Most streams that the peer has reset before they were accepted (CVE-2023-44487). An honest
/// client cancels calls that it has waited for, and those were accepted long before.
const PENDING_RESETS: usize = 20;
/// Most streams reset for errors of the peer, over the connection's life (RUSTSEC-2024-0003,
/// CVE-2025-8671). gRPC clients make next to none, but a connection may live for months.
const LOCAL_RESETS: usize = 1024;

/// What streams get to end when their connection has reached its age.
const AGE_GRACE: Duration = Duration::from_secs(10);

/// What streams get to tell a client that it may do nothing any more. One that takes nothing is not
/// to hold anything for longer.
const OVER_GRACE: Duration = Duration::from_secs(1);

/// What a client that has just connected gets to ask for something when this server goes: it would
/// have to connect again.
const FIRST_CALL: Duration = Duration::from_millis(250);

/// How much and how long a connection serves.
#[derive(Debug, Clone, Copy)]
pub struct Life {
    /// Most calls at one time. A stream above it is reset (REFUSED_STREAM), and SETTINGS tells the
    /// client before.
    pub streams_max: u32,
    /// When it takes no calls any more.
    pub age_max: Option<Duration>,
}

/// Serves until the client closes, or until `closing` or its age says so and what is under way has
/// ended; or until the client may do nothing any more or its certificate has ended, and it has had
/// a second to hear of it.
///
/// Without keep-alive pings: the kernel finds dead peers (see [`crate::acceptor`]), and an idle
/// connection has no timer but that of its age.
///
/// # Errors
/// The connection failed, or the peer broke HTTP/2.
pub async fn serve(
    stream: TlsStream<TcpStream>,
    client: Certified,
    calls: Envelope,
    life: Life,
    mut closing: watch::Receiver<bool>,
) -> hyper::Result<()> {
    // Dropped after the connection, and with what is left of the calls when that has ended.
    let (stream, outgoing) = stream::split(stream);
    let (inputs, arrived) = (Inputs::new(), stream.arrived());
    let asked = watch::Sender::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        asked.send_replace(true);
        let mut request = request.map(|body| Intake::new(body, arrived.clone()));
        let gauge = request.body().gauge();
        request.extensions_mut().insert(gauge);
        request.extensions_mut().insert(inputs.clone());
        calls.clone().call(client.clone(), request)
    });
    let mut running = Calls::new(|context: &mut Context<'_>| outgoing.flush(context));
    let http = http(life.streams_max, running.spawner());
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let end = tokio::select! {
        ended = running.run_beside(connection.as_mut()) => return ended,
        // The sender lives as long as the process.
        _ = closing.wait_for(|closing| *closing) => None,
        () = aged(life.age_max) => Some(AGE_GRACE),
        () = over(&client.client.access) => Some(OVER_GRACE),
        () = expired(client.not_after) => Some(OVER_GRACE),
    };
    if end.is_none() {
        let mut asked = asked.subscribe();
        tokio::select! {
            ended = running.run_beside(connection.as_mut()) => return ended,
            _ = asked.wait_for(|asked| *asked) => {}
            () = tokio::time::sleep(FIRST_CALL) => {}
        }
    }
    connection.as_mut().graceful_shutdown();
    let ended = running.run_beside(connection);
    match end {
        None => ended.await,
        // What is still under way then is cut off, and goes on at its offset on a new connection.
        Some(grace) => tokio::time::timeout(grace, ended).await.unwrap_or(Ok(())),
    }
}

/// Answers the first call, and whatever comes with it, with an error, and ends.
///
/// # Errors
/// As [`serve`].
pub async fn refuse(
    stream: TlsStream<TcpStream>,
    calls: &Envelope,
    status: &Status,
) -> hyper::Result<()> {
    let told = Notify::new();
    let service = service_fn(|_unread| {
        told.notify_one();
        std::future::ready(Ok::<_, Infallible>(calls.refuse(status)))
    });
    let (stream, outgoing) = stream::split(stream);
    let mut running = Calls::new(|context: &mut Context<'_>| outgoing.flush(context));
    let mut connection =
        pin!(http(1, running.spawner()).serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = running.run_beside(connection.as_mut()) => return ended,
        () = told.notified() => {}
    }
    connection.as_mut().graceful_shutdown();
    running.run_beside(connection).await
}

fn http(streams_max: u32, calls: Spawner) -> http2::Builder<Spawner> {
    let mut http = http2::Builder::new(calls);
    http.max_concurrent_streams(streams_max)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(WINDOW)
        .adaptive_window(false)
        .max_frame_size(FRAME)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(HEADERS)
        .header_table_size(HEADER_TABLE)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .keep_alive_interval(None)
        .auto_date_header(false);
    http
}

/// Returns when a client may do nothing any more. One that comes after that is refused call by
/// call, for as long as it gets to ask for something.
async fn over(access: &Access) {
    if access.role().is_err() {
        tokio::time::sleep(AGE_GRACE).await;
    }
    access.over().await;
}

/// Returns when the client's certificate has ended: it is valid to the end of its last second. One
/// that lives for an hour lets nobody in for a day.
async fn expired(not_after: Option<UnixMicros>) {
    const SECOND: u64 = 1_000_000;
    let Some(end) = not_after.map(|end| end.0.saturating_add(SECOND)) else {
        return std::future::pending().await;
    };
    loop {
        let left = end.saturating_sub(UnixMicros::now().0);
        if left == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_micros(left).min(LOOK)).await;
    }
}

async fn aged(age_max: Option<Duration>) {
    match age_max {
        Some(age) => tokio::time::sleep(age).await,
        None => std::future::pending().await,
    }
}
