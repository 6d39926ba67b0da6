//! Values that are texts in JSON, read as the command line reads them.

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use clap::ValueEnum;
use prn_client::{LabelSelector, OutputPolicy, OutputStore, Profile};
use prn_proto::units::{Deadline, Time};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::typed::signal::SignalNumber;
use crate::which::reference::Reference;

/// A value that a text says; or a whole number, read as its digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parsed<T>(pub T);

/// A value that a text can say, and how it is written.
pub trait Written: Sized {
    /// From the text.
    fn read(text: &str) -> Result<Self, String>;
    /// The schema of such texts.
    fn schema() -> Schema;
}

impl<'de, T: Written> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text<T>(std::marker::PhantomData<T>);
        impl<T: Written> Visitor<'_> for Text<T> {
            type Value = T;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
                T::read(text).map_err(E::custom)
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
                T::read(&number.to_string()).map_err(E::custom)
            }
        }
        from.deserialize_any(Text(std::marker::PhantomData))
            .map(Self)
    }
}

impl<T: Written> JsonSchema for Parsed<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Text".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        T::schema()
    }
}

fn parsed<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

impl Written for Duration {
    fn read(text: &str) -> Result<Self, String> {
        parsed(text).map(|Time(time)| time)
    }

    fn schema() -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "examples": ["500ms", "10s", "1h30m", 10],
        })
    }
}

impl Written for Deadline {
    fn read(text: &str) -> Result<Self, String> {
        parsed(text)
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "examples": ["2030-01-31T12:00:00Z", "10m"],
        })
    }
}

impl Written for SignalNumber {
    fn read(text: &str) -> Result<Self, String> {
        parsed(text)
    }

    fn schema() -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "examples": ["INT", "SIGHUP", 9],
        })
    }
}

impl Written for Reference {
    fn read(text: &str) -> Result<Self, String> {
        parsed(text)
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "examples": ["fcd2310e", "web"],
        })
    }
}

impl Written for LabelSelector {
    fn read(text: &str) -> Result<Self, String> {
        parsed(text)
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "examples": ["app=web,env!=test", "app", "!app"],
        })
    }
}

/// One of a few words.
fn choice<T: ValueEnum>(text: &str) -> Result<T, String> {
    T::from_str(text, false).map_err(|_| {
        let words = words::<T>();
        format!("{text:?} is none of {}", words.join(", "))
    })
}

fn words<T: ValueEnum>() -> Vec<String> {
    let values = T::value_variants().iter();
    let named = values.filter_map(ValueEnum::to_possible_value);
    named.map(|value| value.get_name().to_owned()).collect()
}

fn choice_schema<T: ValueEnum>() -> Schema {
    json_schema!({ "type": "string", "enum": words::<T>() })
}

macro_rules! chosen {
    ($($choice:ty),*) => {
        $(impl Written for $choice {
            fn read(text: &str) -> Result<Self, String> {
                choice(text)
            }

            fn schema() -> Schema {
                choice_schema::<Self>()
            }
        })*
    };
}

chosen!(Profile, OutputPolicy, OutputStore);

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Written>(json: &str) -> Result<T, String> {
        serde_json::from_str(json)
            .map(|Parsed(value)| value)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn texts_are_read_as_on_the_command_line() {
        assert_eq!(read(r#""1m30s""#), Ok(Duration::from_secs(90)));
        assert_eq!(read("5"), Ok(Duration::from_secs(5)));
        assert_eq!(read(r#""SIGHUP""#), Ok(SignalNumber(1)));
        assert_eq!(read("9"), Ok(SignalNumber(9)));
        assert_eq!(read(r#""strict""#), Ok(Profile::Strict));
        assert!(read::<Duration>(r#""soon""#).unwrap_err().contains("10s"));
        assert!(read::<Duration>("-1").is_err() && read::<Duration>("null").is_err());
        let error = read::<Profile>(r#""lax""#).unwrap_err();
        assert!(error.contains("strict"), "{error}");
    }
}
