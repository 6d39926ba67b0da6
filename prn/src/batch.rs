//! Many calls over one connection: a request a line in, an answer a line out, as they are done.

use std::io;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use prn_client::Source;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use crate::calls::act;
use crate::calls::fault::Fault;
#[cfg(test)]
use crate::calls::requests::Change;
use crate::calls::requests::{List, One, Output, Running, Several, Signal, Stop, Wait};
use crate::calls::session::Session;
use crate::calls::spec::Spec;
use crate::interrupts::Interrupts;
use crate::output::{self, Chunk, Relay, json_line};

/// Most bytes of a request: the input of a run is in it.
const LINE_MAX: usize = 16 << 20;

/// How long answers are still written when a signal has asked prn to end.
const LEAVE: Duration = Duration::from_secs(1);

/// The calls that there are.
const CALLS: [&str; 10] = [
    "start", "run", "status", "list", "wait", "stop", "signal", "update", "output", "remove",
];

/// What is started.
#[derive(Debug, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Start {
    /// It
    spec: Spec,
}

/// A line that `prn batch` writes: the answer to one of its requests.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Answer {
    /// As the request has it.
    id: Value,
    #[serde(flatten)]
    outcome: Outcome,
}

#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// What the call answers.
    Result(#[cfg_attr(test, schemars(with = "schemas::Answered"))] Value),
    /// It has failed.
    #[serde(untagged)]
    Error {
        /// The number of its line, from 1.
        line: u64,
        /// Why.
        error: Fault,
    },
}

/// Answers all requests of `input`, up to `jobs` at a time, and says whether all went well.
///
/// # Errors
/// If they can't be read, or the answers not written.
pub async fn answer_all(
    session: &Session,
    input: impl AsyncBufRead + Unpin,
    jobs: usize,
) -> io::Result<bool> {
    let mut relay = Relay::start(Source::Stdout)?;
    let mut interrupts = Interrupts::take()?;
    let mut answering = Box::pin(answer(session, input, jobs, &relay));
    let answered = tokio::select! {
        biased;
        answered = &mut answering => Some(answered),
        () = relay.failed() => None,
        _ = interrupts.next() => {
            for line in session.lines_of_untold() {
                output::notice(&line);
            }
            drop(answering);
            // What has been answered; a reader who does not read is not waited for.
            return match tokio::time::timeout(LEAVE, relay.finish()).await {
                Ok(written) => written.map(|()| false),
                Err(_) => Ok(false),
            };
        }
    };
    drop(answering);
    // What stopped the writing comes before all else.
    relay.finish().await?;
    answered.unwrap_or(Ok(false))
}

async fn answer(
    session: &Session,
    input: impl AsyncBufRead + Unpin,
    jobs: usize,
    relay: &Relay,
) -> io::Result<bool> {
    let mut lines = Lines { input, number: 0 };
    let mut under_way = FuturesUnordered::new();
    let (mut is_well, mut is_over) = (true, false);
    let mut line = Box::pin(next(lines));
    loop {
        let has_room = !is_over && under_way.len() < jobs;
        tokio::select! {
            Some(answer) = under_way.next(), if !under_way.is_empty() => {
                is_well &= told(relay, &answer).await?;
            }
            (back, read) = &mut line, if has_room => {
                lines = back;
                let number = lines.number;
                match read? {
                    None => is_over = true,
                    Some(text) => under_way.push(one(session, number, text)),
                }
                line = Box::pin(next(lines));
            }
            else => return Ok(is_well),
        }
    }
}

/// Reads on where a read was left that another event came before.
async fn next<R: AsyncBufRead + Unpin>(
    mut lines: Lines<R>,
) -> (Lines<R>, io::Result<Option<Result<Vec<u8>, Fault>>>) {
    let read = lines.next().await;
    (lines, read)
}

