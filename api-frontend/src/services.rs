//! The services that a connection's calls go to, by their paths: the API, gRPC's health checking,
//! and, where the configuration says so, server reflection, which tells the API's schema.

use std::convert::Infallible;
use std::sync::Arc;

use hyper::{Request, Response};
use prn_api_frontend::log;
use prn_proto::SCHEMA;
use prn_proto::v1::process_runner_service_server::ProcessRunnerServiceServer;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::codegen::Service as _;
use tonic_health::pb::FILE_DESCRIPTOR_SET;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::Builder;
use tower::util::BoxCloneSyncService;

use crate::calls::health::HealthCalls;
use crate::calls::server::Server;
use crate::clients::Certified;
use crate::errors;
use crate::held::Held;
use crate::service::{REQUEST_MAX, Service};

/// Where the calls of the other services are.
const HEALTH: &str = "/grpc.health.v1.Health/";
const REFLECTION: &str = "/grpc.reflection.v1.";
/// The same as it was called before, which many programs ask for.
const REFLECTION_ALPHA: &str = "/grpc.reflection.v1alpha.";

/// Most bytes of a request to these: the name of a service, or of something in the schema.
const NAME_MAX: usize = 4 * 1024;

type Reflection = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

/// All services.
#[derive(Debug, Clone)]
pub struct Services {
    api: ProcessRunnerServiceServer<Service>,
    health: HealthServer<HealthCalls>,
    reflection: Option<Reflections>,
    server: Arc<Server>,
}

/// What tells the schema, in both versions of that.
#[derive(Debug, Clone)]
struct Reflections {
    current: Reflection,
    alpha: Reflection,
}

impl Services {
    /// Of this server.
    pub fn new(server: &Arc<Server>, reflects: bool) -> Self {
        let api = ProcessRunnerServiceServer::new(Service::new(Arc::clone(server)))
            .max_decoding_message_size(REQUEST_MAX)
            .send_compressed(CompressionEncoding::Zstd)
            .send_compressed(CompressionEncoding::Gzip)
            // A request of zstd would choose how much memory its decompression takes, 128 MiB of it
            // at most.
            .accept_compressed(CompressionEncoding::Gzip);
        let health = HealthCalls::new(Arc::clone(server));
        Self {
            api,
            health: HealthServer::new(health).max_decoding_message_size(NAME_MAX),
            reflection: reflects.then(reflection).flatten(),
            server: Arc::clone(server),
        }
    }

    /// Does what a call asks for.
    ///
    /// # Errors
    /// Never.
    pub async fn call(&mut self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let path = request.uri().path();
        match &mut self.reflection {
            _ if path.starts_with(HEALTH) => self.health.call(request).await,
            Some(all) if path.starts_with(REFLECTION) => {
                reflect(&self.server, &mut all.current, request).await
            }
            Some(all) if path.starts_with(REFLECTION_ALPHA) => {
                reflect(&self.server, &mut all.alpha, request).await
            }
            Some(_) | None => self.api.call(request).await,
        }
    }
}

/// Such a call is a stream that lasts: one of its client's watches.
async fn reflect(
    server: &Server,
    service: &mut Reflection,
    request: Request<Body>,
) -> Result<Response<Body>, Infallible> {
    let Some(certified) = request.extensions().get::<Certified>() else {
        return Ok(errors::internal().into_http());
    };
    let number = certified.client.number;
    match server.watches.enter(number, number) {
        Ok(slot) => {
            let response = service.call(request).await?;
            Ok(response.map(|body| Body::new(Held::new(body, slot))))
        }
        Err(full) => Ok(errors::too_many_watches(full).into_http()),
    }
}

/// `None`: the schema that was built in is none, which a test would have found.
fn reflection() -> Option<Reflections> {
    let both = made().inspect_err(|error| {
        log::error(format_args!("the schema cannot be told: {error}"), &[]);
    });
    both.ok()
}

fn made() -> Result<Reflections, tonic_reflection::server::Error> {
    let known = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(SCHEMA)
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
    };
    let current = known().build_v1()?.max_decoding_message_size(NAME_MAX);
    let alpha = known().build_v1alpha()?.max_decoding_message_size(NAME_MAX);
    Ok(Reflections {
        current: BoxCloneSyncService::new(current),
        alpha: BoxCloneSyncService::new(alpha),
    })
}
