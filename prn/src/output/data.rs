//! Results for programs: all that is known, as JSON, as YAML, or as a template has it.

use std::io;

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use serde_saphyr::DoubleQuoted;

use super::descriptor::print;
use super::shown::{escaped_reversibly, put, reorders};
use crate::output::format::Format;
use crate::output::template::{Template, TemplateError};

/// A result in a format for programs, whole lines; `None` for one that is for people.
pub fn text<T: Serialize>(value: &T, format: &Format) -> io::Result<Option<String>> {
    let text = match format {
        Format::Json => json_pretty(value)?,
        Format::JsonLines => json_line(value)?,
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
    let text =
        serde_saphyr::to_string_with_options(value, options.clone()).map_err(io::Error::other)?;
    if !text.contains(acts) {
        return Ok(text.trim_end().to_owned());
    }
    // Escapes are for quoted texts alone.
    let value = serde_json::to_value(value)?;
    let text =
        serde_saphyr::to_string_with_options(&Quoted(&value), options).map_err(io::Error::other)?;
    Ok(without_acts(text.trim_end().to_owned()))
}

/// A value whose texts are quoted where a terminal would act on them.
struct Quoted<'a>(&'a Value);

impl Serialize for Quoted<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::String(text) if text.contains(acts) => DoubleQuoted(text).serialize(to),
            Value::Array(all) => to.collect_seq(all.iter().map(Quoted)),
            Value::Object(all) => {
                let mut map = to.serialize_map(Some(all.len()))?;
                for (key, value) in all {
                    map.serialize_entry(key, &Quoted(value))?;
                }
                map.end()
            }
            other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => {
                other.serialize(to)
            }
        }
    }
}

/// A value as JSON, on one line.
pub fn json_line<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    serde_json::to_string(value).map(without_acts)
}

/// The same on several.
pub fn json_pretty<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    serde_json::to_string_pretty(value).map(without_acts)
}

/// Whether a terminal acts on a character that JSON and YAML may leave as it is.
fn acts(c: char) -> bool {
    matches!(c, '\u{7f}'..='\u{9f}') || reorders(c)
}

/// The same data, where such characters are in quoted texts alone.
fn without_acts(text: String) -> String {
    if !text.contains(acts) {
        return text;
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if acts(c) {
            put(&mut safe, format_args!("\\u{:04x}", u32::from(c)));
        } else {
            safe.push(c);
        }
    }
    safe
}

fn rendered<T: Serialize>(template: &Template, value: &T) -> io::Result<String> {
    let value = serde_json::to_value(value)?;
    Ok(template.render(&value, escaped_reversibly)?)
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
        for line in json_pretty(result)?.lines() {
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
    fn data_is_the_same_and_nothing_in_it_acts_on_a_terminal() {
        let text = "a\\b \u{7f}\u{9b}2J \u{202e}x\u{61c}\u{2069}\u{2028}: é 漢";
        let value = json!({"b": 1, "text": text, "all": [text, null, "plain"]});
        for format in ["json", "jsonl", "yaml"] {
            let shown = super::text(&value, &format.parse().unwrap())
                .unwrap()
                .unwrap();
            let is_safe = |c: char| !reorders(c) && (!c.is_control() || c == '\n');
            assert!(shown.chars().all(is_safe), "{shown:?}");
            let read: Value = match format {
                "yaml" => serde_saphyr::from_str(&shown).unwrap(),
                _ => serde_json::from_str(&shown).unwrap(),
            };
            assert_eq!(read, value, "{shown}");
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
