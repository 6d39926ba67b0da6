//! Templates that a user writes for results: Jinja's, over the fields of the JSON that prn prints.
//! Pure.

use std::fmt::Write as _;
use std::str::FromStr;

use minijinja::{Environment, Output, State, UndefinedBehavior};
use serde_json::Value;

/// Fields whose own fields are the user's: one that is not there is empty.
const FREE: &[&str] = &["labels"];

/// A template without faults of syntax.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(String);

/// A template that does not fit what it is used for.
#[derive(Debug, thiserror::Error)]
#[error("the template of --output: {0}")]
pub struct TemplateError(String);

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a template is empty: write template='{{id}}', for example".to_owned());
        }
        // As docker has them: a shell leaves them as they are.
        let text = text.replace("\\t", "\t").replace("\\n", "\n");
        match environment().template_from_str(&text) {
            Ok(_) => Ok(Self(text)),
            Err(error) => Err(told(&text, &error)),
        }
    }
}

impl Template {
    /// What it makes of a result.
    ///
    /// # Errors
    /// If it asks for a field that there is not, or for something that does not work.
    pub fn render(
        &self,
        value: &Value,
        shown: fn(&str) -> String,
    ) -> Result<String, TemplateError> {
        let mut environment = environment();
        environment.set_formatter(move |out, state, value| put(out, state, value, shown));
        let failed = |error: &minijinja::Error| TemplateError(told(&self.0, error));
        let template = environment
            .template_from_str(&self.0)
            .map_err(|error| failed(&error))?;
        let globals: Vec<_> = environment.globals().map(|(name, _)| name).collect();
        let mut names: Vec<_> = template.undeclared_variables(true).into_iter().collect();
        names.sort();
        for name in names {
            if !globals.contains(&name.as_str()) {
                look_up(value, &name).map_err(TemplateError)?;
            }
        }
        let value = minijinja::value::Serde(value);
        template.render(value).map_err(|error| failed(&error))
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    // For the places of faults.
    environment.set_debug(true);
    // Names are looked up beforehand. What is missing then has no value at this time: how a process
    // ended that still runs.
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment
}

/// A value as it is printed; nothing for one that is not there.
fn put(
    out: &mut Output,
    state: &mut State,
    value: &minijinja::Value,
    shown: fn(&str) -> String,
) -> Result<(), minijinja::Error> {
    if value.is_none() || value.is_undefined() {
        return Ok(());
    }
    if let Some(text) = value.as_str() {
        return out.write_str(&shown(text)).map_err(minijinja::Error::from);
    }
    minijinja::escape_formatter(out, state, value)
}

/// Whether there is a field of this name, `exit.code` for one of a field's own.
fn look_up(value: &Value, name: &str) -> Result<(), String> {
    let mut value = value;
    let mut path = Vec::new();
    for part in name.split('.') {
        let Value::Object(fields) = value else {
            return Ok(());
        };
        let Some(field) = fields.get(part) else {
            if path.last().is_some_and(|last| FREE.contains(last)) {
                return Ok(());
            }
            let known: Vec<_> = fields.keys().map(String::as_str).collect();
            let of = match path.is_empty() {
                true => String::new(),
                false => format!(" of {}", path.join(".")),
            };
            let known = known.join(", ");
            return Err(format!("there is no field {part}{of}; there are: {known}"));
        };
        path.push(part);
        value = field;
    }
    Ok(())
}

/// What is wrong, where, and what a Go template's user should write.
fn told(text: &str, error: &minijinja::Error) -> String {
    let mut told = error.detail().unwrap_or("it does not work").to_owned();
    if let Some(place) = error.range().map(|range| range.start) {
        let column = text
            .get(..place)
            .map_or(place, |before| before.chars().count());
        // Writing to a string cannot fail.
        let _infallible = write!(told, " at character {}", column + 1);
    }
    if is_of_go(text) {
        told.push_str(
            "; templates are Jinja's, not Go's: write {{id}} for {{.ID}}, {% for %} for {{range}}",
        );
    }
    told
}

/// Whether it looks like a template of docker's or kubectl's.
fn is_of_go(text: &str) -> bool {
    text.split("{{").skip(1).any(|rest| {
        let rest = rest.trim_start_matches('-').trim_start();
        let first = rest.split([' ', '}']).next().unwrap_or_default();
        rest.starts_with('.') || matches!(first, "json" | "range" | "end" | "if" | "printf")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(template: &str, value: &Value) -> Result<String, String> {
        let template: Template = template.parse()?;
        template
            .render(value, str::to_owned)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn fields_are_those_of_json_and_what_has_no_value_is_empty() {
        let value = json!({
            "id": "ab", "exit": {"code": 3}, "usage": null, "labels": {"a": "b"}, "pids": 7, "argv": ["x", "y"]
        });
        for (template, text) in [
            ("{{id}} {{exit.code}}", "ab 3"),
            ("{{id}}\\t{{pids}}", "ab\t7"),
            ("{{usage.memory_peak_bytes}}|", "|"),
            ("{{usage}}|", "|"),
            ("{{labels.a}} {{labels.none}}|", "b |"),
            ("{{labels['prn.io/x']|default('-')}}", "-"),
            ("{% for word in argv %}<{{word}}>{% endfor %}", "<x><y>"),
            ("{% if exit %}{{exit.code}}{% else %}runs{% endif %}", "3"),
            ("{% for i in range(2) %}{{i}}{% endfor %}", "01"),
        ] {
            assert_eq!(render(template, &value).as_deref(), Ok(text), "{template}");
        }
    }

    #[test]
    fn a_fault_is_told_with_its_place_and_what_to_write() {
        let value = json!({"id": "ab", "exit": {"code": 3}});
        for (template, parts) in [
            ("{{.id}}", &["Jinja", "{{id}}", "character 3"][..]),
            ("{{json .}}", &["Jinja"]),
            ("{{id", &["character"]),
            ("{{exit_code}}", &["no field exit_code", "exit, id"]),
            ("{{exit.status}}", &["no field status of exit", "code"]),
            ("{{id|nosuch}}", &["nosuch"]),
            ("", &["empty"]),
        ] {
            let told = render(template, &value).unwrap_err();
            for part in parts {
                assert!(told.contains(part), "{template}: {told}");
            }
        }
    }

    #[test]
    fn what_is_printed_is_safe_for_a_terminal_if_it_is_to_be() {
        let template: Template = "{{id}}<b>".parse().unwrap();
        let shown = template.render(&json!({"id": "a\u{1b}&"}), |text| {
            text.replace('\u{1b}', "?")
        });
        assert_eq!(shown.unwrap(), "a?&<b>");
    }
}
