//! How far something has got that takes its time, for a person at a terminal.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// What is shown: bytes of how many, files, and how fast.
const KNOWN: &str = "{bytes} of {total_bytes}, {files} files, {bytes_per_sec}";
const UNKNOWN: &str = "{bytes}, {files} files, {bytes_per_sec}";

/// A line on standard error that says how far something has got. Cheap to clone; the clones are of
/// the same line.
#[derive(Debug, Clone)]
pub struct Progress {
    bar: ProgressBar,
    files: Arc<AtomicU64>,
}

impl Progress {
    /// Shows nothing where standard error is no terminal, or if it `is_quiet`.
    pub fn new(is_quiet: bool) -> Self {
        let target = if is_quiet || !io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        let this = Self {
            bar: ProgressBar::with_draw_target(None, target),
            files: Arc::default(),
        };
        this.style(UNKNOWN);
        this
    }

    /// There are so many bytes.
    pub fn expect(&self, bytes: u64) {
        self.bar.set_length(bytes);
        self.style(KNOWN);
    }

    /// So many more bytes are done.
    pub fn bytes(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// One more file has begun.
    pub fn file(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes the line away: something else is to be said, or all is done.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn style(&self, template: &str) {
        // A template of this file's own that is none shows another line.
        let style =
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let files = Arc::clone(&self.files);
        self.bar.set_style(style.with_key(
            "files",
            move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
                // What is shown fails as a whole if this does.
                let _unwritten = write!(out, "{}", files.load(Ordering::Relaxed));
            },
        ));
    }
}
