//! Where a command that waits shows how far it is.
//!
//! Role: one line on stderr, redrawn on a terminal, repeated now and then elsewhere. Imports `api` only.
//! Always holds: stdout is never touched; with `-o json` nothing but errors reaches a stderr that is no terminal, so
//! that programs can read it.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::args::Output;
use super::exit;
use super::render::text::plain;

/// Time between two lines where a line cannot be redrawn.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows what a command waits for.
pub trait Progress {
    /// What the operator should know before the wait begins.
    fn warn(&mut self, warning: &str) {
        exit::to_stderr(&format!("warning: {}\n", plain(warning)));
    }

    /// How things stand, `waited` after the wait began. Called about twice a second.
    fn show(&mut self, waited: Duration, text: &str);

    /// The wait is over: the terminal is as it was before.
    fn clear(&mut self) {}
}

/// The way that fits this process's stderr.
pub fn on_stderr(output: Output) -> Box<dyn Progress> {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let redraws = std::io::stderr().is_terminal() && !dumb;
    match output {
        _ if redraws => Box::new(Bar(None)),
        Output::Table => Box::new(Lines { next: Duration::ZERO, print: exit::to_stderr }),
        Output::Json => Box::new(Silent),
    }
}

/// A line that is redrawn. It begins with the first thing to show.
struct Bar(Option<ProgressBar>);

impl Progress for Bar {
    fn show(&mut self, _waited: Duration, text: &str) {
        let bar = self.0.get_or_insert_with(|| match ProgressStyle::with_template("{spinner} {wide_msg}") {
            Ok(style) => ProgressBar::new_spinner().with_style(style),
            Err(_) => ProgressBar::new_spinner(),
        });
        bar.set_message(plain(text).into_owned());
        bar.tick();
    }

    fn clear(&mut self) {
        if let Some(bar) = self.0.take() {
            bar.finish_and_clear();
        }
    }
}

/// Lines, some time apart.
struct Lines<P> {
    next: Duration,
    print: P,
}

impl<P: FnMut(&str)> Progress for Lines<P> {
    fn show(&mut self, waited: Duration, text: &str) {
        if waited >= self.next {
            self.next = waited + LINE_EVERY;
            (self.print)(&format!("{}\n", plain(text)));
        }
    }
}

/// Nothing at all.
pub struct Silent;

impl Progress for Silent {
    fn warn(&mut self, _warning: &str) {}

    fn show(&mut self, _waited: Duration, _text: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_at_once_and_then_ten_seconds_apart() {
        let mut printed = Vec::new();
        let mut lines = Lines { next: Duration::ZERO, print: |text: &str| printed.push(text.to_owned()) };
        for half_seconds in 0..50 {
            let waited = Duration::from_millis(half_seconds * 500);
            lines.show(waited, &format!("{waited:?}"));
        }
        assert_eq!(printed, ["0ns\n", "10s\n", "20s\n"]);
    }

    #[test]
    fn the_bar_appears_with_the_first_text_and_goes_when_the_wait_is_over() {
        let mut bar = Bar(None);
        bar.clear();
        bar.show(Duration::ZERO, "web/web1: 37 flows remain\u{1b}[2J");
        assert_eq!(bar.0.as_ref().unwrap().message(), "web/web1: 37 flows remain\\u{1b}[2J");
        bar.clear();
        assert!(bar.0.is_none());
    }
}
