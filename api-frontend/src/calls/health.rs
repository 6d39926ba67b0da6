//! gRPC health checking (github.com/grpc/grpc, doc/health-checking.md): whether the server takes
//! calls.
//!
//! Any client that is let in may ask, whatever its role. Of a server that shuts down, and of a
//! frontend that another one replaces, it is NOT_SERVING. A watch is one of a client's watches, of
//! which there are so many.

use std::sync::Arc;

use futures_util::stream::unfold;
use prn_proto::v1::process_runner_service_server::SERVICE_NAME;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::access::{Sent, until_over};
use crate::calls::server::Server;
use crate::errors;
use crate::quota::{ClientNumber, Slot};
use crate::service::client;

/// The calls.
#[derive(Debug)]
pub struct HealthCalls(Arc<Server>);

impl HealthCalls {
    /// Of this server.
    pub fn new(server: Arc<Server>) -> Self {
        Self(server)
    }
}

/// The server as a whole, or its one service.
fn is_known(service: &str) -> bool {
    service.is_empty() || service == SERVICE_NAME
}

fn status(server: &Server) -> ServingStatus {
    if server.mirror.draining() || server.supervisor.has_been_replaced() {
        ServingStatus::NotServing
    } else {
        ServingStatus::Serving
    }
}

fn said(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[tonic::async_trait]
impl Health for HealthCalls {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = &request.get_ref().service;
        if !is_known(service) {
            return Err(errors::no_service(service));
        }
        Ok(Response::new(said(status(&self.0))))
    }

    type WatchStream = Sent<HealthCheckResponse>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let client = client(&request)?;
        let slot = self.0.watches.enter(client.number, client.number);
        let watching = Watching {
            server: Arc::clone(&self.0),
            is_known: is_known(&request.get_ref().service),
            told: None,
            is_closed: false,
            is_over: false,
            _slot: slot.map_err(errors::too_many_watches)?,
        };
        let changes = unfold(watching, |mut watching| async {
            let message = watching.next().await?;
            Some((message, watching))
        });
        let changes = until_over(Box::pin(changes), &client.access);
        Ok(Response::new(changes))
    }
}

struct Watching {
    server: Arc<Server>,
    is_known: bool,
    told: Option<ServingStatus>,
    /// The supervisor says nothing more, or another frontend comes.
    is_closed: bool,
    is_over: bool,
    _slot: Slot<ClientNumber>,
}

impl Watching {
    async fn next(&mut self) -> Option<Result<HealthCheckResponse, Status>> {
        while !self.is_over {
            let status = match (self.is_known, self.is_closed) {
                (false, _) => ServingStatus::ServiceUnknown,
                (true, true) => ServingStatus::NotServing,
                (true, false) => status(&self.server),
            };
            if self.told != Some(status) {
                self.told = Some(status);
                return Some(Ok(said(status)));
            }
            if self.is_closed {
                self.is_over = true;
                return Some(Err(self.server.gone()));
            }
            let mirror = &self.server.mirror;
            tokio::select! {
                () = mirror.drained(), if !mirror.draining() => {}
                () = self.server.supervisor.closed() => self.is_closed = true,
            }
        }
        None
    }
}
