//! A terminal, as a person at tmux has it: what is typed, what is shown, and what is left behind.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prn_tests::proxy::Proxy;
use prn_tests::screen::Screen;
use prn_tests::server::Server;
use prn_tests::{procfs, wait_for};

/// A shell there. Its prompt is not to be found in this line.
const BASH: &str = "$PRN run -it --env 'PS1=f''ar> ' -- bash --norc --noprofile";

#[test]
fn a_shell_is_as_usable_as_a_local_one() {
    let server = Server::start();
    let screen = Screen::open(&server);
    let modes = screen.modes();
    screen.line(BASH);
    screen.shows("far>");
    assert_ne!(screen.modes(), modes, "keys are the process's");
    screen.line("echo $((6 * 7)) $TERM; stty size; tty; test -t 0 -a -t 1 -a -t 2 && echo a''ll");
    screen.shows("42 ");
    screen.shows("24 80");
    screen.shows("/dev/pts/");
    screen.shows("all");
    // Line editing: the cursor goes back.
    screen.ok(&["send-keys", "-l", "echo bc"]);
    screen.keys(&["Left", "Left", "a", "Enter"]);
    screen.shows("abc");
    // Ctrl-C is the process's.
    let seconds = 1_000_000 + std::process::id();
    let sleep = format!("sleep {seconds}");
    let has_keys = || procfs::has_keys(&["sleep", &seconds.to_string()]);
    let sleeps = || wait_for("sleep to have the keys", has_keys);
    screen.line(&format!("clear; {sleep}; echo status $?"));
    sleeps();
    screen.keys(&["C-c"]);
    screen.line("echo status $?");
    screen.shows("status 130");
    // Job control.
    screen.line(&format!("clear; {sleep}"));
    sleeps();
    screen.keys(&["C-z"]);
    screen.shows("Stopped");
    screen.line("clear; jobs; fg");
    sleeps();
    screen.shows(&format!("Stopped                 {sleep}"));
    screen.keys(&["C-c"]);
    // Size, at once and in order.
    screen.ok(&["resize-window", "-x", "100", "-y", "30"]);
    screen.line("clear; sleep 0.5; stty size");
    screen.shows("30 100");
    screen.ok(&["resize-window", "-x", "80", "-y", "24"]);
    screen.line("exit 5");
    screen.comes_back(&modes);
    screen.line("code=$?; clear; echo far $code");
    screen.shows("far 5");
}

#[test]
fn full_screen_programs_draw_take_keys_and_leave_the_screen_as_it_was() {
    let server = Server::start();
    let screen = Screen::open(&server);
    let modes = screen.modes();
    screen.line(BASH);
    screen.shows("far>");
    screen.line("clear; printf 'one\\ntwo\\n' >file; vi file");
    screen.shows("two");
    screen.shows("~");
    screen.keys(&["G", "o"]);
    screen.ok(&["send-keys", "-l", "three"]);
    screen.keys(&["Escape", ":", "w", "q", "Enter"]);
    screen.shows("far>");
    screen.line("clear; cat file");
    screen.shows("three");
    screen.line("clear; top");
    screen.shows("PID");
    screen.ok(&["resize-window", "-x", "60", "-y", "20"]);
    // top takes all that was typed until it looks, and drops what follows the q (tcflush(3)).
    screen.keys(&["q"]);
    screen.shows("far>");
    screen.line("clear; seq 1000 | less");
    screen.shows("10");
    screen.keys(&["G"]);
    screen.shows("1000");
    screen.keys(&["q"]);
    screen.shows("far>");
    screen.ok(&["resize-window", "-x", "80", "-y", "24"]);
    screen.line("exit");
    screen.comes_back(&modes);
}

#[test]
fn a_detached_terminal_is_attached_again_and_shows_what_went_on() {
    let server = Server::start();
    let screen = Screen::open(&server);
    let modes = screen.modes();
    screen.line(BASH);
    screen.shows("far>");
    screen.line("word=kept");
    screen.keys(&["C-p", "C-q"]);
    screen.comes_back(&modes);
    screen.line("code=$?; clear; echo left $code");
    screen.shows("left 0");
    let id = server.ok(&["list", "-o", "json"]);
    let id = serde_json::from_str::<serde_json::Value>(&id).unwrap();
    let id = id["processes"][0]["id"].as_str().unwrap().to_owned();
    screen.line(&format!("clear; $PRN attach {id}"));
    screen.line("echo $word");
    screen.shows("kept");
    screen.line("exit 3");
    screen.comes_back(&modes);
    screen.line("code=$?; clear; echo far $code");
    screen.shows("far 3");
    // The transcript is its output.
    assert!(server.ok(&["logs", &id]).contains("kept"));
}

