//! What is shown, and what becomes of it with each key and each answer of a server. Pure: neither
//! a terminal nor a server is needed for it.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use prn_client::{Change, Usages};

use super::host::Host;
use super::key::Key;
use super::log::{Log, Piece};
use super::rows::{Row, Sort, View};
use crate::typed::signal::SignalNumber;

/// Rows that a page has, where nobody says how many there are.
const PAGE: isize = 10;
/// Columns that a log moves sideways by.
const SIDEWAYS: usize = 16;
/// Most letters of what is typed.
const TYPED_MAX: usize = 100;

/// Something that has come from a server.
#[derive(Debug)]
pub enum Update {
    /// It is there.
    Connected {
        /// Which one.
        host: usize,
        /// What it calls itself, if nobody here has a name for it.
        name: Option<String>,
    },
    /// It is not.
    Lost {
        /// Which one.
        host: usize,
        /// Why.
        why: String,
    },
    /// One of its processes is so, or has changed.
    Change {
        /// Which server.
        host: usize,
        /// What.
        change: Change,
    },
    /// What its processes take.
    Usages {
        /// Which server.
        host: usize,
        /// What.
        usages: Usages,
    },
    /// Output of a process.
    Log {
        /// Whose.
        key: Key,
        /// What.
        piece: Piece,
    },
}

/// Something to do that is not done here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// End.
    Quit,
    /// Stop prn, until the shell has it go on.
    Suspend,
    /// Draw all of it again.
    Redraw,
    /// Read the output of this process alone, or of none.
    Read(Option<Key>),
    /// Stop a process.
    Stop(Key),
    /// Send one a signal.
    Signal(Key, i32),
    /// Hold one, or let it go on.
    SetPaused(Key, bool),
}

/// What keys are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// The table.
    Table,
    /// The filter is typed.
    Filter,
    /// It is asked whether a process is to be stopped.
    Stop(Key),
    /// It is asked which signal a process gets.
    Signal {
        /// The process.
        key: Key,
        /// What is typed.
        typed: String,
        /// No signal is called that.
        is_wrong: bool,
    },
    /// Help is shown.
    Help,
}

/// How much of the screen a log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pane {
    /// The lower half.
    Half,
    /// All.
    Whole,
}

/// Something that is said until the next key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What.
    pub text: String,
    /// Something went wrong.
    pub is_bad: bool,
}

/// All that there is to show.
#[derive(Debug)]
pub struct Model {
    /// The servers.
    pub hosts: Vec<Host>,
    /// Which rows, and in which order.
    pub view: View,
    /// What keys are for.
    pub mode: Mode,
    /// The output of the selected process, if it is shown.
    pub log: Option<Log>,
    /// How much of the screen that has.
    pub pane: Pane,
    /// Said until the next key.
    pub message: Option<Message>,
    selected: Option<Key>,
    /// The row that it was in.
    place: usize,
}

impl Model {
    /// Of servers by these names, of which nothing is known yet.
    pub fn new(names: Vec<String>, view: View) -> Self {
        Self {
            hosts: names.into_iter().map(Host::new).collect(),
            view,
            mode: Mode::Table,
            log: None,
            pane: Pane::Half,
            message: None,
            selected: None,
            place: 0,
        }
    }

