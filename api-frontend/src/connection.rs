//! One authenticated connection: HTTP/2 and nothing else.

use std::pin::pin;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::server::TlsStream;

use crate::envelope::Envelope;

/// What a client may have under way towards this server, for a stream and for a connection. Requests are small.
const WINDOW: u32 = 1024 * 1024;
/// Largest frame taken. The frames sent are as large as the client takes them.
const FRAME: u32 = 64 * 1024;
/// Most bytes of a stream that wait here for the socket: two chunks of output.
const SEND_BUFFER: usize = 128 * 1024;
/// Most bytes in a request's headers. gRPC's own take a few hundred.
const HEADERS: u32 = 8 * 1024;
/// Most streams that the peer has reset before they were accepted (CVE-2023-44487); h2's default, pinned here.
const PENDING_RESETS: usize = 20;
/// Most streams reset for errors of the peer before the connection is closed (RUSTSEC-2024-0003); hyper's default.
const LOCAL_RESETS: usize = 1024;

/// Serves until the client closes, or until `closing` says so and what is under way has ended.
///
/// Without keep-alive pings: the kernel finds dead peers (see [`crate::acceptor`]), and an idle connection has no timer.
///
/// # Errors
/// The connection failed, or the peer broke HTTP/2.
pub async fn serve(
    stream: TlsStream<TcpStream>,
    calls: Envelope,
    streams_max: u32,
    mut closing: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let mut http = http2::Builder::new(TokioExecutor::new());
    http.max_concurrent_streams(streams_max)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(FRAME)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(HEADERS)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .auto_date_header(false);
    let service = service_fn(|request| calls.clone().call(request));
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = connection.as_mut() => return ended,
        // The sender lives as long as the process.
        _ = closing.wait_for(|closing| *closing) => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}
