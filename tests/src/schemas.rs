//! What programs read and write as JSON, held to the schemas in docs/schemas.
//!
//! Of JSON Schema (2020-12) that takes the few keywords that schemas made of types have, and any
//! other is an error. A library for all of them would ask for features of crates that prn is built
//! with, and a build of the workspace has each crate once, with all features that are asked for: it
//! made tables of Unicode a part of `prn`, which each run of it loads.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Map, Value};

/// Holds a value to a file in docs/schemas, by its name.
///
/// # Panics
/// If it is not as that says.
#[track_caller]
pub fn assert_valid(name: &str, value: &Value) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).expect(name);
    let schema: Value = serde_json::from_str(&text).expect(name);
    assert_as(name, &schema, value);
}

/// Holds a value to a schema, which has a name.
///
/// # Panics
/// If it is not as that says, or has fields that it does not name: those are of no use to whoever reads it.
#[track_caller]
pub fn assert_as(name: &str, schema: &Value, value: &Value) {
    let errors = errors(schema, schema, value, "");
    assert!(errors.is_empty(), "{name}: {errors:?}: {value}");
    let known = fields(schema);
    let unknown: Vec<_> = value
        .as_object()
        .into_iter()
        .flat_map(Map::keys)
        .filter(|field| !known.contains(field.as_str()))
        .collect();
    assert!(unknown.is_empty(), "{name}: {unknown:?}");
}

/// The fields that a schema names, itself or as one of several.
fn fields(schema: &Value) -> BTreeSet<&str> {
    let own = schema["properties"].as_object().into_iter();
    let own = own.flat_map(Map::keys).map(String::as_str);
    let others = ["oneOf", "anyOf", "allOf"].map(|several| schema[several].as_array());
    let others = others.into_iter().flatten().flatten().flat_map(fields);
    own.chain(others).collect()
}

/// What of a value is not as a schema says, which is a part of `whole`; `at` is where the value is.
fn errors(whole: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    match schema {
        Value::Bool(true) => Vec::new(),
        Value::Bool(false) => vec![format!("{at}: nothing is to be here: {value}")],
        Value::Object(keywords) => {
            let of = |(keyword, said): (&String, &Value)| match keyword.as_str() {
                "properties" | "additionalProperties" | "items" | "$ref" => {
                    errors_below(whole, keywords, keyword, value, at)
                }
                _ if holds(whole, keyword, said, value) => Vec::new(),
                _ => vec![format!("{at}: {keyword} {said}: {value}")],
            };
            keywords.iter().flat_map(of).collect()
        }
        other => panic!("{at}: not a schema: {other}"),
    }
}

/// What is not as a keyword says that is about what is in the value, or leads to another schema.
fn errors_below(
    whole: &Value,
    keywords: &Map<String, Value>,
    keyword: &str,
    value: &Value,
    at: &str,
) -> Vec<String> {
    let (said, named) = (&keywords[keyword], keywords.get("properties"));
    let named = |field: &str| named?.get(field);
    let fields = value.as_object().into_iter().flatten();
    match keyword {
        "$ref" => {
            let place = said.as_str().and_then(|text| text.strip_prefix('#'));
            let other = place.and_then(|place| whole.pointer(place));
            let other = other.unwrap_or_else(|| panic!("{at}: {said} is nowhere"));
            errors(whole, other, value, at)
        }
        "items" => {
            let items = value.as_array().into_iter().flatten().enumerate();
            items
                .flat_map(|(place, item)| errors(whole, said, item, &format!("{at}/{place}")))
                .collect()
        }
        _ => fields
            .filter_map(|(field, item)| match (named(field), keyword) {
                (Some(schema), "properties") => Some((schema, field, item)),
                (None, "additionalProperties") => Some((said, field, item)),
                _ => None,
            })
            .flat_map(|(schema, field, item)| errors(whole, schema, item, &format!("{at}/{field}")))
            .collect(),
    }
}