/// Requests, one a line.
struct Lines<R> {
    input: R,
    number: u64,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// The next line with something in it; `None` after the last.
    async fn next(&mut self) -> io::Result<Option<Result<Vec<u8>, Fault>>> {
        loop {
            let mut line = Vec::new();
            let most = u64::try_from(LINE_MAX).unwrap_or(u64::MAX);
            (&mut self.input)
                .take(most)
                .read_until(b'\n', &mut line)
                .await?;
            if line.is_empty() {
                return Ok(None);
            }
            self.number += 1;
            if line.len() == LINE_MAX && line.last() != Some(&b'\n') {
                self.skip_line().await?;
                let why = format!("a request has at most {LINE_MAX} bytes");
                return Ok(Some(Err(Fault::malformed(why))));
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some(Ok(line)));
            }
        }
    }

    async fn skip_line(&mut self) -> io::Result<()> {
        loop {
            let part = self.input.fill_buf().await?;
            let end = part.iter().position(|byte| *byte == b'\n');
            let length = end.map_or(part.len(), |end| end + 1);
            let is_end = end.is_some() || part.is_empty();
            self.input.consume(length);
            if is_end {
                return Ok(());
            }
        }
    }
}

/// Writes an answer, and says whether it is that all went well.
async fn told(relay: &Relay, answer: &Answer) -> io::Result<bool> {
    let line = json_line(answer)?;
    if let Some(room) = relay.room().await {
        room.send(Chunk::Data(Source::Stdout, format!("{line}\n").into()));
    }
    Ok(matches!(answer.outcome, Outcome::Result(_)))
}

async fn one(session: &Session, line: u64, text: Result<Vec<u8>, Fault>) -> Answer {
    let parsed = text.and_then(|text| {
        serde_json::from_slice::<Map<String, Value>>(&text).map_err(Fault::malformed)
    });
    let (id, result) = match parsed {
        Err(fault) => (Value::Null, Err(fault)),
        Ok(mut request) => {
            let id = request.remove("id").unwrap_or_default();
            (id, call(session, request).await)
        }
    };
    let outcome = match result {
        Ok(value) => Outcome::Result(value),
        Err(error) => Outcome::Error { line, error },
    };
    Answer { id, outcome }
}

async fn call(session: &Session, mut request: Map<String, Value>) -> Result<Value, Fault> {
    let name = match request.remove("call") {
        Some(Value::String(name)) => name,
        _ => {
            return Err(Fault::invalid(
                "call",
                format!("say which: {}", CALLS.join(", ")),
            ));
        }
    };
    let request = Value::Object(request);
    match name.as_str() {
        "start" => {
            let Start { spec } = read(request)?;
            shown(act::start(session, &spec.start()?).await?)
        }
        "run" => {
            let (spec, how) = run(request)?;
            shown(act::run(session, spec.start()?, how, |_| ()).await?)
        }
        "status" => shown(act::status(session, &read::<One>(request)?.process).await?),
        "list" => shown(act::list(session, &read::<List>(request)?).await?),
        "wait" => shown(act::wait(session, &read::<Wait>(request)?).await?),
        "stop" => shown(act::stop(session, &read::<Stop>(request)?).await?),
        "signal" => shown(act::signal(session, &read::<Signal>(request)?).await?),
        "update" => shown(act::update(session, read(request)?).await?),
        "output" => shown(act::output(session, &read::<Output>(request)?).await?),
        "remove" => shown(act::remove(session, &read::<Several>(request)?).await?),
        other => {
            let why = format!("there is no {other:?}: {} are there", CALLS.join(", "));
            Err(Fault::invalid("call", why))
        }
    }
}

