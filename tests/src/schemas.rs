//! What programs read and write as JSON, held to the schemas in docs/schemas.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

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
    let validator = jsonschema::validator_for(schema).expect(name);
    let errors: Vec<_> = validator
        .iter_errors(value)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{name}: {errors:?}: {value}");
    let known = fields(schema);
    let unknown: Vec<_> = value
        .as_object()
        .into_iter()
        .flat_map(serde_json::Map::keys)
        .filter(|field| !known.contains(field.as_str()))
        .collect();
    assert!(unknown.is_empty(), "{name}: {unknown:?}");
}

/// The fields that a schema names, itself or as one of several.
fn fields(schema: &Value) -> BTreeSet<&str> {
    let own = schema["properties"].as_object().into_iter();
    let own = own.flat_map(serde_json::Map::keys).map(String::as_str);
    let others = ["oneOf", "anyOf", "allOf"].map(|several| schema[several].as_array());
    let others = others.into_iter().flatten().flatten().flat_map(fields);
    own.chain(others).collect()
}
