//! Names of contexts, and patterns of them. Pure.

use std::fmt;
use std::str::FromStr;

use globset::{Glob, GlobMatcher};

/// Most characters of a name.
const NAME_MAX: usize = 64;

/// A context's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(String);

impl FromStr for Name {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_name(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err(
                "not a context's name: up to 64 letters, digits, and . _ - behind the first of them",
            )
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Name {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a text can be a name: none of a pattern's characters is in it.
pub fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// Which contexts are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patterns {
    items: Vec<String>,
}

/// Why a list of patterns is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} in it, which is neither a context's name nor a pattern of names")]
pub struct InvalidPattern(String);

impl Patterns {
    /// From what was given: each text is a list with commas.
    ///
    /// # Errors
    /// If one of them can be neither a name nor a pattern of names.
    pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidPattern> {
        let items = texts
            .into_iter()
            .flat_map(|text| text.split(','))
            .map(str::trim)
            .filter(|item| !item.is_empty());
        let items = items.map(|item| {
            if is_name(item) || glob(item).is_some() {
                Ok(item.to_owned())
            } else {
                Err(InvalidPattern(item.to_owned()))
            }
        });
        let items = items.collect::<Result<_, _>>()?;
        Ok(Self { items })
    }

    /// Nothing was given.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The one name, if it is neither a list nor a pattern.
    pub fn sole(&self) -> Option<&str> {
        match self.items.as_slice() {
            [item] if is_name(item) => Some(item),
            _ => None,
        }
    }

    /// The names that are meant, each once, in the order of the list.
    ///
    /// # Errors
    /// The first item that means none of them.
    pub fn choose(&self, names: &[String]) -> Result<Vec<String>, String> {
        let mut chosen: Vec<String> = Vec::new();
        for item in &self.items {
            let matcher = glob(item);
            let is_meant = |name: &&String| match &matcher {
                Some(matcher) => matcher.is_match(name),
                None => *name == item,
            };
            let meant: Vec<_> = names.iter().filter(is_meant).collect();
            if meant.is_empty() {
                return Err(item.clone());
            }
            for name in meant {
                if !chosen.contains(name) {
                    chosen.push(name.clone());
                }
            }
        }
        Ok(chosen)
    }
}

/// A pattern; `None` for what is none, a name above all.
fn glob(item: &str) -> Option<GlobMatcher> {
    let is_pattern = item.contains(['*', '?', '['])
        && item
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-*?[]!^".contains(c));
    if !is_pattern {
        return None;
    }
    Some(Glob::new(item).ok()?.compile_matcher())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(texts: &[&str]) -> Result<Vec<String>, String> {
        let names = ["db", "web1", "web2", "web10"].map(str::to_owned);
        Patterns::of(texts.iter().copied()).unwrap().choose(&names)
    }

    #[test]
    fn patterns_and_lists_choose_each_context_once() {
        assert_eq!(chosen(&["web*"]).unwrap(), ["web1", "web2", "web10"]);
        assert_eq!(
            chosen(&["web2,db", "web?"]).unwrap(),
            ["web2", "db", "web1"]
        );
        assert_eq!(chosen(&["web[12]"]).unwrap(), ["web1", "web2"]);
        assert_eq!(chosen(&["*"]).unwrap().len(), 4);
        assert_eq!(chosen(&["db", "mail*"]), Err("mail*".to_owned()));
        assert_eq!(chosen(&["web"]), Err("web".to_owned()));
    }

    #[test]
    fn one_name_alone_is_no_list() {
        let sole = |texts: &[&str]| {
            let patterns = Patterns::of(texts.iter().copied()).unwrap();
            patterns.sole().map(str::to_owned)
        };
        assert_eq!(sole(&["web1"]).as_deref(), Some("web1"));
        assert_eq!(sole(&["web1,"]).as_deref(), Some("web1"));
        assert_eq!(sole(&["web1,web2"]), None);
        assert_eq!(sole(&["web1", "web2"]), None);
        assert_eq!(sole(&["web1*"]), None);
        assert!(Patterns::of([""]).unwrap().is_empty());
    }

    #[test]
    fn a_name_has_nothing_of_a_pattern_and_a_pattern_nothing_of_a_shell() {
        for good in ["web1", "a.example", "A_b-9"] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "a*", "a b", "a/b", "ü", &"x".repeat(65)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
        for bad in ["a b", "we{b,c}", "$(x)", "web[1", "../x*"] {
            assert!(Patterns::of([bad]).is_err(), "{bad}");
        }
    }
}
