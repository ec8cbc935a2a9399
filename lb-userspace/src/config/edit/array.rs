//! `backends = [ … ]`: adding to and removing from an inline array without disturbing its layout.
//!
//! The text between two elements is here called a gap. It begins with a comment on the former element's line,
//! if there is one, and ends with the indentation of the next element. The last gap ends at the bracket.

use toml_edit::{Array, InlineTable, Value};

use super::document::{after_last_newline, prefix, suffix};

const INDENT: &str = "    ";

/// A new array with one element, one line per element.
pub(super) fn with_one(element: InlineTable) -> Array {
    let mut array = Array::new();
    push(&mut array, element);
    array
}

/// Appends an element: on its own line if the array has several lines or was empty.
pub(super) fn push(array: &mut Array, element: InlineTable) {
    free_last_gap(array);
    let was_empty = array.is_empty();
    let last_gap = trailing(array);
    let indent = indent_of(array, &last_gap);
    let (before, after) = match (indent, last_gap.rfind('\n')) {
        (None, _) => (" ".to_owned(), last_gap),
        (Some(indent), Some(newline)) => {
            let (comments, closing) = last_gap.split_at(newline);
            (format!("{comments}\n{indent}"), closing.to_owned())
        }
        (Some(indent), None) => {
            let closing = if was_empty { "\n".to_owned() } else { last_gap };
            (format!("\n{indent}"), closing)
        }
    };
    if was_empty {
        array.set_trailing_comma(true);
    }
    array.push_formatted(Value::InlineTable(element).decorated(before, ""));
    array.set_trailing(after);
}

/// Removes an element with the comment on its line. An index out of range changes nothing.
pub(super) fn remove(array: &mut Array, index: usize) {
    if index >= array.len() {
        return;
    }
    free_last_gap(array);
    let removed = array.remove(index);
    let is_last = index == array.len();
    let before = prefix(removed.decor());
    let next_gap = array.get(index).map_or_else(|| trailing(array), |next| prefix(next.decor()));
    let gap = join_gaps(&before, &format!("{}{next_gap}", suffix(removed.decor())), is_last);
    if let Some(next) = array.get_mut(index) {
        next.decor_mut().set_prefix(gap);
    } else if array.is_empty() && !gap.contains('#') {
        array.set_trailing("");
    } else {
        array.set_trailing(gap);
    }
}

/// The gap that two gaps become when the element between them goes.
fn join_gaps(before: &str, after: &str, is_last: bool) -> String {
    match (before.rfind('\n'), after.find('\n')) {
        // The element had its line to itself: that line goes, with the comment at its end.
        (Some(begin), Some(end)) => format!("{}{}", &before[..begin], &after[end..]),
        // It began a line and the bracket followed.
        (Some(begin), None) if is_last => {
            let kept = &before[..begin];
            if kept.contains('#') { format!("{kept}\n") } else { after.to_owned() }
        }
        // It shared its line: a comment at the end of the line is about the others, too.
        (None, Some(_)) => after.to_owned(),
        (None, None) if is_last => after.to_owned(),
        (_, None) => before.to_owned(),
    }
}

/// Where there is no trailing comma, `toml_edit` counts the last gap to the last element; moves it out.
fn free_last_gap(array: &mut Array) {
    // With a comma that text stands before the comma, and stays there.
    if array.trailing_comma() {
        return;
    }
    let trailing = trailing(array);
    let Some(last) = array.iter_mut().last() else { return };
    let gap = suffix(last.decor()) + &trailing;
    last.decor_mut().set_suffix("");
    array.set_trailing(gap);
}

/// The indentation of a new line, or `None` if the array is on one line.
fn indent_of(array: &Array, last_gap: &str) -> Option<String> {
    let gaps: Vec<String> = array.iter().map(|element| prefix(element.decor())).collect();
    if let Some(gap) = gaps.iter().rev().find(|gap| gap.contains('\n')) {
        return Some(after_last_newline(gap).to_owned());
    }
    if !array.is_empty() {
        return None;
    }
    let closing = if last_gap.contains('\n') { after_last_newline(last_gap) } else { "" };
    Some(format!("{closing}{INDENT}"))
}

fn trailing(array: &Array) -> String {
    array.trailing().as_str().unwrap_or_default().to_owned()
}
