//! One value of the file, and how to read it as what is expected there.
//!
//! Role: typed readers over the spanned TOML values. Imports `problem`, `source`, `suggest`.
//! Always holds: a reader that returns `None` has reported why.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Problems, quoted};
use super::source::{At, Span};
use super::suggest;

/// A value and the key that it belongs to (the array's key for an element of an array).
#[derive(Clone, Copy)]
pub(super) struct Field<'a> {
    pub key: &'a str,
    pub value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Field<'a> {
    pub fn span(&self) -> Span {
        self.value.span()
    }

    /// The value, with its place.
    pub fn at<T>(&self, value: T) -> At<T> {
        At::new(value, self.span())
    }

    pub fn string(&self, problems: &mut Problems) -> Option<At<&'a str>> {
        match self.value.get_ref() {
            DeValue::String(text) => Some(self.at(text.as_ref())),
            other => {
                let hint = match scalar_text(other) {
                    Some(text) => format!("put it in double quotes: \"{text}\""),
                    None => format!("write {} = \"…\"", self.key),
                };
                self.wrong_type("a string", &hint, problems)
            }
        }
    }

    /// An integer within `range`.
    pub fn integer(&self, range: &RangeInclusive<u32>, problems: &mut Problems) -> Option<At<u32>> {
        let DeValue::Integer(written) = self.value.get_ref() else {
            let hint = match self.value.get_ref() {
                DeValue::String(text) if text.parse::<u32>().is_ok() => {
                    format!("write it without quotes: {text}")
                }
                _ => format!("write a number from {} to {}", range.start(), range.end()),
            };
            return self.wrong_type("an integer", &hint, problems);
        };
        let number = u32::from_str_radix(written.as_str(), written.radix()).ok();
        if let Some(number) = number.filter(|number| range.contains(number)) {
            return Some(self.at(number));
        }
        self.out_of_range(written, range.start(), range.end(), problems)
    }

    pub fn port(&self, problems: &mut Problems) -> Option<At<u16>> {
        let number = self.integer(&super::bounds::PORT, problems)?;
        // The range ends at 65,535, so the conversion holds.
        u16::try_from(number.value).ok().map(|port| self.at(port))
    }

    /// A duration such as "500ms", within `range`.
    pub fn duration(
        &self,
        range: &RangeInclusive<Duration>,
        problems: &mut Problems,
    ) -> Option<At<Duration>> {
        const FORM: &str = "write a number with a unit, such as \"500ms\" or \"2s\"";
        let DeValue::String(text) = self.value.get_ref() else {
            return self.wrong_type("a duration", FORM, problems);
        };
        match humantime::parse_duration(text) {
            Ok(duration) if range.contains(&duration) => Some(self.at(duration)),
            Ok(_) => {
                let (low, high) =
                    (humantime::format_duration(*range.start()), humantime::format_duration(*range.end()));
                self.out_of_range(text, &low, &high, problems)
            }
            Err(error) => {
                let message = format!("`{}`: {} is not a duration: {error}", self.key, quoted(text));
                self.refuse(message, FORM, problems)
            }
        }
    }

    pub fn boolean(&self, problems: &mut Problems) -> Option<bool> {
        match self.value.get_ref() {
            DeValue::Boolean(truth) => Some(*truth),
            DeValue::String(text) if matches!(text.as_ref(), "true" | "false") => {
                self.wrong_type("a boolean", &format!("write it without quotes: {text}"), problems)
            }
            _ => self.wrong_type("a boolean", "write true or false", problems),
        }
    }

    /// One of a fixed set of words.
    pub fn choice<T: Copy>(&self, choices: &[(&str, T)], problems: &mut Problems) -> Option<At<T>> {
        let written = self.string(problems)?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == written.value) {
            return Some(self.at(*value));
        }
        let words = || choices.iter().map(|(word, _)| *word);
        let listed: Vec<String> = words().map(|word| format!("\"{word}\"")).collect();
        let hint = match suggest::nearest(&written.value.to_lowercase(), words()) {
            Some(word) => format!("did you mean \"{word}\"? The choices are {}", listed.join(", ")),
            None => format!("the choices are {}", listed.join(", ")),
        };
        self.refuse(format!("`{}`: {} is not a choice", self.key, quoted(written.value)), &hint, problems)
    }

    pub fn is_array(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::Array(_))
    }

    /// The elements of an array, as fields of the same key.
    pub fn elements(&self, problems: &mut Problems) -> Option<Vec<Field<'a>>> {
        match self.value.get_ref() {
            DeValue::Array(array) => Some(array.iter().map(|value| Field { key: self.key, value }).collect()),
            DeValue::String(text) => {
                let hint = format!("put it in brackets: [\"{}\"]", text.escape_debug());
                self.wrong_type("an array", &hint, problems)
            }
            other => {
                let hint = match scalar_text(other) {
                    Some(text) => format!("put it in brackets: [{text}]"),
                    None => format!("write {} = […]", self.key),
                };
                self.wrong_type("an array", &hint, problems)
            }
        }
    }

    pub fn table(&self, problems: &mut Problems) -> Option<&'a DeTable<'a>> {
        match self.value.get_ref() {
            DeValue::Table(table) => Some(table),
            DeValue::Array(_) => {
                self.wrong_type("a table", "write its header in single brackets: [name]", problems)
            }
            _ => self.wrong_type("a table", "write its keys under a header: [name]", problems),
        }
    }

    /// Reports a value that has the right type and is wrong all the same.
    pub fn refuse<T>(
        &self,
        message: impl Into<String>,
        hint: impl Into<String>,
        problems: &mut Problems,
    ) -> Option<T> {
        problems.push(Problem::value(self.span(), message, hint));
        None
    }

    fn wrong_type<T>(&self, expected: &str, hint: &str, problems: &mut Problems) -> Option<T> {
        let found = with_article(self.value.get_ref().type_str());
        self.refuse(format!("`{}`: expected {expected}, found {found}", self.key), hint, problems)
    }

    fn out_of_range<T>(
        &self,
        written: &dyn Display,
        low: &dyn Display,
        high: &dyn Display,
        problems: &mut Problems,
    ) -> Option<T> {
        let message = format!("`{}`: {} is out of range", self.key, quoted(&written.to_string()));
        self.refuse(message, format!("the range is {low} to {high}"), problems)
    }
}

/// How a number, a boolean or a date reads in the file.
fn scalar_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        DeValue::Datetime(date) => Some(date.to_string()),
        DeValue::String(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}

fn with_article(type_name: &str) -> String {
    let article = if type_name.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {type_name}")
}
