//! The summary of a run, for people and for programs.
//!
//! Role: pure; from a verdict to a table and a JSON object. Imports `lane`, `judge` and the table of `text`.
//! Always holds: the JSON object is one line, and `ok` is true only without findings.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::judge::{Tally, Verdict};
use super::lane::{Lane, WEB_COUNT, web_name};
use crate::text::columns;

/// Columns of the table: mode, family, four counts, and a column for each web server.
const COLUMNS: usize = 6 + WEB_COUNT;

/// The summary as JSON has it.
#[derive(Debug, Serialize)]
pub struct Summary {
    ok: bool,
    killed: String,
    /// From the kill to the start of the last failed request.
    moved_after_ms: Option<u64>,
    /// From the kill to the time by which no request may fail any more.
    allowed_ms: u64,
    #[serde(flatten)]
    all: Counts,
    lanes: Vec<LaneCounts>,
    findings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct LaneCounts {
    mode: &'static str,
    family: &'static str,
    vip: String,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Debug, Serialize)]
struct Counts {
    requests: u32,
    answered: u32,
    excused: u32,
    unexpected: u32,
    backends: BTreeMap<String, u32>,
}

impl Counts {
    fn of(tally: &Tally) -> Self {
        let by_web = tally.by_web();
        Self {
            requests: tally.requests,
            answered: tally.answered(),
            excused: tally.excused,
            unexpected: tally.unexpected,
            backends: by_web.iter().enumerate().map(|(web, count)| (web_name(web), *count)).collect(),
        }
    }
}

impl Summary {
    /// The summary of a run in which `killed` died and which had `allowed` to notice it.
    pub fn new(verdict: &Verdict, killed: usize, allowed: Duration) -> Self {
        let lanes = Lane::ALL.iter().zip(&verdict.lanes).map(|(lane, tally)| LaneCounts {
            mode: lane.mode.name(),
            family: lane.family_name(),
            vip: lane.vip().to_string(),
            counts: Counts::of(tally),
        });
        Self {
            ok: verdict.findings.is_empty(),
            killed: web_name(killed),
            moved_after_ms: verdict.last_excused_after.map(millis),
            allowed_ms: millis(allowed),
            all: Counts::of(&Tally::sum(&verdict.lanes)),
            lanes: lanes.collect(),
            findings: verdict.findings.clone(),
        }
    }

    /// Whether all was well.
    pub fn is_ok(&self) -> bool {
        self.ok
    }

    /// The run in a sentence.
    pub fn sentence(&self) -> String {
        let Counts { requests, answered, excused, unexpected, .. } = &self.all;
        let moved = match self.moved_after_ms {
            Some(ms) => {
                format!(", the last of them {ms} ms after the kill ({} ms are allowed)", self.allowed_ms)
            }
            None => String::new(),
        };
        let killed = &self.killed;
        format!(
            "{answered} of {requests} requests were answered; {excused} failed on {killed} before its checks took it \
             out{moved}; {unexpected} failed without excuse."
        )
    }
}

/// The end of a run as one line of JSON: its summary, or why it came to none, and how long all of it took.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn json(outcome: &Result<Summary>, took: Duration) -> Result<String> {
    #[derive(Serialize)]
    struct Timed<T> {
        #[serde(flatten)]
        outcome: T,
        seconds: f64,
    }
    #[derive(Serialize)]
    struct Failed {
        ok: bool,
        error: String,
    }
    let seconds = took.as_secs_f64();
    let text = match outcome {
        Ok(outcome) => serde_json::to_string(&Timed { outcome, seconds }),
        Err(error) => {
            let outcome = Failed { ok: false, error: format!("{error:#}") };
            serde_json::to_string(&Timed { outcome, seconds })
        }
    };
    text.context("writing the summary as JSON")
}

/// The counts as a table, with the sums in the last row.
pub fn table(verdict: &Verdict) -> String {
    let mut rows = vec![head()];
    for (lane, tally) in Lane::ALL.iter().zip(&verdict.lanes) {
        rows.push(row(lane.mode.name(), lane.family_name(), tally));
    }
    rows.push(row("all", "", &Tally::sum(&verdict.lanes)));
    columns(&rows)
}

fn head() -> [String; COLUMNS] {
    let fixed = ["mode", "family", "requests", "answered", "excused", "unexpected"].map(str::to_owned);
    joined(fixed, std::array::from_fn(web_name))
}

fn row(mode: &str, family: &str, tally: &Tally) -> [String; COLUMNS] {
    let fixed = [
        mode.to_owned(),
        family.to_owned(),
        tally.requests.to_string(),
        tally.answered().to_string(),
        tally.excused.to_string(),
        tally.unexpected.to_string(),
    ];
    joined(fixed, tally.by_web().map(|count| count.to_string()))
}

fn joined(fixed: [String; COLUMNS - WEB_COUNT], webs: [String; WEB_COUNT]) -> [String; COLUMNS] {
    let mut cells = fixed.into_iter().chain(webs);
    std::array::from_fn(|_| cells.next().unwrap_or_default())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn verdict(findings: &[&str]) -> Verdict {
        let nat = Tally { requests: 5, excused: 1, before: [1, 0, 2], after: [1, 0, 0], ..Tally::default() };
        Verdict {
            lanes: [nat, Tally::default(), Tally::default(), Tally::default(), Tally::default(), nat],
            last_excused_after: Some(Duration::from_millis(412)),
            findings: findings.iter().map(|&text| text.to_owned()).collect(),
        }
    }

    fn parsed(outcome: &Result<Summary>) -> Value {
        let text = super::json(outcome, Duration::from_millis(1_500)).unwrap();
        assert!(!text.contains('\n'));
        serde_json::from_str(&text).unwrap()
    }

    fn as_json(findings: &[&str]) -> Value {
        parsed(&Ok(Summary::new(&verdict(findings), 1, Duration::from_secs(1))))
    }

    #[test]
    fn the_table_has_a_row_for_each_lane_and_the_sum() {
        let table = table(&verdict(&[]));
        let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines.len(), 8);
        assert_eq!(lines[1], ["nat", "IPv4", "5", "4", "1", "0", "2", "0", "2"]);
        assert_eq!(lines[7], ["all", "10", "8", "2", "0", "4", "0", "4"]);
    }

    #[test]
    fn the_json_object_has_sums_lanes_and_findings() {
        let object = as_json(&[]);
        assert_eq!((&object["ok"], &object["seconds"]), (&json!(true), &json!(1.5)));
        assert_eq!((&object["requests"], &object["answered"]), (&json!(10), &json!(8)));
        assert_eq!((&object["killed"], &object["moved_after_ms"]), (&json!("web2"), &json!(412)));
        assert_eq!(object["lanes"][0]["backends"], json!({ "web1": 2, "web2": 0, "web3": 2 }));
        assert_eq!(object["lanes"].as_array().unwrap().len(), 6);
    }

    #[test]
    fn a_run_without_a_summary_is_not_ok_and_says_why() {
        let error = anyhow::anyhow!("no such\nthing").context("making the lab");
        let object = parsed(&Err(error));
        assert_eq!(object, json!({ "ok": false, "error": "making the lab: no such\nthing", "seconds": 1.5 }));
    }

    #[test]
    fn a_finding_makes_it_not_ok() {
        let object = as_json(&["nat IPv4: wrong"]);
        assert_eq!((&object["ok"], &object["findings"]), (&json!(false), &json!(["nat IPv4: wrong"])));
    }
}
