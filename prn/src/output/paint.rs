//! Colours, where they are wanted.

use std::io::{self, IsTerminal};

use anstyle::{AnsiColor, Style};

use crate::output::format::Color;

/// What a text's colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// As it should not be.
    Bad,
    /// To be looked at.
    Notable,
    /// Of no interest any more.
    Past,
}

impl Tone {
    fn style(self) -> Style {
        match self {
            Self::Good => AnsiColor::Green.on_default(),
            Self::Bad => AnsiColor::Red.on_default(),
            Self::Notable => AnsiColor::Yellow.on_default(),
            Self::Past => Style::new().dimmed(),
        }
    }
}

/// Whether there are colours on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Palette {
    has_colors: bool,
}

impl Palette {
    /// As the user wants it. Without a word of that: on a terminal that has any, unless NO_COLOR is
    /// set.
    pub fn new(color: Color) -> Self {
        let has_colors = match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                io::stdout().is_terminal()
                    && !anstyle_query::no_color()
                    && anstyle_query::clicolor() != Some(false)
                    && anstyle_query::term_supports_color()
            }
        };
        Self { has_colors }
    }

    /// Whether there are any.
    pub fn has_colors(self) -> bool {
        self.has_colors
    }

    /// Without colours.
    pub const PLAIN: Self = Self { has_colors: false };

    /// A text in its colour.
    pub fn paint(self, text: &str, tone: Option<Tone>) -> String {
        match tone {
            Some(tone) if self.has_colors && !text.is_empty() => {
                let style = tone.style();
                format!("{style}{text}{style:#}")
            }
            Some(_) | None => text.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colour_ends_with_its_text() {
        let always = Palette::new(Color::Always);
        assert_eq!(always.paint("x", Some(Tone::Bad)), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(always.paint("x", None), "x");
        assert_eq!(always.paint("", Some(Tone::Bad)), "");
        let never = Palette::new(Color::Never);
        assert_eq!(never.paint("x", Some(Tone::Bad)), "x");
    }
}
