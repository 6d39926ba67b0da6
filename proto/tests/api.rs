//! docs/api.md is the API as its schema says it, and the reasons of its errors as
//! `prn_proto::reason` does.
//! `PRN_WRITE_TABLES=1 cargo test -p prn-proto --test api` writes it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, MethodDescriptorProto,
};

const SCHEMA: &str = "v1/process_runner.proto";

/// The same, compiled by build.rs.
const COMPILED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/process_runner.bin"));

/// Numbers of fields in the schema's own schema (descriptor.proto), of which places are made.
const MESSAGES: i32 = 4;
const ENUMS: i32 = 5;
const SERVICES: i32 = 6;
const SYNTAX: i32 = 12;
const FIELDS_OF_A_MESSAGE: i32 = 2;
const MESSAGES_OF_A_MESSAGE: i32 = 3;
const ENUMS_OF_A_MESSAGE: i32 = 4;
const VALUES_OF_AN_ENUM: i32 = 2;
const CALLS_OF_A_SERVICE: i32 = 2;

/// What stands above each thing, by its place.
struct Comments(BTreeMap<Vec<i32>, String>);

impl Comments {
    fn of(file: &FileDescriptorProto) -> Self {
        let info = file.source_code_info.as_ref().unwrap();
        let all = info.location.iter().map(|place| {
            let above = place.leading_comments.as_deref();
            let apart = place.leading_detached_comments.join("\n");
            (place.path.clone(), above.map_or(apart, str::to_owned))
        });
        Self(all.collect())
    }

    /// Paragraphs, each on a line.
    fn paragraphs(&self, place: &[i32]) -> Vec<String> {
        let text = self.0.get(place).map_or("", String::as_str);
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        let paragraphs = lines.split(|line| line.is_empty());
        let joined = paragraphs.map(|lines| lines.join(" "));
        joined
            .filter(|paragraph| !paragraph.is_empty())
            .map(escaped)
            .collect()
    }

    /// All of it on one line.
    fn cell(&self, place: &[i32]) -> String {
        let text = self.paragraphs(place).join(" ");
        assert!(!text.is_empty(), "nothing is said of {place:?}");
        text.replace('|', "\\|")
    }
}