#[test]
fn a_session_goes_on_when_its_connection_is_lost_and_comes_back() {
    let server = Server::start();
    let proxy = Proxy::start(&server.address, || None);
    let screen = Screen::with(&server, &[("PRN_ADDRESS", &proxy.address)]);
    let modes = screen.modes();
    screen.line(BASH);
    screen.shows("far>");
    screen.line("word=kept");
    proxy.interrupt();
    std::thread::sleep(Duration::from_millis(500));
    screen.ok(&["send-keys", "-l", "echo still $word"]);
    proxy.resume();
    screen.keys(&["Enter"]);
    screen.shows("still kept");
    screen.line("exit 2");
    screen.comes_back(&modes);
    screen.line("code=$?; clear; echo far $code");
    screen.shows("far 2");
}

#[test]
fn n7_the_local_terminal_is_as_it_was_however_a_session_ends() {
    let server = Server::start();
    let screen = Screen::open(&server);
    let modes = screen.modes();
    let begin = || {
        screen.line(&format!("clear; {BASH}"));
        screen.shows("far>");
        assert_ne!(screen.modes(), modes);
    };
    let restored = |how: &str| {
        println!("{how}");
        screen.comes_back(&modes);
        screen.line("code=$?; clear; echo back $code");
        screen.shows("back ");
    };
    begin();
    screen.line("exit");
    restored("exit");
    for signal in [
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
    ] {
        begin();
        kill(Pid::from_raw(screen.prn()), signal).unwrap();
        restored(signal.as_str());
        // What was interrupted may take a moment to end.
        screen.keys(&["C-c"]);
    }
    begin();
    let first = server.frontend();
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    // What is typed before that may be lost, and is told to be.
    wait_for("another frontend", || server.frontend() != first);
    screen.line("exit");
    restored("a killed frontend");
    screen.line(&format!(
        "clear; {}",
        BASH.replace(" -it", " -it --reconnect 2s")
    ));
    screen.shows("far>");
    kill(Pid::from_raw(server.supervisor()), Signal::SIGKILL).unwrap();
    restored("a killed supervisor");
}

#[test]
fn a_session_that_is_stopped_gives_the_terminal_back_and_takes_it_again() {
    let server = Server::start();
    let screen = Screen::open(&server);
    let modes = screen.modes();
    screen.line(BASH);
    screen.shows("far>");
    let taken = screen.modes();
    for _ in 0..2 {
        kill(Pid::from_raw(screen.prn()), Signal::SIGTSTP).unwrap();
        screen.shows("Stopped");
        screen.comes_back(&modes);
        screen.line("clear; echo here $((3 * 5))");
        screen.shows("here 15");
        screen.line("clear; fg");
        screen.shows("far>");
        screen.comes_back(&taken);
        screen.line("clear; echo there $((7 * 5))");
        screen.shows("there 35");
    }
    screen.line("exit 4");
    screen.comes_back(&modes);
    screen.line("code=$?; clear; echo far $code");
    screen.shows("far 4");
}

#[test]
fn keys_that_did_not_arrive_before_a_session_is_left_are_told() {
    let server = Server::start();
    let proxy = Proxy::start(&server.address, || None);
    let screen = Screen::with(&server, &[("PRN_ADDRESS", &proxy.address)]);
    let modes = screen.modes();
    screen.line(BASH);
    screen.shows("far>");
    proxy.interrupt();
    std::thread::sleep(Duration::from_millis(500));
    screen.line("exit 5");
    screen.keys(&["C-p", "C-q"]);
    screen.shows("what was typed last may not have reached the process");
    screen.comes_back(&modes);
}

#[test]
fn what_cannot_be_a_terminal_is_refused_with_what_to_do_instead() {
    let server = Server::start();
    let output = server
        .prn(&["run", "-it", "--", "true"])
        .stdin(Stdio::piped())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("-i"), "{said}");
    let both = server.run(&["run", "-n", "-t", "--", "true"]);
    assert_eq!(both.status.code(), Some(125));
}

#[test]
fn a_list_that_is_watched_is_drawn_again_and_again() {
    let server = Server::start();
    let screen = Screen::open(&server);
    screen.line("\"$PRN\" list --watch");
    screen.shows("| ID | STATE | COMMAND |");
    let id = server.start_process(&["--name", "worker"], &["sleep", "1000"]);
    screen.shows("worker");
    screen.shows("Running");
    server.ok(&["stop", &id]);
    screen.shows("Stopped");
    let pane = screen.pane();
    assert_eq!(pane.matches("worker").count(), 1, "one table: {pane}");
    screen.keys(&["C-c"]);
    screen.shows("local>");
    screen.line("clear; \"$PRN\" stats --interval 200ms");
    screen.shows("CPU %");
    server.start_process(&["--name", "busy"], &["sh", "-c", "while :; do :; done"]);
    screen.shows("busy");
    screen.keys(&["C-c"]);
    screen.shows("local>");
}
