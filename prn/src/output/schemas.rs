//! JSON Schemas of what `-o json` prints, of what `prn batch` reads and writes, and of what the tools of
//! `prn mcp` answer, in docs/schemas: made from the types themselves.

use std::path::PathBuf;

use prn_client::{Access, Metrics, Process, ServerInfo, Started, Usages, Workspace};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, json_schema};
use serde_json::{Map, Value};

use super::changes::ChangeRecord;
use super::contexts::{CheckedContext, KnownContext, ShownContext};
use super::everyday::{HealthJson, Inspected, Pruned, Version};
use super::fleet_hosts::FleetHost;
use super::fleet_jobs::{FleetChange, FleetJob};
use super::policies::{PinnedClient, PolicyClient};
use super::servers::ServerStatus;
use super::stats::Stats;
use super::tasks::Task;
use crate::batch;
use crate::lasting::excerpt::Excerpt;
use crate::mcp::tools::Offer;

/// `prn list`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its shape is used")]
struct List {
    /// Oldest first, if it is not said otherwise.
    processes: Vec<Process>,
}

/// `prn workspace list`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its shape is used")]
struct WorkspaceList {
    /// By name.
    workspaces: Vec<Workspace>,
}

/// `prn stats --no-stream`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its shape is used")]
struct StatsList {
    /// In the order of the command line, or of their starts.
    stats: Vec<Stats>,
}

/// `prn top ID`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its shape is used")]
struct TaskList {
    /// Of one process after the other, if several are named.
    tasks: Vec<Task>,
}

/// `prn context list`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its shape is used")]
struct ContextList {
    /// By name.
    contexts: Vec<KnownContext>,
}

/// `prn context check`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its shape is used")]
struct ContextCheck {
    /// In the order in which they were named.
    contexts: Vec<CheckedContext>,
}

/// `prn policy check`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its shape is used")]
struct PolicyCheck {
    /// By name.
    clients: Vec<PolicyClient>,
}

/// `prn pin list`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its shape is used")]
struct PinList {
    /// By name.
    clients: Vec<PinnedClient>,
}

/// `prn fleet hosts`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its shape is used")]
struct FleetHosts {
    /// By name.
    hosts: Vec<FleetHost>,
}

/// `prn fleet jobs`, `prn list --fleet`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its shape is used")]
struct FleetJobs {
    /// In the order in which they were submitted.
    jobs: Vec<FleetJob>,
}

/// What is printed: required are the fields that are always there, `null` for want of a value.
fn schema_of<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<T>()
}

/// A line that `prn batch` reads.
fn batch_request() -> Schema {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    json_schema!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Request",
        "description": "A line that `prn batch` reads.",
        "oneOf": batch::requests(&mut settings.into_generator()),
    })
}

/// What each tool of `prn mcp` answers, as an agent is told as well.
fn mcp_tools() -> Schema {
    let offer = Offer {
        read_only: false,
        confined: false,
    };
    let answer = |tool: rmcp::model::Tool| {
        let schema = tool.output_schema.map(|schema| (*schema).clone());
        (
            tool.name.into_owned(),
            Value::Object(schema.unwrap_or_default()),
        )
    };
    let answers: Map<_, _> = offer.tools().into_iter().map(answer).collect();
    json_schema!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tools",
        "description": "What each tool of `prn mcp` answers, by its name, where it fails with no error.",
        "$defs": answers,
    })
}

/// Each file, and what is in it.
fn all() -> Vec<(&'static str, Schema)> {
    vec![
        ("process", schema_of::<Process>()),
        ("logs", schema_of::<Excerpt>()),
        ("batch-request", batch_request()),
        ("batch-answer", schema_of::<batch::Answer>()),
        ("mcp-tools", mcp_tools()),
        ("list", schema_of::<List>()),
        ("start", schema_of::<Started>()),
        ("workspace", schema_of::<Workspace>()),
        ("workspace-list", schema_of::<WorkspaceList>()),
        ("stats", schema_of::<Stats>()),
        ("stats-list", schema_of::<StatsList>()),
        ("task", schema_of::<Task>()),
        ("task-list", schema_of::<TaskList>()),
        ("event", schema_of::<ChangeRecord<'static>>()),
        ("usage", schema_of::<Usages>()),
        ("metrics", schema_of::<Metrics>()),
        ("server", schema_of::<ServerInfo>()),
        ("inspect", schema_of::<Vec<Inspected>>()),
        ("prune", schema_of::<Pruned>()),
        ("context", schema_of::<ShownContext>()),
        ("context-list", schema_of::<ContextList>()),
        ("context-check", schema_of::<ContextCheck>()),
        ("policy-check", schema_of::<PolicyCheck>()),
        ("pin-list", schema_of::<PinList>()),
        ("fleet-hosts", schema_of::<FleetHosts>()),
        ("fleet-job", schema_of::<FleetJob>()),
        ("fleet-jobs", schema_of::<FleetJobs>()),
        ("fleet-event", schema_of::<FleetChange>()),
        ("version", schema_of::<Version>()),
        ("access", schema_of::<Access>()),
        ("server-status", schema_of::<ServerStatus>()),
        ("health", schema_of::<HealthJson<'static>>()),
    ]
}

#[test]
fn the_schemas_in_docs_are_those_of_the_types() {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas");
    let is_written = std::env::var_os("PRN_WRITE_SCHEMAS").is_some();
    let mut names = Vec::new();
    for (name, schema) in all() {
        let path = directory.join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if is_written {
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            there == text,
            "{} is old: PRN_WRITE_SCHEMAS=1 cargo test -p prn schemas writes it",
            path.display()
        );
        names.push(format!("{name}.json"));
    }
    for file in std::fs::read_dir(&directory).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(names.contains(&name), "{name} is of nothing");
    }
}