/// Outside of backquotes, what Markdown would take for a tag or for emphasis.
fn escaped(text: String) -> String {
    let parts = text.split('`').enumerate().map(|(at, part)| match at % 2 {
        0 => part
            .replace('<', "\\<")
            .replace('*', "\\*")
            .replace('[', "\\["),
        _ => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("`")
}

fn index(at: usize) -> i32 {
    at.try_into().unwrap()
}

fn below(place: &[i32], field: i32, at: usize) -> Vec<i32> {
    [place, &[field, index(at)]].concat()
}

fn short(name: &str) -> &str {
    name.trim_start_matches('.').trim_start_matches("proto.v1.")
}

fn kind(field: &FieldDescriptorProto, message: &DescriptorProto) -> String {
    let own = field.r#type();
    let is_named = matches!(own, Type::Message | Type::Enum);
    let name = if is_named {
        let entry = message.nested_type.iter().find(|nested| {
            let is_map = nested
                .options
                .as_ref()
                .is_some_and(|options| options.map_entry());
            is_map && field.type_name().ends_with(&format!(".{}", nested.name()))
        });
        if let Some(entry) = entry {
            let of: Vec<_> = entry.field.iter().map(|field| kind(field, entry)).collect();
            return format!("map of {}", of.join(" to "));
        }
        let name = short(field.type_name());
        if name.starts_with("google") {
            name.to_owned()
        } else {
            format!("[{name}](#{})", name.to_lowercase().replace('.', ""))
        }
    } else {
        own.as_str_name().trim_start_matches("TYPE_").to_lowercase()
    };
    let is_one_of = field.oneof_index.is_some() && !field.proto3_optional();
    match field.label() {
        Label::Repeated => format!("{name}, repeated"),
        Label::Optional | Label::Required if field.proto3_optional() => format!("{name}, optional"),
        Label::Optional | Label::Required if is_one_of => {
            let of = message
                .oneof_decl
                .get(usize::try_from(field.oneof_index()).unwrap());
            format!("{name}, one of `{}`", of.unwrap().name())
        }
        Label::Optional | Label::Required => name,
    }
}

fn message(
    text: &mut String,
    comments: &Comments,
    message: &DescriptorProto,
    place: &[i32],
    above: &str,
) {
    let is_map = message
        .options
        .as_ref()
        .is_some_and(|options| options.map_entry());
    if is_map {
        return;
    }
    let name = format!("{above}{}", message.name());
    write!(text, "### {name}\n\n").unwrap();
    for paragraph in comments.paragraphs(place) {
        write!(text, "{paragraph}\n\n").unwrap();
    }
    if message.field.is_empty() {
        text.push_str("It has no field.\n\n");
    } else {
        text.push_str("| field | number | type | |\n|---|---:|---|---|\n");
    }
    for (at, field) in message.field.iter().enumerate() {
        let said = comments.cell(&below(place, FIELDS_OF_A_MESSAGE, at));
        let kind = kind(field, message);
        writeln!(
            text,
            "| `{}` | {} | {kind} | {said} |",
            field.name(),
            field.number()
        )
        .unwrap();
    }
    if !message.field.is_empty() {
        text.push('\n');
    }
    let above = format!("{name}.");
    for (at, nested) in message.nested_type.iter().enumerate() {
        let place = below(place, MESSAGES_OF_A_MESSAGE, at);
        self::message(text, comments, nested, &place, &above);
    }
    for (at, nested) in message.enum_type.iter().enumerate() {
        values(
            text,
            comments,
            nested,
            &below(place, ENUMS_OF_A_MESSAGE, at),
            &above,
        );
    }
}

fn values(
    text: &mut String,
    comments: &Comments,
    of: &EnumDescriptorProto,
    place: &[i32],
    above: &str,
) {
    write!(text, "### {above}{}\n\n", of.name()).unwrap();
    for paragraph in comments.paragraphs(place) {
        write!(text, "{paragraph}\n\n").unwrap();
    }
    text.push_str("| value | number | |\n|---|---:|---|\n");
    for (at, value) in of.value.iter().enumerate() {
        let said = comments.cell(&below(place, VALUES_OF_AN_ENUM, at));
        writeln!(text, "| `{}` | {} | {said} |", value.name(), value.number()).unwrap();
    }
    text.push('\n');
}

fn call(text: &mut String, comments: &Comments, call: &MethodDescriptorProto, place: &[i32]) {
    let side = |name: &str, is_stream| {
        let name = short(name);
        let link = format!("[{name}](#{})", name.to_lowercase());
        if is_stream {
            format!("a stream of {link}")
        } else {
            link
        }
    };
    let request = side(call.input_type(), call.client_streaming());
    let response = side(call.output_type(), call.server_streaming());
    write!(
        text,
        "### {}\n\nTakes {request}, answers {response}.\n\n",
        call.name()
    )
    .unwrap();
    let said = comments.paragraphs(place);
    assert!(!said.is_empty(), "nothing is said of {}", call.name());
    for paragraph in said {
        write!(text, "{paragraph}\n\n").unwrap();
    }
}

/// Each reason with what it says, as the source has them.
fn reasons(text: &mut String) {
    text.push_str("## Reasons of errors\n\n`ErrorInfo.reason`, where `ErrorInfo.domain` is `prn`. They are stable: compare them, and show the message to people.\n\n| reason | |\n|---|---|\n");
    let source = include_str!("../src/reason.rs");
    let source = source.split("pub mod ").next().unwrap();
    let mut said = Vec::new();
    for line in source.lines() {
        if let Some(words) = line.strip_prefix("/// ") {
            said.push(words);
        } else if let Some(rest) = line.strip_prefix("pub const ") {
            let (name, _) = rest.split_once(':').unwrap();
            if name != "DOMAIN" {
                let said = escaped(said.join(" ")).replace('|', "\\|");
                writeln!(text, "| `{name}` | {said} |").unwrap();
            }
            said.clear();
        } else {
            said.clear();
        }
    }
}

fn made() -> String {
    let set = FileDescriptorSet::decode(COMPILED).unwrap();
    let file = set.file.iter().find(|file| file.name() == SCHEMA).unwrap();
    let comments = Comments::of(file);
    let mut text = String::from(
        "# The API\n\nMade from `proto/v1/process_runner.proto` by its test (`proto/tests/api.rs`): change the schema, not this page.\n[examples/](../examples/README.md) has clients in several languages, [adding-a-call.md](adding-a-call.md) says where a new call goes.\n\n",
    );
    for paragraph in comments.paragraphs(&[SYNTAX]) {
        write!(text, "{paragraph}\n\n").unwrap();
    }
    text.push_str("## Calls\n\n");
    for (number, service) in file.service.iter().enumerate() {
        let place = [SERVICES, index(number)];
        for paragraph in comments.paragraphs(&place) {
            write!(
                text,
                "`{}.{}`: {paragraph}\n\n",
                file.package(),
                service.name()
            )
            .unwrap();
        }
        for (at, method) in service.method.iter().enumerate() {
            call(
                &mut text,
                &comments,
                method,
                &below(&place, CALLS_OF_A_SERVICE, at),
            );
        }
    }
    text.push_str("## Messages\n\n");
    for (at, one) in file.message_type.iter().enumerate() {
        message(&mut text, &comments, one, &[MESSAGES, index(at)], "");
    }
    text.push_str("## Enumerations\n\n");
    for (at, one) in file.enum_type.iter().enumerate() {
        values(&mut text, &comments, one, &[ENUMS, index(at)], "");
    }
    reasons(&mut text);
    text
}

#[test]
fn the_page_of_the_api_is_that_of_the_schema() {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md"));
    let made = made();
    if std::env::var_os("PRN_WRITE_TABLES").is_some() {
        fs::write(&path, &made).unwrap();
    }
    for needed in [
        "### Start\n",
        "### StartRequest\n",
        "| `SIGNATURE_REQUIRED` |",
    ] {
        assert!(made.contains(needed), "{needed}");
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == made,
        "docs/api.md is old: PRN_WRITE_TABLES=1 cargo test -p prn-proto --test api writes it"
    );
}