/// What to start, beside how it is waited for.
fn run(mut request: Value) -> Result<(Spec, Running), Fault> {
    let spec = request.as_object_mut().and_then(|all| all.remove("spec"));
    let spec = spec.ok_or_else(|| Fault::invalid("spec", "say what to start"))?;
    Ok((read(spec)?, read(request)?))
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, Fault> {
    serde_json::from_value(value).map_err(Fault::malformed)
}

fn shown(value: impl Serialize) -> Result<Value, Fault> {
    serde_json::to_value(value).map_err(|error| Fault::failed(error, "report this as a bug of prn"))
}

#[cfg(test)]
pub use schemas::requests;

#[cfg(test)]
mod schemas {
    use super::*;
    use crate::calls::act::{Listed, Ran, Signalled, Waited};
    use crate::lasting::excerpt::Excerpt;
    use prn_client::{Process, RemovedProcesses, Started};
    use schemars::{JsonSchema, SchemaGenerator};

    /// What calls answer.
    #[derive(JsonSchema)]
    #[serde(untagged)]
    #[expect(dead_code, reason = "only its shape is used")]
    pub enum Answered {
        /// Of `start`.
        Start(Box<Started>),
        /// Of `run`.
        Run(Box<Ran>),
        /// Of `status`, `stop` and `update`.
        Process(Box<Process>),
        /// Of `list`.
        List(Listed),
        /// Of `wait`.
        Wait(Waited),
        /// Of `signal`.
        Signal(Signalled),
        /// Of `output`.
        Output(Excerpt),
        /// Of `remove`.
        Remove(RemovedProcesses),
    }

    /// The schema of each request.
    pub fn requests(all: &mut SchemaGenerator) -> Vec<Value> {
        CALLS.iter().map(|call| request(call, all)).collect()
    }

    fn request(call: &str, all: &mut SchemaGenerator) -> Value {
        let schema = match call {
            "start" => Start::json_schema(all),
            "run" => {
                let mut run = Running::json_schema(all);
                let spec = all.subschema_for::<Spec>().to_value();
                run.get_mut("properties").unwrap()["spec"] = spec;
                run.insert("required".to_owned(), serde_json::json!(["spec"]));
                run
            }
            "status" => One::json_schema(all),
            "list" => List::json_schema(all),
            "wait" => Wait::json_schema(all),
            "stop" => Stop::json_schema(all),
            "signal" => Signal::json_schema(all),
            "update" => Change::json_schema(all),
            "output" => Output::json_schema(all),
            "remove" => Several::json_schema(all),
            other => panic!("{other} has no schema"),
        };
        let mut schema = schema.to_value();
        schema["properties"]["call"] = serde_json::json!({ "const": call });
        let any = "Anything: the answer has it too";
        schema["properties"]["id"] = serde_json::json!({ "description": any });
        let mut required = vec![Value::from("call")];
        if let Some(Value::Array(others)) = schema.get("required") {
            required.extend(others.iter().cloned());
        }
        schema["required"] = Value::Array(required);
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_counted_and_those_without_anything_passed_over() {
        let long = vec![b'x'; LINE_MAX + 9];
        let text = [b"\n{}\n  \n[]", &b"\n"[..], &long, b"\nlast"].concat();
        let mut lines = Lines {
            input: &text[..],
            number: 0,
        };
        let mut seen = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            let text = line.map(|line| String::from_utf8(line).unwrap());
            seen.push((lines.number, text.map_err(|fault| fault.reason)));
        }
        let expected = [
            (2, Ok("{}\n".to_owned())),
            (4, Ok("[]\n".to_owned())),
            (5, Err("INVALID_REQUEST".to_owned())),
            (6, Ok("last".to_owned())),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn an_answer_is_a_result_or_an_error_with_its_line() {
        let result = Answer {
            id: 1.into(),
            outcome: Outcome::Result(Value::Null),
        };
        assert_eq!(
            serde_json::to_string(&result).unwrap(),
            r#"{"id":1,"result":null}"#
        );
        let error = Answer {
            id: Value::Null,
            outcome: Outcome::Error {
                line: 7,
                error: Fault::malformed("no"),
            },
        };
        assert_eq!(
            serde_json::to_string(&error).unwrap(),
            r#"{"id":null,"line":7,"error":{"reason":"INVALID_REQUEST","message":"no"}}"#
        );
    }
}