/// Whether a value is as a keyword says that is about the value itself.
fn holds(whole: &Value, keyword: &str, said: &Value, value: &Value) -> bool {
    let list = || said.as_array().expect(keyword).iter();
    let fitting = || list().filter(|schema| errors(whole, schema, value, "").is_empty());
    let number = |holds: fn(f64, f64) -> bool| {
        let bound = said.as_f64().expect(keyword);
        value.as_f64().is_none_or(|number| holds(number, bound))
    };
    match keyword {
        // Said to people, or for another keyword.
        "$schema" | "$defs" | "title" | "description" | "default" | "examples" | "format" => true,
        "type" => match said {
            Value::Array(types) => types.iter().any(|name| is_of_type(name, value)),
            name => is_of_type(name, value),
        },
        "const" => value == said,
        "enum" => list().any(|one| one == value),
        "minimum" => number(|number, bound| number >= bound),
        "maximum" => number(|number, bound| number <= bound),
        "required" => value.as_object().is_none_or(|fields| {
            list().all(|name| fields.contains_key(name.as_str().expect(keyword)))
        }),
        "anyOf" => fitting().next().is_some(),
        "allOf" => fitting().count() == list().count(),
        "oneOf" => fitting().count() == 1,
        other => panic!("no schema here has had the keyword {other}: add it"),
    }
}

fn is_of_type(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("a type's name") {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.as_f64().is_some_and(|number| number.fract() == 0.0),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other} is no type"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_keyword_takes_what_it_is_to_take_and_nothing_else() {
        let shape = json!({
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"$ref": "#/$defs/b"}},
            "required": ["a"],
            "additionalProperties": false,
            "$defs": {"b": {"type": ["string", "null"]}},
        });
        let counts = json!({"additionalProperties": {"minimum": 1, "maximum": 3}});
        let either = json!({"anyOf": [{"type": "integer"}, {"const": 1}]});
        let one = json!({"oneOf": [{"type": "integer"}, {"const": 1}, {"const": "x"}]});
        let both = json!({"allOf": [{"type": "integer"}, {"minimum": 5}]});
        let list = json!({"items": {"enum": ["a", "b"]}});
        for (schema, good, bad) in [
            (
                &shape,
                vec![json!({"a": 1}), json!({"a": 1, "b": null})],
                vec![
                    json!({"b": "x"}),
                    json!({"a": 1.5}),
                    json!({"a": 1, "b": 2}),
                    json!({"a": 1, "c": 1}),
                    json!([]),
                ],
            ),
            (
                &counts,
                vec![json!({"x": 1, "y": 3})],
                vec![json!({"x": 0}), json!({"x": 1, "y": 4})],
            ),
            (&either, vec![json!(1), json!(2)], vec![json!("x")]),
            (&one, vec![json!(2), json!("x")], vec![json!(1), json!("y")]),
            (&both, vec![json!(5)], vec![json!(4), json!(5.5)]),
            (
                &list,
                vec![json!([]), json!(["a", "b"])],
                vec![json!(["a", "c"])],
            ),
        ] {
            for value in good {
                assert_eq!(errors(schema, schema, &value, ""), [""; 0], "{value}");
            }
            for value in bad {
                assert_ne!(errors(schema, schema, &value, ""), [""; 0], "{value}");
            }
        }
        let nested = json!({"a": {"b": 1}});
        let schema = json!({"properties": {"a": {"properties": {"b": {"type": "null"}}}}});
        assert_eq!(
            errors(&schema, &schema, &nested, ""),
            ["/a/b: type \"null\": 1"]
        );
    }

    #[test]
    #[should_panic(expected = "pattern")]
    fn a_keyword_that_is_not_known_is_not_passed_over() {
        let schema = json!({"pattern": "^a"});
        errors(&schema, &schema, &json!("b"), "");
    }
}
