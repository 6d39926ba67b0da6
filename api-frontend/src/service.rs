//! The service as the generated code calls it: [`crate::calls`] does what is asked for.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{empty, once};
use hyper::HeaderMap;
use prn_ipc_protocol::types::ARGUMENTS_MAX;
use prn_proto::traceparent::TRACEPARENT;
use prn_proto::v1;
use prn_proto::v1::process_runner_service_server::ProcessRunnerService;
use tonic::{Request, Response, Status, Streaming};

use crate::calls::server::Server;
use crate::calls::subscribe::Opened;
use crate::calls::{
    access, describe, input, list, metrics, receipt, remove, resize, signal, start, status, stop,
    subscribe, update, usage, wait, watch, workspaces,
};
use crate::clients::{Certified, Client};
use crate::errors;
use crate::input::intake::Gauge;
use crate::input::streams::Inputs;
use crate::outgoing::{ACCEPT_ENCODING, response};
use crate::subscribe::body::{Frames, Handed};

/// Most bytes in a request message. An argument of one byte takes three here and two in
/// [`ARGUMENTS_MAX`], an empty one two and one: what that limit allows is refused by name and not
/// for its size.
pub const REQUEST_MAX: usize = 2 * ARGUMENTS_MAX + 64 * 1024;

/// The service.
#[derive(Debug)]
pub struct Service(Arc<Server>);

impl Service {
    /// Of this server.
    pub fn new(server: Arc<Server>) -> Self {
        Self(server)
    }
}

/// Whose call it is: [`crate::envelope`] has said so.
fn certified<T>(request: &Request<T>) -> Result<Certified, Status> {
    let certified = request.extensions().get::<Certified>();
    certified.cloned().ok_or_else(errors::internal)
}

/// The same, as a principal.
///
/// # Errors
/// As [`certified`].
pub fn client<T>(request: &Request<T>) -> Result<Arc<Client>, Status> {
    certified(request).map(|certified| certified.client)
}

/// Those of its connection: [`crate::connection`] has said so.
fn inputs<T>(request: &Request<T>) -> Result<&Inputs, Status> {
    let inputs = request.extensions().get();
    inputs.ok_or_else(errors::internal)
}

/// Of its request: [`crate::connection`] has said so.
fn gauge<T>(request: &Request<T>) -> Result<Gauge, Status> {
    let gauge = request.extensions().get::<Gauge>();
    gauge.cloned().ok_or_else(errors::internal)
}

#[tonic::async_trait]
impl ProcessRunnerService for Service {
    async fn start(
        &self,
        request: Request<v1::StartRequest>,
    ) -> Result<Response<v1::StartResponse>, Status> {
        let client = client(&request)?;
        let caller = request.metadata().get(TRACEPARENT);
        let caller = caller.and_then(|caller| caller.to_str().ok()?.parse().ok());
        let request = start::traced(&self.0, request.into_inner(), caller);
        let started = start::start(&self.0, &client, request).await?;
        Ok(response(started, HeaderMap::new()))
    }

    async fn status(
        &self,
        request: Request<v1::StatusRequest>,
    ) -> Result<Response<v1::StatusResponse>, Status> {
        let client = client(&request)?;
        let status = status::status(&self.0, &client, request.into_inner())?;
        Ok(response(status, HeaderMap::new()))
    }

    async fn stop(
        &self,
        request: Request<v1::StopRequest>,
    ) -> Result<Response<v1::StopResponse>, Status> {
        let client = client(&request)?;
        let stopped = stop::stop(&self.0, &client, request.into_inner()).await?;
        Ok(response(stopped, HeaderMap::new()))
    }

