//! What the protocol's library calls: tools are listed, and called.

use std::convert::Infallible;
use std::rc::Rc;
use std::time::Duration;

use prn_client::StartSpec;
use rmcp::handler::server::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ErrorData, Implementation, JsonObject,
    ListToolsResult, PaginatedRequestParams, ProgressNotificationParam, ProgressToken,
    ServerCapabilities, ServerConfig,
};
use rmcp::service::{Peer, RequestContext, RoleServer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use crate::calls::act;
use crate::calls::fault::Fault;
use crate::calls::parsed::Parsed;
use crate::calls::requests::{List, One, Output, Running, Wait};
use crate::calls::session::Session;
use crate::calls::spec::Spec;
use crate::mcp::files;
use crate::mcp::keeper::Keeper;
use crate::mcp::tools::{ALWAYS_SHOWN, Name, Offer};

/// How long a wait is, unless it is said.
const WAIT: Duration = Duration::from_secs(30);

/// How long a wait is, whatever is said: agents give up on a tool that does not answer.
const WAIT_MAX: Duration = Duration::from_secs(600);

/// How often an agent is told that a tool is still at work.
const PROGRESS: Duration = Duration::from_secs(1);

/// Most processes in a list, unless it is said.
const LIST_MAX: usize = 50;

/// Most processes in a list, whatever is said: there is more then.
const LIST_CEILING: usize = 1000;

/// Most bytes of output in an answer, whatever is said: the rest is read from next_offset on.
const OUTPUT_CEILING: u64 = 8 << 20;

/// What an agent is told of all tools together.
const INSTRUCTIONS: &str = "Runs commands on a remote Linux machine. run is for commands that end soon, start for others. Every answer is bounded: where truncated is true, ask for the rest from next_offset. An error has a message, and next says what to do. A process is named by its id, the beginning of it, or its name.";

/// An agent's way to a server.
#[derive(Debug)]
pub struct Server {
    session: Rc<Session>,
    keeper: Rc<Keeper>,
    offer: Offer,
}

impl Server {
    /// With these tools.
    pub fn new(session: Rc<Session>, keeper: Rc<Keeper>, offer: Offer) -> Self {
        Self {
            session,
            keeper,
            offer,
        }
    }

    async fn call(&self, tool: Name, arguments: JsonObject) -> Result<Value, Fault> {
        let (session, keeper) = (&*self.session, &*self.keeper);
        let given = Value::Object(arguments);
        match tool {
            Name::Run => self.run(given).await,
            Name::Start => {
                let spec = self.marked(read(given)?)?;
                let started = act::start(session, &spec).await?;
                keeper.keep(started.process.id, &spec);
                shown(started)
            }
            Name::Status => {
                let One { process } = read(given)?;
                shown(act::status(session, &process).await?)
            }
            Name::List => {
                let mut list: List = read(given)?;
                list.limit = Some(list.limit.unwrap_or(LIST_MAX).min(LIST_CEILING));
                shown(act::list(session, &list).await?)
            }
            Name::Output => {
                let mut output: Output = read(given)?;
                output.wait = output.wait.map(|wait| bounded(Some(wait)));
                output.max_bytes = output.max_bytes.map(|most| most.min(OUTPUT_CEILING));
                shown(act::output(session, &output).await?)
            }
            Name::Wait => {
                let mut wait: Wait = read(given)?;
                wait.timeout = Some(bounded(wait.timeout));
                shown(act::wait(session, &wait).await?)
            }
            Name::Stop => shown(act::stop(session, &read(given)?).await?),
            Name::Signal => shown(act::signal(session, &read(given)?).await?),
            Name::ReadFile => shown(files::read(session, keeper, &read(given)?).await?),
            Name::WriteFile => shown(files::write(session, keeper, read(given)?).await?),
            Name::ListFiles => shown(files::list(session, keeper, &read(given)?).await?),
        }
    }

    async fn run(&self, mut given: Value) -> Result<Value, Fault> {
        let mut how = JsonObject::new();
        if let Some(arguments) = given.as_object_mut() {
            for field in ["wait", "max_bytes", "input"] {
                how.extend(arguments.remove_entry(field));
            }
        }
        let mut how: Running = read(Value::Object(how))?;
        how.wait = Some(bounded(how.wait));
        how.max_bytes = how.max_bytes.map(|most| most.min(OUTPUT_CEILING));
        let spec = self.marked(read(given)?)?;
        let keep = |id| self.keeper.keep(id, &spec);
        shown(act::run(&self.session, spec.clone(), how, keep).await?)
    }

    fn marked(&self, spec: Spec) -> Result<StartSpec, Fault> {
        let mut spec = spec.start()?;
        self.keeper.mark(&mut spec);
        Ok(spec)
    }
}

/// Tells an agent that asked for it that a tool is still at work: for how many seconds by now.
async fn tell_progress(agent: &Peer<RoleServer>, token: Option<ProgressToken>) -> Infallible {
    let Some(token) = token else {
        return std::future::pending().await;
    };
    let begun = Instant::now();
    loop {
        tokio::time::sleep(PROGRESS).await;
        let seconds = begun.elapsed().as_secs_f64();
        let progress = ProgressNotificationParam::new(token.clone(), seconds);
        // One that has gone is told of nothing more, and of that the answer's way says so.
        drop(agent.notify_progress(progress).await);
    }
}

fn bounded(wait: Option<Parsed<Duration>>) -> Parsed<Duration> {
    Parsed(wait.map_or(WAIT, |Parsed(wait)| wait.min(WAIT_MAX)))
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, Fault> {
    serde_json::from_value(value).map_err(Fault::malformed)
}

/// Without what says nothing: an agent has room for so much.
fn shown(value: impl Serialize) -> Result<Value, Fault> {
    let mut value = serde_json::to_value(value)
        .map_err(|error| Fault::failed(error, "report this as a bug of prn"))?;
    thin(&mut value);
    Ok(value)
}

fn thin(value: &mut Value) {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    };
    match value {
        Value::Object(all) => {
            all.values_mut().for_each(thin);
            all.retain(|name, value| ALWAYS_SHOWN.contains(&name.as_str()) || !is_empty(value));
        }
        Value::Array(all) => all.iter_mut().for_each(thin),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().build();
        ServerConfig::new(capabilities)
            .with_server_info(Implementation::new("prn", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(self.offer.tools()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = self.offer.find(&request.name) else {
            let names: Vec<_> = self.offer.names().map(Name::text).collect();
            let why = format!(
                "there is no tool {}: {} are there",
                request.name,
                names.join(", ")
            );
            return Err(ErrorData::invalid_params(why, None));
        };
        let arguments = request.arguments.unwrap_or_default();
        let token = context.meta.get_progress_token();
        let result = tokio::select! {
            result = self.call(tool, arguments) => result,
            never = tell_progress(&context.peer, token) => match never {},
            // Nobody waits for the answer any more.
            () = context.ct.cancelled() => Err(Fault::malformed("it was cancelled")),
        };
        Ok(match result {
            Ok(value) => CallToolResult::structured(value),
            Err(fault) => {
                let value = serde_json::to_value(&fault).unwrap_or_default();
                CallToolResult::structured_error(value)
            }
        }
        .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_says_nothing_is_left_out() {
        let mut value = json!({"a": null, "b": [], "c": {"d": null}, "e": [{"f": {}, "g": 0}], "output": [], "h": false});
        thin(&mut value);
        assert_eq!(value, json!({"e": [{"g": 0}], "output": [], "h": false}));
    }
}
