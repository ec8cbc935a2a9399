//! Tables without lines: two spaces between columns, numbers to the right, folded to the terminal.

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table, Width, presets,
};

use super::look::Look;
use super::text::plain;

/// Spaces after each column.
const GAP: u16 = 2;

/// Width of a column of text with its gap, however narrow the terminal is: a link-layer address fits.
const MIN_TEXT: u16 = 20;

/// Stands for a number that there is none of.
pub(super) const NONE: &str = "-";

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text, which may be folded where the terminal is narrow.
    Text,
    /// Text that is of no use in pieces, such as an address.
    Whole,
    /// A number.
    Number,
    /// A number that is left out where the terminal is narrow, or where no row has it (`-`).
    Spare,
}

/// A text in a cell and what it means.
pub(super) struct Field {
    text: String,
    tone: Tone,
}

/// What a text means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// Nothing special.
    Neutral,
    /// All is well.
    Good,
    /// Worth a look.
    Warning,
    /// Something does not work.
    Bad,
}

impl Field {
    /// Text from outside, with a meaning. Only line feeds of our own may be in a cell, see [`lines`].
    pub(super) fn toned(text: &str, tone: Tone) -> Self {
        Self { text: plain(text).into_owned(), tone }
    }
}

impl Field {
    /// What stands in it, harmless for a terminal.
    pub(super) fn into_text(self) -> String {
        self.text
    }
}

impl<T: AsRef<str>> From<T> for Field {
    fn from(text: T) -> Self {
        Self::toned(text.as_ref(), Tone::Neutral)
    }
}

/// Several lines in one cell.
pub(super) fn lines(texts: impl IntoIterator<Item = String>) -> Field {
    let texts: Vec<_> = texts.into_iter().map(|text| plain(&text).into_owned()).collect();
    Field { text: texts.join("\n"), tone: Tone::Neutral }
}

/// A table as text, every line with its newline; nothing at all without rows.
pub(super) fn render<const N: usize>(
    look: Look,
    columns: [(&str, Kind); N],
    rows: impl IntoIterator<Item = [Field; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.force_no_tty();
    table.set_header(columns.map(|(title, _)| Cell::new(title).add_attribute(Attribute::Bold)));
    for row in rows {
        table.add_row(row.map(cell));
    }
    if table.is_empty() {
        return String::new();
    }
    set_columns(&mut table, &columns.map(|(_, kind)| kind));
    if let Some(width) = look.width {
        table.set_width(width);
        hide_until_it_fits(&mut table, &columns.map(|(_, kind)| kind), width);
    }
    // Only now: with colours, lines cannot be measured by their characters.
    if look.colour {
        table.enforce_styling();
    }
    table.trim_fmt() + "\n"
}

fn set_columns(table: &mut Table, kinds: &[Kind]) {
    let absent: Vec<bool> = (0..kinds.len())
        .map(|index| table.column_cells_iter(index).flatten().all(|cell| cell.content() == NONE))
        .collect();
    for ((column, kind), absent) in table.column_iter_mut().zip(kinds).zip(absent) {
        column.set_padding((0, GAP));
        if matches!(kind, Kind::Number | Kind::Spare) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        column.set_constraint(match kind {
            Kind::Text => ColumnConstraint::LowerBoundary(Width::Fixed(MIN_TEXT)),
            Kind::Spare if absent => ColumnConstraint::Hidden,
            Kind::Whole | Kind::Number | Kind::Spare => ColumnConstraint::ContentWidth,
        });
    }
}

/// Hides spare columns, the last first.
fn hide_until_it_fits(table: &mut Table, kinds: &[Kind], width: u16) {
    let spare = kinds.iter().enumerate().rev().filter(|(_, kind)| **kind == Kind::Spare);
    for (index, _) in spare {
        if table.trim_fmt().lines().all(|line| line.chars().count() <= usize::from(width)) {
            return;
        }
        if let Some(column) = table.column_mut(index) {
            column.set_constraint(ColumnConstraint::Hidden);
        }
    }
}

fn cell(field: Field) -> Cell {
    let cell = Cell::new_owned(field.text);
    match field.tone {
        Tone::Neutral => cell,
        Tone::Good => cell.fg(Color::DarkGreen),
        Tone::Warning => cell.fg(Color::DarkYellow),
        Tone::Bad => cell.fg(Color::DarkRed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [(&str, Kind); 3] = [("NAME", Kind::Whole), ("N", Kind::Number), ("WHY", Kind::Text)];

    fn row(name: &str, number: u64, why: &str) -> [Field; 3] {
        [name.into(), number.to_string().into(), Field::toned(why, Tone::Bad)]
    }

    #[test]
    fn numbers_stand_to_the_right_and_no_line_ends_in_spaces() {
        let text = render(Look::default(), COLUMNS, [row("web1", 1, "ok"), row("a", 1000, "")]);
        assert_eq!(text, "NAME     N  WHY\nweb1     1  ok\na     1000\n");
    }

    #[test]
    fn a_narrow_terminal_folds_text_but_never_a_number() {
        let look = Look { colour: false, width: Some(36) };
        let text = render(look, COLUMNS, [row("web1", 123_456_789, "connection refused by the server")]);
        assert!(text.lines().all(|line| line.chars().count() <= 36), "{text}");
        assert!(text.contains("web1  123456789"), "{text}");
    }

    #[test]
    fn spare_numbers_go_where_the_terminal_is_narrow_the_last_first() {
        let columns = [("NAME", Kind::Whole), ("FIRST", Kind::Spare), ("LAST", Kind::Spare)];
        let text = |width| {
            let row: [Field; 3] = ["web1".into(), "1".into(), "2".into()];
            render(Look { colour: false, width: Some(width) }, columns, [row])
        };
        assert_eq!(text(20), "NAME  FIRST  LAST\nweb1      1     2\n");
        assert_eq!(text(15), "NAME  FIRST\nweb1      1\n");
        assert_eq!(text(5), "NAME\nweb1\n");
    }

    #[test]
    fn a_spare_number_that_no_row_has_is_left_out() {
        let columns = [("NAME", Kind::Whole), ("RATE", Kind::Spare)];
        let rows = |rates: [&str; 2]| rates.map(|rate| -> [Field; 2] { ["a".into(), rate.into()] });
        assert_eq!(render(Look::default(), columns, rows([NONE, NONE])), "NAME\na\na\n");
        assert!(render(Look::default(), columns, rows([NONE, "1"])).contains("RATE"));
    }

    #[test]
    fn colours_appear_only_where_they_are_wanted() {
        let coloured = render(Look { colour: true, width: None }, COLUMNS, [row("a", 1, "no")]);
        assert!(coloured.contains("\u{1b}[38;5;1m"), "{coloured:?}");
        assert!(!render(Look::default(), COLUMNS, [row("a", 1, "no")]).contains('\u{1b}'));
    }

    #[test]
    fn what_a_server_says_cannot_steer_the_terminal() {
        let text = render(Look::default(), COLUMNS, [row("a", 1, "\u{1b}]0;x\u{7}\nforged 1 row")]);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("\\u{1b}]0;x\\u{7}\\nforged 1 row"), "{text}");
    }

    #[test]
    fn without_rows_there_is_no_header() {
        assert_eq!(render(Look::default(), COLUMNS, []), "");
    }
}
