//! A command that was given as one string.

/// Splits a command line as a shell would split its words, without doing anything else that a shell
/// does.
pub fn split_words(line: &str) -> Result<Vec<String>, &'static str> {
    let words =
        shlex::split(line).ok_or("the command has an unclosed quote or ends in a backslash")?;
    if words.first().is_none_or(String::is_empty) {
        Err("the command is empty")
    } else {
        Ok(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_split_by_shell_words_and_nothing_more() {
        assert_eq!(
            split_words("ping google.com").unwrap(),
            ["ping", "google.com"]
        );
        assert_eq!(
            split_words(r#"sh -c 'echo "$A" | wc' a\ b"#).unwrap(),
            ["sh", "-c", r#"echo "$A" | wc"#, "a b"]
        );
        assert_eq!(split_words("echo $HOME *").unwrap(), ["echo", "$HOME", "*"]);
        for bad in ["", "   ", "echo 'a", "echo \"a", "echo a\\", "''"] {
            assert!(split_words(bad).is_err(), "{bad}");
        }
    }
}
