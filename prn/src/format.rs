//! The choice of how results are printed.

use std::str::FromStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Args, Command, Error, ValueEnum};

use crate::template::Template;

/// How results are printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// A table.
    Table,
    /// A table with more in it.
    Wide,
    /// All that is known, as JSON.
    Json,
    /// The same, one object a line.
    JsonLines,
    /// The same, as YAML.
    Yaml,
    /// Whole ids, or names of what has none, one a line.
    Name,
    /// What a template makes of each result, one a line.
    Template(Template),
}

/// Names of the formats, and what goes before a template.
const NAMES: &[&str] = &["table", "wide", "json", "jsonl", "yaml", "name"];
const TEMPLATE: &str = "template=";

impl Format {
    /// Whether it has all that is known of a result, to be read by programs.
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Json | Self::JsonLines | Self::Yaml | Self::Template(_) => true,
            Self::Table | Self::Wide | Self::Name => false,
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(template) = text.strip_prefix(TEMPLATE) {
            return Ok(Self::Template(template.parse()?));
        }
        match text {
            "table" => Ok(Self::Table),
            "wide" => Ok(Self::Wide),
            "json" => Ok(Self::Json),
            "jsonl" => Ok(Self::JsonLines),
            "yaml" => Ok(Self::Yaml),
            "name" => Ok(Self::Name),
            _ if text.contains("{{") => Err(format!("a template is written {TEMPLATE}{text}")),
            "template" | "jinja" | "go-template" => Err(format!(
                "write the template behind it: {TEMPLATE}'{{{{id}}}}'"
            )),
            _ => Err(String::new()),
        }
    }
}

/// Reads a [`Format`], and names them all in help and in errors.
#[derive(Debug, Clone, Copy)]
pub struct FormatParser;

impl TypedValueParser for FormatParser {
    type Value = Format;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Format, Error> {
        let text = value.to_string_lossy();
        text.parse().map_err(|why: String| {
            let kind = if why.is_empty() {
                ErrorKind::InvalidValue
            } else {
                ErrorKind::ValueValidation
            };
            let mut error = Error::new(kind).with_cmd(command);
            if let Some(arg) = arg {
                let flag = ContextValue::String(arg.to_string());
                error.insert(ContextKind::InvalidArg, flag);
            }
            let value = ContextValue::String(text.clone().into_owned());
            error.insert(ContextKind::InvalidValue, value);
            if why.is_empty() {
                let known = NAMES.iter().map(|name| (*name).to_owned());
                let known = known.chain([format!("{TEMPLATE}…")]).collect();
                error.insert(ContextKind::ValidValue, ContextValue::Strings(known));
                return error;
            }
            let template = text.strip_prefix(TEMPLATE).unwrap_or(&text);
            Error::raw(kind, format!("{template:?}: {why}\n")).with_cmd(command)
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let all = NAMES.iter().copied().chain(["template=…"]);
        Some(Box::new(all.map(PossibleValue::new)))
    }
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The choice of a format.
#[derive(Debug, Clone, Args)]
pub struct FormatFlag {
    /// How to print the result. A template is Jinja's, over the fields that json has: -o
    /// 'template={{id}} {{command}}'
    #[arg(
        short,
        long,
        value_parser = FormatParser,
        value_name = "FORMAT",
        default_value = "table"
    )]
    pub output: Format,
    /// When to use colours in tables: on a terminal, unless NO_COLOR is set, if it is not said
    #[arg(
        long,
        value_enum,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true
    )]
    pub color: Color,
}

/// The choice of a format for a command that shows all there is.
#[derive(Debug, Clone, Args)]
pub struct WholeFormatFlag {
    /// How to print the result
    #[arg(
        short,
        long,
        value_parser = FormatParser,
        value_name = "FORMAT",
        default_value = "json"
    )]
    pub output: Format,
}

impl From<WholeFormatFlag> for FormatFlag {
    fn from(flag: WholeFormatFlag) -> Self {
        Self {
            output: flag.output,
            color: Color::Auto,
        }
    }
}
