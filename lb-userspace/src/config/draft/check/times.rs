//! The times of a check, which depend on each other.

use std::time::Duration;

use super::or_default;
use crate::config::bounds::{CHECK_INTERVAL, CHECK_JITTER, CHECK_TIMEOUT, DEFAULT_INTERVAL, DEFAULT_TIMEOUT};
use crate::config::field::Field;
use crate::config::problem::{Problem, Problems};
use crate::config::source::At;
use crate::config::table::TableReader;

pub(super) struct Times {
    pub interval: Duration,
    pub timeout: Duration,
    pub jitter: Duration,
}

impl Times {
    pub fn read(reader: &mut TableReader<'_>, problems: &mut Problems) -> Option<Self> {
        let interval_field = reader.optional("interval");
        let (timeout_field, jitter_field) = (reader.optional("timeout"), reader.optional("jitter"));
        let interval = or_default(interval_field, DEFAULT_INTERVAL, |field| {
            field.duration(&CHECK_INTERVAL, problems).map(|interval| interval.value)
        });
        let timeout =
            or_default(timeout_field, None, |field| field.duration(&CHECK_TIMEOUT, problems).map(Some));
        let jitter =
            or_default(jitter_field, None, |field| field.duration(&CHECK_JITTER, problems).map(Some));
        let (interval, timeout, jitter) = (interval?, timeout?, jitter?);
        let mut fits = |what, time: &Option<At<Duration>>, most: Duration| {
            let Some(time) = time.as_ref().filter(|time| time.value > most) else { return true };
            too_long(what, time, interval_field, most, problems);
            false
        };
        let timeout_fits = fits("timeout", &timeout, interval);
        let jitter_fits = fits("jitter", &jitter, interval / 2);
        (timeout_fits && jitter_fits).then_some(Self {
            interval,
            timeout: timeout.map_or(DEFAULT_TIMEOUT.min(interval), |timeout| timeout.value),
            jitter: jitter.map_or(Duration::ZERO, |jitter| jitter.value),
        })
    }
}

fn too_long(
    what: &str,
    time: &At<Duration>,
    interval: Option<Field<'_>>,
    most: Duration,
    problems: &mut Problems,
) {
    let (of, is) =
        if what == "timeout" { ("", "the interval") } else { ("half of ", "half of the interval") };
    let message =
        format!("`{what}` ({}) is longer than {of}the interval", humantime::format_duration(time.value));
    let hint = format!("use at most {is}, {}, or raise `interval`", humantime::format_duration(most));
    let problem = Problem::relation(time.span.clone(), message, hint);
    problems.push(match interval {
        Some(field) => problem.related(field.span(), "the interval"),
        None => problem,
    });
}
