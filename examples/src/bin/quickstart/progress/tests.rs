//! What a terminal and a pipe are shown.

use std::io;
use std::sync::Arc;

use super::*;

#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is written when these are told, in a terminal that is `columns` wide or in a pipe.
fn check(columns: Option<usize>, tell: impl Fn(&Progress)) -> String {
    let screen = Screen::default();
    tell(&Progress::new(Box::new(screen.clone()), columns));
    let bytes = screen.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn running(text: &str) -> State {
    State::Running(text.to_owned())
}

fn done(text: &str) -> State {
    State::Done(text.to_owned())
}

#[test]
fn a_pipe_gets_a_line_per_change() {
    let lines = check(None, |progress| {
        progress.step("files", State::Waiting);
        progress.step("files", running("1 of 2"));
        progress.step("files", running("2 of 2"));
        progress.note("a note");
        progress.step("files", done("2 files"));
    });
    assert_eq!(lines, "running  files: 1 of 2\na note\ndone     files: 2 files\n");
}

#[test]
fn a_terminal_is_redrawn_in_place() {
    let drawn = check(Some(20), |progress| {
        progress.step("a", running(""));
        progress.step("b", State::Held("a long question to you".to_owned()));
        progress.rest();
        progress.step("c", State::Failed("x".to_owned()));
    });
    let expected = "running  a\n\x1b[1A\x1b[Jrunning  a\nheld     b: a long \nfailed   c: x\n";
    assert_eq!(drawn, expected);
}

#[test]
fn a_note_stays_above_the_steps() {
    let drawn = check(Some(80), |progress| {
        progress.step("a", running(""));
        progress.note("a note");
    });
    assert_eq!(drawn, "running  a\n\x1b[1A\x1b[Ja note\nrunning  a\n");
}

#[test]
fn a_terminal_never_gets_more_than_its_lines() {
    let drawn = check(Some(80), |progress| {
        for number in 0..30 {
            progress.step(&format!("step {number}"), if number < 25 { done("") } else { running("") });
        }
    });
    let last = drawn.rsplit("\x1b[J").next().unwrap();
    assert_eq!(last.lines().count(), MAX_LINES);
    assert!(last.ends_with("running  step 29\n") && last.starts_with("done     step 18\n"), "{last}");
}

#[test]
fn a_name_does_not_drive_the_terminal() {
    let drawn = check(None, |progress| progress.step("a\x1b[2J\n", done("")));
    assert_eq!(drawn, "done     a\u{fffd}[2J\u{fffd}\n");
}
