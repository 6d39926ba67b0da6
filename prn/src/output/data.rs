//! Results for programs: all that is known, as JSON, as YAML, or as a template has it.

use std::io;

use serde::Serialize;

use super::descriptor::print;
use super::shown::{escaped, put};
use crate::format::Format;
use crate::template::{Template, TemplateError};

/// A result in a format for programs, whole lines; `None` for one that is for people.
pub fn text<T: Serialize>(value: &T, format: &Format) -> io::Result<Option<String>> {
    let text = match format {
        Format::Json => serde_json::to_string_pretty(value)?,
        Format::JsonLines => serde_json::to_string(value)?,
        Format::Yaml => yaml(value)?,
        Format::Template(template) => rendered(template, value)?,
        Format::Table | Format::Wide | Format::Name => return Ok(None),
    };
    Ok(Some(text + "\n"))
}

/// Prints a result in a format for programs; `false` for one that is for people.
pub fn print_data<T: Serialize>(value: &T, format: &Format) -> io::Result<bool> {
    let text = text(value, format)?;
    if let Some(text) = &text {
        print(text)?;
    }
    Ok(text.is_some())
}

fn yaml<T: Serialize>(value: &T) -> io::Result<String> {
    // A text of several lines is quoted, with escapes: a block's last lines depend on what follows it.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let text = serde_saphyr::to_string_with_options(value, options).map_err(io::Error::other)?;
    Ok(text.trim_end().to_owned())
}

fn rendered<T: Serialize>(template: &Template, value: &T) -> io::Result<String> {
    let value = serde_json::to_value(value)?;
    Ok(template.render(&value, escaped)?)
}

impl From<TemplateError> for io::Error {
    fn from(error: TemplateError) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

/// Results that come one after another and never end: changes, samples. Each is printed at once.
pub fn print_next<T: Serialize>(value: &T, format: &Format) -> io::Result<bool> {
    if *format == Format::Yaml {
        print(&format!("---\n{}\n", yaml(value)?))?;
        return Ok(true);
    }
    print_data(value, format)
}

/// Prints a list as it comes, page by page. As JSON and as YAML it is one object, with all below
/// one name; else each result is by itself.
///
/// A list of one page is one write(2), see [`line()`](super::descriptor::line).
#[derive(Debug)]
pub struct List<'a> {
    format: &'a Format,
    name: &'static str,
    has_begun: bool,
    /// Of the last page, not printed yet.
    pending: String,
}

impl<'a> List<'a> {
    /// Without results so far. They stand below `name`.
    pub fn new(name: &'static str, format: &'a Format) -> Self {
        Self {
            format,
            name,
            has_begun: false,
            pending: String::new(),
        }
    }

    /// Prints further ones.
    pub fn add<T: Serialize>(&mut self, results: &[T]) -> io::Result<()> {
        if !self.pending.is_empty() {
            print(&std::mem::take(&mut self.pending))?;
        }
        for result in results {
            let is_first = !std::mem::replace(&mut self.has_begun, true);
            match self.format {
                Format::Json => self.json(result, is_first)?,
                Format::Yaml => self.yaml(result, is_first)?,
                Format::JsonLines | Format::Template(_) => {
                    let text = text(result, self.format)?;
                    self.pending.push_str(&text.unwrap_or_default());
                }
                Format::Table | Format::Wide | Format::Name => {}
            }
        }
        Ok(())
    }

    /// Prints what closes it.
    pub fn end(mut self) -> io::Result<()> {
        let name = self.name;
        match (self.format, self.has_begun) {
            (Format::Json, true) => self.pending.push_str("\n  ]\n}\n"),
            (Format::Json, false) => put(
                &mut self.pending,
                format_args!("{{\n  \"{name}\": []\n}}\n"),
            ),
            (Format::Yaml, false) => put(&mut self.pending, format_args!("{name}: []\n")),
            _ => {}
        }
        print(&self.pending)
    }

    fn json<T: Serialize>(&mut self, result: &T, is_first: bool) -> io::Result<()> {
        if is_first {
            put(
                &mut self.pending,
                format_args!("{{\n  \"{}\": [", self.name),
            );
        } else {
            self.pending.push(',');
        }
        for line in serde_json::to_string_pretty(result)?.lines() {
            put(&mut self.pending, format_args!("\n    {line}"));
        }
        Ok(())
    }

    fn yaml<T: Serialize>(&mut self, result: &T, is_first: bool) -> io::Result<()> {
        if is_first {
            put(&mut self.pending, format_args!("{}:\n", self.name));
        }
        // A list of one: its dash and its depth are the serializer's, texts of many lines included.
        let text = yaml(&[result])?;
        for line in text.lines() {
            put(&mut self.pending, format_args!("{line}\n"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_result_in_each_format() {
        let value = json!({"a": 1, "b": ["x: y", null], "c": "two\nlines", "d": "yes"});
        let text = |format: &str| text(&value, &format.parse().unwrap()).unwrap();
        let json = text("json").unwrap();
        assert!(json.lines().count() > 5 && json.ends_with("}\n"), "{json}");
        assert_eq!(text("jsonl").unwrap().lines().count(), 1);
        assert_eq!(text("template={{a}}").unwrap(), "1\n");
        assert_eq!(text("template={{c}}").unwrap(), "two\\nlines\n");
        let yaml = text("yaml").unwrap();
        assert!(yaml.starts_with("a: 1\nb:\n"), "{yaml}");
        assert!(!yaml.contains("d: yes"), "it would be true to some: {yaml}");
        for people in ["table", "wide", "name"] {
            assert_eq!(text(people), None);
        }
    }

    #[test]
    fn yaml_reads_back_as_what_it_is() {
        let nasty = [
            "yes",
            "null",
            "~",
            "0x1f",
            "1e3",
            "- a",
            "a: b",
            "#x",
            "'",
            "\"",
            " x ",
            "",
            "a\nb\n",
            "\n",
            "\u{1b}[2J",
            "|",
            "@x",
            "漢字",
            "\\",
            "{{x}}",
            "2023-11-14",
            "a #b",
            "\u{202e}",
        ];
        let long = "word ".repeat(100);
        let each = nasty.iter().copied().chain([long.as_str()]);
        let values: Vec<_> = each
            .map(|text| json!({"text": text, "all": [text, 1.5, null]}))
            .collect();
        let format = Format::Yaml;
        let mut list = List::new("values", &format);
        list.add(&values).unwrap();
        let read: serde_json::Value = serde_saphyr::from_str(&list.pending).unwrap();
        for (read, value) in read["values"].as_array().unwrap().iter().zip(&values) {
            assert_eq!(read, value);
        }
        let safe = list.pending.chars().all(|c| !c.is_control() || c == '\n');
        assert!(safe, "nothing acts on a terminal: {:?}", list.pending);
    }

    #[test]
    fn a_list_is_one_document_as_json_and_as_yaml() {
        let all = |format: &str, values: &[serde_json::Value]| {
            let format = format.parse().unwrap();
            let mut list = List::new("things", &format);
            list.add(values).unwrap();
            list.pending
        };
        let values = [json!({"a": 1}), json!({"a": "x\n  y\n"})];
        assert_eq!(all("jsonl", &values), "{\"a\":1}\n{\"a\":\"x\\n  y\\n\"}\n");
        assert!(all("yaml", &values).starts_with("things:\n- a: 1\n- a: "));
        let whole = all("json", &values) + "\n  ]\n}\n";
        let whole: serde_json::Value = serde_json::from_str(&whole).unwrap();
        assert_eq!(whole["things"][1]["a"], "x\n  y\n");
    }
}