    async fn list(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, Status> {
        let client = client(&request)?;
        let (list, trailers) = list::list(&self.0, &client, request.get_ref()).await?;
        Ok(response(list, trailers))
    }

    type GetOutputStream = Frames;

    async fn get_output(
        &self,
        request: Request<v1::GetOutputRequest>,
    ) -> Result<Response<Self::GetOutputStream>, Status> {
        let client = client(&request)?;
        let Opened { frames, sent } =
            subscribe::subscribe(&self.0, &client, request.get_ref()).await?;
        // What is compressed for each subscriber is no chunk that others could share.
        if request.metadata().contains_key(ACCEPT_ENCODING) {
            let told = once(async { sent() }).filter_map(async |()| None);
            return Ok(Response::new(Box::pin(frames.chain(told))));
        }
        let mut response = Response::<Frames>::new(Box::pin(empty()));
        response.extensions_mut().insert(Handed::new(frames, sent));
        Ok(response)
    }

    async fn send_input(
        &self,
        request: Request<Streaming<v1::SendInputRequest>>,
    ) -> Result<Response<v1::SendInputResponse>, Status> {
        let client = client(&request)?;
        let _entered = inputs(&request)?.enter()?;
        let gauge = gauge(&request)?;
        let sent = input::send_input(&self.0, &client, &gauge, request.into_inner()).await?;
        Ok(response(sent, HeaderMap::new()))
    }

    async fn resize_terminal(
        &self,
        request: Request<v1::ResizeTerminalRequest>,
    ) -> Result<Response<v1::ResizeTerminalResponse>, Status> {
        let client = client(&request)?;
        let resized = resize::resize_terminal(&self.0, &client, request.into_inner()).await?;
        Ok(response(resized, HeaderMap::new()))
    }

    async fn create_workspace(
        &self,
        request: Request<v1::CreateWorkspaceRequest>,
    ) -> Result<Response<v1::CreateWorkspaceResponse>, Status> {
        let client = client(&request)?;
        let created = workspaces::create_workspace(&self.0, &client, request.into_inner()).await?;
        Ok(response(created, HeaderMap::new()))
    }

    async fn list_workspaces(
        &self,
        request: Request<v1::ListWorkspacesRequest>,
    ) -> Result<Response<v1::ListWorkspacesResponse>, Status> {
        let client = client(&request)?;
        let list = workspaces::list_workspaces(&self.0, &client)?;
        Ok(response(list, HeaderMap::new()))
    }

    async fn remove_workspace(
        &self,
        request: Request<v1::RemoveWorkspaceRequest>,
    ) -> Result<Response<v1::RemoveWorkspaceResponse>, Status> {
        let client = client(&request)?;
        let removed = workspaces::remove_workspace(&self.0, &client, request.into_inner()).await?;
        Ok(response(removed, HeaderMap::new()))
    }

    async fn wait(
        &self,
        request: Request<v1::WaitRequest>,
    ) -> Result<Response<v1::WaitResponse>, Status> {
        let client = client(&request)?;
        let waited = wait::wait(&self.0, &client, request.into_inner()).await?;
        Ok(response(waited, HeaderMap::new()))
    }

    async fn signal_process(
        &self,
        request: Request<v1::SignalProcessRequest>,
    ) -> Result<Response<v1::SignalProcessResponse>, Status> {
        let client = client(&request)?;
        let sent = signal::signal_process(&self.0, &client, request.into_inner()).await?;
        Ok(response(sent, HeaderMap::new()))
    }

    async fn update_process(
        &self,
        request: Request<v1::UpdateProcessRequest>,
    ) -> Result<Response<v1::UpdateProcessResponse>, Status> {
        let client = client(&request)?;
        let updated = update::update_process(&self.0, &client, request.into_inner()).await?;
        Ok(response(updated, HeaderMap::new()))
    }

    async fn remove_process(
        &self,
        request: Request<v1::RemoveProcessRequest>,
    ) -> Result<Response<v1::RemoveProcessResponse>, Status> {
        let client = client(&request)?;
        let removed = remove::remove_process(&self.0, &client, request.into_inner()).await?;
        Ok(response(removed, HeaderMap::new()))
    }

    async fn get_usage(
        &self,
        request: Request<v1::GetUsageRequest>,
    ) -> Result<Response<v1::GetUsageResponse>, Status> {
        let client = client(&request)?;
        let usage = usage::get_usage(&self.0, &client, request.into_inner()).await?;
        Ok(response(usage, HeaderMap::new()))
    }

    async fn get_server(
        &self,
        request: Request<v1::GetServerRequest>,
    ) -> Result<Response<v1::GetServerResponse>, Status> {
        let Certified { client, not_after } = certified(&request)?;
        let described = describe::get_server(&self.0, &client, not_after);
        Ok(response(described, HeaderMap::new()))
    }

    async fn get_metrics(
        &self,
        request: Request<v1::GetMetricsRequest>,
    ) -> Result<Response<v1::GetMetricsResponse>, Status> {
        let client = client(&request)?;
        let metrics = metrics::get_metrics(&self.0, &client, request.into_inner())?;
        Ok(response(metrics, HeaderMap::new()))
    }

    async fn get_receipt(
        &self,
        request: Request<v1::GetReceiptRequest>,
    ) -> Result<Response<v1::GetReceiptResponse>, Status> {
        let client = client(&request)?;
        let receipt = receipt::get_receipt(&self.0, &client, request.into_inner()).await?;
        Ok(response(receipt, HeaderMap::new()))
    }

    async fn check_access(
        &self,
        request: Request<v1::CheckAccessRequest>,
    ) -> Result<Response<v1::CheckAccessResponse>, Status> {
        let client = client(&request)?;
        let checked = access::check_access(&self.0, &client, request.into_inner()).await?;
        Ok(response(checked, HeaderMap::new()))
    }

    type WatchStream = watch::Changes;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let client = client(&request)?;
        let changes = watch::watch(&self.0, &client, request.into_inner())?;
        Ok(Response::new(changes))
    }
}