    /// The rows that are shown.
    pub fn rows(&self) -> Vec<Row<'_>> {
        self.view.rows(&self.hosts)
    }

    /// The row of the selected process.
    pub fn selected(&self) -> Option<Key> {
        self.selected
    }

    /// What a process is called.
    pub fn name(&self, key: Key) -> String {
        let host = self.hosts.get(key.host);
        let status = host.and_then(|host| Some(&host.process(key.id)?.status));
        let name = status.and_then(|status| status.name.clone());
        name.unwrap_or_else(|| super::rows::short(&key))
    }

    /// Says something until the next key.
    pub fn tell(&mut self, text: String, is_bad: bool) {
        self.message = Some(Message { text, is_bad });
    }

    /// Takes what has come from a server. What is to be done then.
    pub fn update(&mut self, update: Update) -> Option<Action> {
        match update {
            Update::Connected { host, name } => self.host(host)?.connected(name),
            Update::Lost { host, why } => self.host(host)?.lost(why),
            Update::Change { host, change } => {
                if change == Change::Restarted {
                    let name = self.host(host)?.name.clone();
                    let text = format!("{name} was restarted: its processes of before are lost");
                    self.tell(text, true);
                }
                self.host(host)?.change(change);
            }
            Update::Usages { host, usages } => self.host(host)?.usages(usages),
            Update::Log { key, piece } => {
                let log = self.log.as_mut().filter(|log| log.key == key);
                log?.take(piece);
                return None;
            }
        }
        self.keep_selected()
    }

    fn host(&mut self, place: usize) -> Option<&mut Host> {
        self.hosts.get_mut(place)
    }

    /// The selected process stays so for as long as it is shown; then it is the one in its row.
    fn keep_selected(&mut self) -> Option<Action> {
        let keys: Vec<_> = self.rows().iter().map(|row| row.key).collect();
        let place = keys.iter().position(|key| Some(*key) == self.selected);
        self.place = place.unwrap_or(self.place.min(keys.len().saturating_sub(1)));
        // The output of one that has ended is worth reading still.
        let is_read = self.log.is_some();
        if place.is_none() && !is_read {
            return self.select(keys.get(self.place).copied());
        }
        None
    }

    fn select(&mut self, key: Option<Key>) -> Option<Action> {
        self.selected = key;
        if self.log.as_ref().is_none_or(|log| Some(log.key) == key) {
            return None;
        }
        self.read(key)
    }

    fn read(&mut self, key: Option<Key>) -> Option<Action> {
        self.log = key.map(Log::new);
        Some(Action::Read(key))
    }

    fn move_by(&mut self, rows: isize) -> Option<Action> {
        let keys: Vec<_> = self.rows().iter().map(|row| row.key).collect();
        let last = keys.len().checked_sub(1)?;
        self.place = self.place.saturating_add_signed(rows).min(last);
        self.select(keys.get(self.place).copied())
    }

    /// Takes a key. What is to be done then.
    pub fn key(&mut self, key: KeyEvent) -> Option<Action> {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return self.control(key.code);
        }
        self.message = None;
        match self.mode.clone() {
            Mode::Table => self.table_key(key.code),
            Mode::Filter => self.filter_key(key.code),
            Mode::Stop(of) => self.stop_key(of, key.code),
            Mode::Signal { key: of, typed, .. } => self.signal_key(of, typed, key.code),
            Mode::Help => {
                self.mode = Mode::Table;
                None
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "other keys mean nothing")]
    fn control(&mut self, code: KeyCode) -> Option<Action> {
        match code {
            KeyCode::Char('c') => Some(Action::Quit),
            KeyCode::Char('z') => Some(Action::Suspend),
            KeyCode::Char('l') => Some(Action::Redraw),
            KeyCode::Char('p') => self.move_by(-1),
            KeyCode::Char('n') => self.move_by(1),
            KeyCode::Char('u') => {
                self.clear_typed();
                self.keep_selected()
            }
            _ => None,
        }
    }

    fn clear_typed(&mut self) {
        match &mut self.mode {
            Mode::Filter => self.view.filter.clear(),
            Mode::Signal { typed, .. } => typed.clear(),
            Mode::Table | Mode::Stop(_) | Mode::Help => {}
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "other keys mean nothing")]
    fn table_key(&mut self, code: KeyCode) -> Option<Action> {
        match code {
            KeyCode::Char('q') => return Some(Action::Quit),
            KeyCode::Char('c') => self.view.sort_by(Sort::Cpu),
            KeyCode::Char('m') => self.view.sort_by(Sort::Memory),
            KeyCode::Char('i') => self.view.sort_by(Sort::Io),
            KeyCode::Char('a') => self.view.sort_by(Sort::Age),
            KeyCode::Char('n') => self.view.sort_by(Sort::Name),
            KeyCode::Char('f') => self.view.shows_finished = !self.view.shows_finished,
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.mode = Mode::Help,
            KeyCode::Char('s') => self.mode = self.selected.map_or(Mode::Table, Mode::Stop),
            KeyCode::Char('k') => self.ask_signal(),
            KeyCode::Char('p') => return self.pause(),
            KeyCode::Enter => return self.enter(),
            KeyCode::Esc => return self.escape(),
            KeyCode::Left | KeyCode::Right => self.sideways(code == KeyCode::Right),
            KeyCode::Up => return self.move_by(-1),
            KeyCode::Down => return self.move_by(1),
            KeyCode::PageUp => return self.page(-PAGE),
            KeyCode::PageDown => return self.page(PAGE),
            KeyCode::Home => return self.page(isize::MIN),
            KeyCode::End => return self.page(isize::MAX),
            _ => return None,
        }
        self.keep_selected()
    }

    /// Of a log if it is shown, else of the table.
    fn page(&mut self, rows: isize) -> Option<Action> {
        match &mut self.log {
            Some(log) => {
                log.scroll(rows.saturating_neg());
                None
            }
            None => self.move_by(rows),
        }
    }

    fn sideways(&mut self, is_right: bool) {
        if let Some(log) = &mut self.log {
            log.left = if is_right {
                log.left.saturating_add(SIDEWAYS)
            } else {
                log.left.saturating_sub(SIDEWAYS)
            };
        }
    }

    fn enter(&mut self) -> Option<Action> {
        if self.log.is_some() {
            self.pane = match self.pane {
                Pane::Half => Pane::Whole,
                Pane::Whole => Pane::Half,
            };
            return None;
        }
        self.pane = Pane::Half;
        self.read(Some(self.selected?))
    }

    fn escape(&mut self) -> Option<Action> {
        if self.log.is_some() {
            self.read(None);
            self.keep_selected();
            return Some(Action::Read(None));
        }
        self.view.filter.clear();
        self.keep_selected()
    }

    fn ask_signal(&mut self) {
        if let Some(key) = self.selected {
            self.mode = Mode::Signal {
                key,
                typed: String::new(),
                is_wrong: false,
            };
        }
    }

    fn pause(&mut self) -> Option<Action> {
        let key = self.selected?;
        let process = self.hosts.get(key.host)?.process(key.id)?;
        Some(Action::SetPaused(key, !process.status.paused))
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "other keys are typed")]
    fn filter_key(&mut self, code: KeyCode) -> Option<Action> {
        match code {
            KeyCode::Enter => self.mode = Mode::Table,
            KeyCode::Esc => {
                self.view.filter.clear();
                self.mode = Mode::Table;
            }
            code => typed(&mut self.view.filter, code),
        }
        self.keep_selected()
    }

    fn stop_key(&mut self, key: Key, code: KeyCode) -> Option<Action> {
        self.mode = Mode::Table;
        if matches!(code, KeyCode::Char('y' | 'Y')) {
            self.tell(format!("stopping {} …", self.name(key)), false);
            return Some(Action::Stop(key));
        }
        self.tell("nothing was stopped".to_owned(), false);
        None
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "other keys are typed")]
    fn signal_key(&mut self, key: Key, mut text: String, code: KeyCode) -> Option<Action> {
        let mut is_wrong = false;
        match code {
            KeyCode::Esc => {
                self.mode = Mode::Table;
                return None;
            }
            KeyCode::Enter => {
                let name = if text.is_empty() { "TERM" } else { &text };
                if let Ok(SignalNumber(number)) = name.parse() {
                    self.mode = Mode::Table;
                    return Some(Action::Signal(key, number));
                }
                is_wrong = true;
            }
            code => typed(&mut text, code),
        }
        self.mode = Mode::Signal {
            key,
            typed: text,
            is_wrong,
        };
        None
    }
}

/// What a line is after a key.
#[expect(clippy::wildcard_enum_match_arm, reason = "other keys mean nothing")]
fn typed(line: &mut String, code: KeyCode) {
    match code {
        KeyCode::Char(letter) if line.chars().count() < TYPED_MAX => line.push(letter),
        KeyCode::Backspace => {
            line.pop();
        }
        _ => {}
    }
}
