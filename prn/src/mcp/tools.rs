//! The tools, as agents are told of them.

use std::sync::Arc;

use prn_client::{Process, Started};
use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::calls::act::{Listed, Ran, Signalled, Waited};
use crate::calls::requests::{List, One, Output, Running, Signal, Stop, Wait};
use crate::calls::spec::Spec;
use crate::lasting::excerpt::Excerpt;
use crate::mcp::files::{self, ListFiles, ReadFile, WriteFile};

/// A tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    Run,
    Start,
    Status,
    List,
    Output,
    Wait,
    Stop,
    Signal,
    ReadFile,
    WriteFile,
    ListFiles,
}

/// What a tool does to what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// Nothing.
    Reads,
    /// It may change and end things, more each time.
    Changes,
    /// It may, and the second time does nothing more.
    ChangesOnce,
}

/// All of them.
const ALL: [Name; 11] = [
    Name::Run,
    Name::Start,
    Name::Status,
    Name::List,
    Name::Output,
    Name::Wait,
    Name::Stop,
    Name::Signal,
    Name::ReadFile,
    Name::WriteFile,
    Name::ListFiles,
];

/// Fields of an answer that are there even where they are empty: an empty answer is one.
pub const ALWAYS_SHOWN: [&str; 3] = ["output", "processes", "files"];

/// What a schema says beside the shape.
const WORDS: [&str; 4] = ["description", "format", "minimum", "title"];

/// Which tools there are.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    /// Those alone that change nothing.
    pub read_only: bool,
    /// All is in one workspace, which no tool asks for.
    pub confined: bool,
}

impl Offer {
    /// The tool of this name, if it is there.
    pub fn find(self, name: &str) -> Option<Name> {
        self.names().find(|tool| tool.text() == name)
    }

    /// Those that are there.
    pub fn names(self) -> impl Iterator<Item = Name> {
        let is_there = move |tool: &Name| !self.read_only || tool.effect() == Effect::Reads;
        ALL.into_iter().filter(is_there)
    }

    /// All of them, described.
    pub fn tools(self) -> Vec<Tool> {
        self.names().map(|tool| self.described(tool)).collect()
    }

    fn described(self, name: Name) -> Tool {
        let mut schema = name.schema();
        if self.confined
            && let Some(Value::Object(properties)) = schema.get_mut("properties")
        {
            properties.remove("workspace");
        }
        let effect = name.effect();
        let annotations = ToolAnnotations::with_title(name.title())
            .read_only(effect == Effect::Reads)
            .destructive(effect != Effect::Reads)
            .idempotent(effect != Effect::Changes)
            .open_world(matches!(name, Name::Run | Name::Start));
        Tool::new(name.text(), name.description(), Arc::new(schema))
            .with_raw_output_schema(Arc::new(name.answer()))
            .with_annotations(annotations)
    }
}

impl Name {
    /// As it is called.
    pub fn text(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Start => "start",
            Self::Status => "status",
            Self::List => "list",
            Self::Output => "output",
            Self::Wait => "wait",
            Self::Stop => "stop",
            Self::Signal => "signal",
            Self::ReadFile => "read_file",
            Self::WriteFile => "write_file",
            Self::ListFiles => "list_files",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Run => "Run a command",
            Self::Start => "Start a process",
            Self::Status => "Look at a process",
            Self::List => "List processes",
            Self::Output => "Read output",
            Self::Wait => "Wait for processes",
            Self::Stop => "Stop a process",
            Self::Signal => "Send a signal",
            Self::ReadFile => "Read a file",
            Self::WriteFile => "Write a file",
            Self::ListFiles => "List files",
        }
    }

    fn effect(self) -> Effect {
        match self {
            Self::Run | Self::Start | Self::Signal => Effect::Changes,
            Self::Stop | Self::WriteFile => Effect::ChangesOnce,
            Self::Status
            | Self::List
            | Self::Output
            | Self::Wait
            | Self::ReadFile
            | Self::ListFiles => Effect::Reads,
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Run => {
                "Runs a command on the server and waits for its end, for a bounded time. Answers with how it ended, and with the begin of its output. If it still runs then (running is true), it goes on: wait waits for longer, output reads more, stop ends it."
            }
            Self::Start => {
                "Starts a process on the server and answers at once with its id. For servers and other long work: output reads what it writes, wait waits for its end, stop ends it."
            }
            Self::Status => {
                "Says what is known of a process: whether it is alive, how it ended, its limits and usage."
            }
            Self::List => {
                "Lists processes, alive and ended, the newest first. more says that there are older ones."
            }
            Self::Output => {
                "Reads a part of a process's output, both streams in the order in which they came. truncated: there are more bytes than were asked for; complete: the process has ended and this is the end. To go on, ask from next_offset."
            }
            Self::Wait => {
                "Waits for the end of processes, for a bounded time. timed_out says that the time was up: they go on."
            }
            Self::Stop => {
                "Stops a process with all that it has started: SIGTERM, and SIGKILL after the grace time. Answers when nothing of it is left."
            }
            Self::Signal => "Sends a signal to a process.",
            Self::ReadFile => "Reads a part of a file in a workspace.",
            Self::WriteFile => {
                "Writes a file in a workspace, in the place of what was there. It is there whole, or not at all."
            }
            Self::ListFiles => "Lists the files in a directory of a workspace.",
        }
    }

    fn schema(self) -> JsonObject {
        match self {
            Self::Run => {
                let mut schema = schema::<Spec>();
                let Some(Value::Object(how)) = schema_of_running() else {
                    return schema;
                };
                if let Some(Value::Object(properties)) = schema.get_mut("properties") {
                    properties.extend(how);
                }
                schema
            }
            Self::Start => schema::<Spec>(),
            Self::Status => schema::<One>(),
            Self::List => schema::<List>(),
            Self::Output => schema::<Output>(),
            Self::Wait => schema::<Wait>(),
            Self::Stop => schema::<Stop>(),
            Self::Signal => schema::<Signal>(),
            Self::ReadFile => schema::<ReadFile>(),
            Self::WriteFile => schema::<WriteFile>(),
            Self::ListFiles => schema::<ListFiles>(),
        }
    }
}

