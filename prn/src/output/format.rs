//! The choice of how results are printed.

use std::ffi::OsStr;
use std::str::FromStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Args, Command, Error, ValueEnum};

use crate::output::template::Template;

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
const ANY_TEMPLATE: &str = "template=…";

impl Format {
    /// Whether it has all that is known of a result, to be read by programs.
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Json | Self::JsonLines | Self::Yaml | Self::Template(_) => true,
            Self::Table | Self::Wide | Self::Name => false,
        }
    }
}

/// A text is no [`Format`].
#[derive(Debug, thiserror::Error)]
pub enum InvalidFormat {
    /// There is none of that name.
    #[error("there is no such format")]
    Unknown,
    /// It is a template without what goes before it.
    #[error("a template is written {TEMPLATE}{0}")]
    BareTemplate(String),
    /// It goes before a template, and none is there.
    #[error("write the template behind it: {TEMPLATE}'{{{{id}}}}'")]
    NoTemplate,
    /// It is a template of kubectl's.
    #[error("a template here is written {TEMPLATE}'{{{{id}}}} {{{{state}}}}'")]
    OtherTemplate,
    /// It names columns.
    #[error("--columns of `prn list` names columns")]
    Columns,
    /// The template is wrong.
    #[error("{0}")]
    Template(String),
}

impl FromStr for Format {
    type Err = InvalidFormat;

    fn from_str(text: &str) -> Result<Self, InvalidFormat> {
        if let Some(template) = text.strip_prefix(TEMPLATE) {
            let template = template.parse().map_err(InvalidFormat::Template)?;
            return Ok(Self::Template(template));
        }
        match text.split('=').next() {
            Some("go-template" | "go-template-file" | "jsonpath" | "jsonpath-file")
                if text.contains('=') =>
            {
                return Err(InvalidFormat::OtherTemplate);
            }
            Some("custom-columns") => return Err(InvalidFormat::Columns),
            Some(_) | None => {}
        }
        match text {
            "table" => Ok(Self::Table),
            "wide" => Ok(Self::Wide),
            "json" => Ok(Self::Json),
            "jsonl" => Ok(Self::JsonLines),
            "yaml" => Ok(Self::Yaml),
            "name" => Ok(Self::Name),
            "template" | "jinja" | "go-template" | "jsonpath" => Err(InvalidFormat::NoTemplate),
            _ if text.contains("{{") => Err(InvalidFormat::BareTemplate(text.to_owned())),
            _ => Err(InvalidFormat::Unknown),
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
        value: &OsStr,
    ) -> Result<Format, Error> {
        let text = value.to_string_lossy();
        text.parse().map_err(|why| match why {
            InvalidFormat::Unknown => unknown(command, arg, &text),
            InvalidFormat::BareTemplate(_)
            | InvalidFormat::NoTemplate
            | InvalidFormat::OtherTemplate
            | InvalidFormat::Columns
            | InvalidFormat::Template(_) => {
                let shown = text.strip_prefix(TEMPLATE).unwrap_or(&text);
                let why = format!("--output {shown:?}: {why}\n");
                Error::raw(ErrorKind::ValueValidation, why).with_cmd(command)
            }
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let all = NAMES.iter().copied().chain([ANY_TEMPLATE]);
        Some(Box::new(all.map(PossibleValue::new)))
    }
}

/// As clap says it of a value that is none of its own.
fn unknown(command: &Command, arg: Option<&Arg>, text: &str) -> Error {
    let mut error = Error::new(ErrorKind::InvalidValue).with_cmd(command);
    if let Some(arg) = arg {
        let flag = ContextValue::String(arg.to_string());
        error.insert(ContextKind::InvalidArg, flag);
    }
    let value = ContextValue::String(text.to_owned());
    error.insert(ContextKind::InvalidValue, value);
    let known = NAMES.iter().chain([&ANY_TEMPLATE]);
    let known = known.map(|name| (*name).to_owned()).collect();
    error.insert(ContextKind::ValidValue, ContextValue::Strings(known));
    error
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

impl FormatFlag {
    /// That of a command that leaves no choice.
    pub fn table() -> Self {
        Self {
            output: Format::Table,
            color: Color::Auto,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_of_kubectl_are_answered_with_prns() {
        for (text, tip) in [
            ("go-template={{.name}}", "template='{{id}} {{state}}'"),
            ("jsonpath={.name}", "template='{{id}} {{state}}'"),
            ("custom-columns=NAME:.name", "--columns"),
            ("go-template", "template='{{id}}'"),
            ("{{id}}", "template={{id}}"),
        ] {
            let error = text.parse::<Format>().unwrap_err().to_string();
            assert!(error.contains(tip), "{text}: {error}");
        }
    }
}
