//! A view that is drawn again and again on a terminal.

use std::io;

use terminal_size::terminal_size_of;

use super::descriptor::print;

/// Cursor to the first place; rest of a line and rest of the screen cleared.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
/// All of the screen, once: what was there goes into the terminal's memory above it.
const CLEAR: &str = "\x1b[2J";

/// What is on the screen.
#[derive(Debug, Default)]
pub struct Screen {
    shown: Option<String>,
}

impl Screen {
    /// Shows a text instead of the last one. Lines that have no room are counted in the last.
    pub fn show(&mut self, text: &str) -> io::Result<()> {
        let rows = terminal_size_of(io::stdout()).map(|(_, height)| usize::from(height.0));
        let frame = frame(text, rows.filter(|rows| *rows > 1));
        if self.shown.as_ref() == Some(&frame) {
            return Ok(());
        }
        let clear = if self.shown.is_none() { CLEAR } else { "" };
        print(&format!("{clear}{HOME}{frame}{CLEAR_BELOW}"))?;
        self.shown = Some(frame);
        Ok(())
    }
}

/// The lines, with the cursor below them.
fn frame(text: &str, rows: Option<usize>) -> String {
    let lines: Vec<_> = text.lines().collect();
    // The last row is the cursor's.
    let room = rows.map_or(usize::MAX, |rows| rows - 1);
    let put = |line: &&str| format!("{line}{CLEAR_LINE}\r\n");
    if lines.len() <= room {
        return lines.iter().map(put).collect();
    }
    let kept = room.saturating_sub(1);
    let mut frame: String = lines.iter().take(kept).map(put).collect();
    let more = format!("… {} more lines", lines.len() - kept);
    frame.push_str(&put(&more.as_str()));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_never_scrolls() {
        let text = "a\nb\nc\nd";
        let count = |rows| frame(text, Some(rows)).matches("\r\n").count();
        assert_eq!((count(5), count(4), count(2)), (4, 3, 1));
        assert!(frame(text, Some(4)).contains("… 2 more lines"));
        assert_eq!(frame(text, None).matches("\r\n").count(), 4);
    }
}