impl Name {
    /// The schema of what it answers, where it does what it is asked for.
    fn answer(self) -> JsonObject {
        match self {
            Self::Run => answer::<Ran>(),
            Self::Start => answer::<Started>(),
            Self::Status | Self::Stop => answer::<Process>(),
            Self::List => answer::<Listed>(),
            Self::Output => answer::<Excerpt>(),
            Self::Wait => answer::<Waited>(),
            Self::Signal => answer::<Signalled>(),
            Self::ReadFile => answer::<files::Read>(),
            Self::WriteFile => answer::<files::Written>(),
            Self::ListFiles => answer::<files::Listed>(),
        }
    }
}

fn schema_of_running() -> Option<Value> {
    schema::<Running>().remove("properties")
}

fn schema<T: JsonSchema>() -> JsonObject {
    of_settings::<T>(SchemaSettings::draft2020_12())
}

fn answer<T: JsonSchema>() -> JsonObject {
    let mut schema = of_settings::<T>(SchemaSettings::draft2020_12().for_serialize());
    schema.values_mut().for_each(may_be_thin);
    thin_fields(&mut schema);
    if let Some(Value::Object(fields)) = schema.get_mut("properties") {
        let parts = fields.values_mut().filter_map(Value::as_object_mut);
        parts.flat_map(JsonObject::values_mut).for_each(shorten);
    }
    schema
}

/// Without words: all schemas are sent to each agent, which may have to read them.
fn shorten(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.retain(|name, value| value.is_object() || !WORDS.contains(&name.as_str()));
            object.values_mut().for_each(shorten);
        }
        Value::Array(all) => all.iter_mut().for_each(shorten),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn of_settings<T: JsonSchema>(mut settings: SchemaSettings) -> JsonObject {
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let schema = settings.into_generator().into_root_schema_for::<T>();
    if let Value::Object(object) = schema.to_value() {
        object
    } else {
        JsonObject::new()
    }
}

/// Of what says nothing, no field is always there: see [`ALWAYS_SHOWN`].
fn may_be_thin(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.values_mut().for_each(may_be_thin);
            thin_fields(object);
        }
        Value::Array(all) => all.iter_mut().for_each(may_be_thin),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn thin_fields(object: &mut JsonObject) {
    let Some(Value::Object(properties)) = object.get("properties").cloned() else {
        return;
    };
    if let Some(Value::Array(required)) = object.get_mut("required") {
        required.retain(|name| {
            let name = name.as_str().unwrap_or_default();
            let kind = properties
                .get(name)
                .and_then(|field| field["type"].as_str());
            let is_value = kind.is_some_and(|kind| !["array", "object", "null"].contains(&kind));
            is_value || ALWAYS_SHOWN.contains(&name)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(read_only: bool) -> Vec<&'static str> {
        let offer = Offer {
            read_only,
            confined: false,
        };
        offer.names().map(Name::text).collect()
    }

    #[test]
    fn read_only_tools_are_those_that_say_so() {
        assert_eq!(names(false).len(), ALL.len());
        assert_eq!(
            names(true),
            [
                "status",
                "list",
                "output",
                "wait",
                "read_file",
                "list_files"
            ]
        );
    }

    #[test]
    fn every_tool_has_a_schema_of_an_object_and_says_what_its_fields_are() {
        for confined in [false, true] {
            let offer = Offer {
                read_only: false,
                confined,
            };
            for tool in offer.tools() {
                let schema = &tool.input_schema;
                assert_eq!(schema["type"], "object", "{}", tool.name);
                assert_eq!(schema["additionalProperties"], false, "{}", tool.name);
                let properties = schema["properties"].as_object().unwrap();
                assert!(!properties.is_empty());
                assert!(!confined || !properties.contains_key("workspace"));
                for (name, property) in properties {
                    assert!(property["description"].is_string(), "{}: {name}", tool.name);
                }
            }
        }
        let run = Name::Run.schema();
        let properties = run["properties"].as_object().unwrap();
        assert!(properties.contains_key("argv") && properties.contains_key("max_bytes"));
    }
}
