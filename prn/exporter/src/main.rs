//! `prn-exporter`: what a prn server does, for Prometheus and OpenTelemetry.
//!
//! An ordinary client: unprivileged, with a certificate of its own, of a role that only lists. It
//! trusts the server as any client does, and of those who ask on its port nothing: they get the
//! same page, one at a time, within a bounded time.
//!
//! [`run`] is the order of the start.

mod collector;
mod link;
mod listen;
mod options;
mod otlp;
mod processes;
mod scrape;
mod serve;
mod settings;
mod spans;

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use prn_client::credentials::CredentialsError;
use prn_service::log;
use tokio::signal::unix::{SignalKind, signal};

use crate::link::Link;
use crate::listen::{Listen, Listener};
use crate::options::Options;
use crate::otlp::Pusher;
use crate::scrape::Scraper;

/// Why the exporter ends.
#[derive(Debug, thiserror::Error)]
enum Fatal {
    /// The command line or the environment lacks something.
    #[error("{0}")]
    Options(String),
    /// What prn hands over cannot be read.
    #[error("cannot read the settings that prn hands over ({})", settings::FLAG)]
    Settings(#[source] io::Error),
    /// A certificate or the key is refused.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// The port cannot be had.
    #[error("cannot listen on {0} (--listen)")]
    Listen(Listen, #[source] io::Error),
    /// The runtime or a signal handler cannot be made.
    #[error("a local operation failed")]
    Local(#[from] io::Error),
}

fn main() -> ExitCode {
    log::of("prn-exporter");
    let code = match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fatal) => {
            log::error(&fatal);
            ExitCode::FAILURE
        }
    };
    log::finish();
    code
}

fn run() -> Result<(), Fatal> {
    let options = Options::parse_from(settings::words().map_err(Fatal::Settings)?);
    let options = Arc::new(options);
    options.check().map_err(Fatal::Options)?;
    let credentials = options.credentials()?;
    let link = Arc::new(Link::new(Arc::clone(&options), credentials));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, export(&options, link))
}

/// Serves until a signal ends it.
async fn export(options: &Options, link: Arc<Link>) -> Result<(), Fatal> {
    let listener = Listener::bind(&options.listen).await;
    let listener = listener.map_err(|error| Fatal::Listen(options.listen.clone(), error))?;
    log::line(format_args!("Listening on {}", listener.at()?));
    let scraper = Arc::new(Scraper::new(Arc::clone(&link), options));
    let pushing = async {
        match &options.otlp {
            Some(collector) => {
                let (link, scraper) = (Arc::clone(&link), Arc::clone(&scraper));
                let server = options.address.clone();
                Pusher::new(link, scraper, collector, server, options.otlp_interval)
                    .run()
                    .await;
            }
            None => std::future::pending().await,
        }
    };
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        never = serve::run(listener, Arc::clone(&scraper)) => match never {},
        () = pushing => Ok(()),
        _ = term.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}
