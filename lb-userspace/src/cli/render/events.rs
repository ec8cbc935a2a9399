//! `lbctl events`.

use super::look::Look;
use super::table::{self, Field, Kind, Tone};
use super::time;
use crate::api::types::{Event, EventLevel};

/// A row for each event.
pub(in crate::cli) fn render(events: &[Event], look: Look) -> String {
    if events.is_empty() {
        return "no events\n".to_owned();
    }
    let columns = [
        ("TIME", Kind::Whole),
        ("LEVEL", Kind::Whole),
        ("EVENT", Kind::Whole),
        ("SUBJECT", Kind::Whole),
        ("MESSAGE", Kind::Text),
    ];
    table::render(look, columns, events.iter().map(row))
}

/// The head of lines that are printed one by one.
pub(in crate::cli) fn head() -> String {
    columns(["TIME", "LEVEL", "EVENT", "SUBJECT", "MESSAGE"])
}

/// An event as a line of its own, for when those that come after it are not known. Not folded: a terminal does that.
pub(in crate::cli) fn line(event: &Event) -> String {
    let [time, level, kind, subject, message] = row(event).map(Field::into_text);
    columns([&time, &level, &kind, &subject, &message])
}

/// Wide enough for every level and kind, and for most subjects.
fn columns([time, level, kind, subject, message]: [&str; 5]) -> String {
    format!("{time:24}  {level:7}  {kind:15}  {subject:20}  {message}\n")
}

fn row(event: &Event) -> [Field; 5] {
    [
        time::milliseconds(event.unix_time_ms).into(),
        level(event.level),
        (&event.kind).into(),
        event.subject.as_deref().unwrap_or(table::NONE).into(),
        (&event.message).into(),
    ]
}

fn level(level: EventLevel) -> Field {
    match level {
        EventLevel::Info => "info".into(),
        EventLevel::Warning => Field::toned("warning", Tone::Warning),
        EventLevel::Error => Field::toned("error", Tone::Bad),
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn an_event_is_a_row() {
        let wanted = "\
TIME                      LEVEL  EVENT         SUBJECT   MESSAGE
2026-11-22T10:00:00.250Z  info   reload        -         generation 12 is in force
2026-11-22T10:00:01.000Z  error  backend_down  web/web2  connection refused, 3 times in a row
";
        let text = render(&samples::events(), Look::default());
        assert_eq!(text, wanted, "got:\n{text}");
    }

    #[test]
    fn lines_that_come_one_by_one_have_their_columns_all_the_same() {
        let wanted = "\
TIME                      LEVEL    EVENT            SUBJECT               MESSAGE
2026-11-22T10:00:00.250Z  info     reload           -                     generation 12 is in force
2026-11-22T10:00:01.000Z  error    backend_down     web/web2              connection refused, 3 times in a row
";
        let lines: String = samples::events().iter().map(line).collect();
        assert_eq!(head() + &lines, wanted, "got:\n{lines}");
    }

    #[test]
    fn nothing_is_said_in_words() {
        assert_eq!(render(&[], Look::default()), "no events\n");
    }
}
