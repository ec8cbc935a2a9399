//! Whether a run of the web lab was as it must be.
//!
//! Role: pure; from samples and the time of the kill to counts and findings. Imports `lane` and `sample`.
//! Always holds: every failed request is counted as excused or as unexpected, and one unexpected is a finding.
//!
//! A failed request is excused when the killed server can be the reason: it was not over when the server was killed,
//! it began before the deadline by which its checks must have failed, and it failed as requests to a dead server do. The
//! excused ones may not be more than the share of the killed server in the requests of that time.

use std::time::Duration;

use super::lane::{LANE_COUNT, LANES, Lane, WEB_COUNT, WEBS, web_name};
use super::sample::{Outcome, Sample};

/// Standard deviations that a count may be away from its mean. Chance exceeds them once in 1.7 million counts.
const DEVIATIONS: f64 = 5.0;

/// Part of the mean that slot tables may add: they are not perfectly even.
const UNEVENNESS: f64 = 0.02;

/// Answers that a share is judged by, at least: with fewer, one server could take all unnoticed.
const MIN_JUDGED: u32 = 60;

/// The death of a web server. Times count from the start of the run.
#[derive(Clone, Copy, Debug)]
pub struct Kill {
    /// Its place.
    pub web: usize,
    /// Before it was killed.
    pub killed: Duration,
    /// When its checks must have failed and its share must have moved.
    pub deadline: Duration,
}

/// Answers by web server.
pub type ByWeb = [u32; WEB_COUNT];

/// Counts of one lane, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests sent.
    pub requests: u32,
    /// Those that failed with an excuse.
    pub excused: u32,
    /// Those that failed without.
    pub unexpected: u32,
    /// Requests that met the time from the kill to the deadline.
    pub during: u32,
    /// Answers to requests that were over before the kill.
    pub before: ByWeb,
    /// Answers to requests that met the time from the kill to the deadline.
    pub between: ByWeb,
    /// Answers to requests that began after the deadline.
    pub after: ByWeb,
}

/// The judgement of a run.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Counts by lane, as in `Lane::ALL`.
    pub lanes: [Tally; LANE_COUNT],
    /// From the kill to the start of the last excused request; none when there was none.
    pub last_excused_after: Option<Duration>,
    /// What was not as it must be, a sentence each.
    pub findings: Vec<String>,
}

/// When a request ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Before,
    Between,
    After,
}

impl Kill {
    fn phase(&self, sample: &Sample) -> Phase {
        if sample.ended < self.killed {
            Phase::Before
        } else if sample.started < self.deadline {
            Phase::Between
        } else {
            Phase::After
        }
    }

    /// Whether the killed server can be the reason why the request failed.
    pub fn excuses(&self, sample: &Sample) -> bool {
        let server_gone = matches!(&sample.outcome, Outcome::Failed(failure) if failure.server_gone);
        server_gone && self.phase(sample) == Phase::Between
    }
}

impl Tally {
    fn add(&mut self, sample: &Sample, kill: &Kill) {
        let phase = kill.phase(sample);
        self.requests += 1;
        self.during += u32::from(phase == Phase::Between);
        let served = match phase {
            Phase::Before => &mut self.before,
            Phase::Between => &mut self.between,
            Phase::After => &mut self.after,
        };
        match &sample.outcome {
            Outcome::Answered(web) => {
                if let Some(count) = served.get_mut(*web) {
                    *count += 1;
                }
            }
            Outcome::Failed(_) if kill.excuses(sample) => self.excused += 1,
            Outcome::Failed(_) => self.unexpected += 1,
        }
    }

    /// Answers by web server, of all times.
    pub fn by_web(&self) -> ByWeb {
        std::array::from_fn(|web| {
            [self.before, self.between, self.after].iter().filter_map(|counts| counts.get(web)).sum()
        })
    }

    /// Answers.
    pub fn answered(&self) -> u32 {
        self.by_web().iter().sum()
    }

    /// The sum of tallies.
    pub fn sum(tallies: &[Self]) -> Self {
        tallies.iter().fold(Self::default(), |sum, tally| Self {
            requests: sum.requests + tally.requests,
            excused: sum.excused + tally.excused,
            unexpected: sum.unexpected + tally.unexpected,
            during: sum.during + tally.during,
            before: added(sum.before, tally.before),
            between: added(sum.between, tally.between),
            after: added(sum.after, tally.after),
        })
    }

    fn findings(&self, label: &str, kill: &Kill, planned: u32) -> Vec<String> {
        let mut findings = Vec::new();
        let dead = web_name(kill.web);
        if self.requests != planned {
            findings.push(format!("{label}: {} requests were sent, not {planned}", self.requests));
        }
        if self.unexpected > 0 {
            findings.push(format!("{label}: {} requests failed without excuse", self.unexpected));
        }
        let most_excused = most(self.during, 1.0 / f64::from(WEBS));
        if f64::from(self.excused) > most_excused {
            findings.push(format!(
                "{label}: {} of {} requests failed after the kill; the share of {dead} explains {most_excused:.0}",
                self.excused, self.during
            ));
        }
        let served_dead = self.after.get(kill.web).copied().unwrap_or_default();
        if served_dead > 0 {
            findings.push(format!("{label}: {dead} answered {served_dead} requests after its checks failed"));
        }
        findings.extend(uneven(label, "before the kill", &self.before, None));
        findings.extend(uneven(label, "after the detection", &self.after, Some(kill.web)));
        findings
    }
}

/// Judges a run of which `planned` requests were to go to each lane.
pub fn judge(samples: &[Sample], kill: &Kill, planned: u32) -> Verdict {
    let mut lanes = [Tally::default(); LANE_COUNT];
    for sample in samples {
        if let Some(tally) = lanes.get_mut(sample.lane) {
            tally.add(sample, kill);
        }
    }
    let mut findings = Vec::new();
    for (lane, tally) in Lane::ALL.iter().zip(&lanes) {
        let label = format!("{} {}", lane.mode.name(), lane.family_name());
        findings.extend(tally.findings(&label, kill, planned));
    }
    // All together: closer to the mean than each lane alone, so a small bias of every lane shows.
    findings.extend(Tally::sum(&lanes).findings("all", kill, planned * u32::from(LANES)));
    let excused = samples.iter().filter(|sample| kill.excuses(sample));
    let last_excused_after = excused.map(|sample| sample.started.saturating_sub(kill.killed)).max();
    Verdict { lanes, last_excused_after, findings }
}

/// What is wrong with the shares of the web servers, all but `dead` equal.
fn uneven(label: &str, when: &str, counts: &ByWeb, dead: Option<usize>) -> Vec<String> {
    let live = || counts.iter().enumerate().filter(|(web, _)| Some(*web) != dead);
    let total: u32 = live().map(|(_, count)| count).sum();
    if total < MIN_JUDGED {
        return vec![format!(
            "{label}: {total} answers {when} are too few to judge ({MIN_JUDGED} are needed)"
        )];
    }
    let share = 1.0 / f64::from(if dead.is_some() { WEBS - 1 } else { WEBS });
    let (least, most) = (least(total, share), most(total, share));
    live()
        .filter(|(_, count)| !(least..=most).contains(&f64::from(**count)))
        .map(|(web, count)| {
            let name = web_name(web);
            format!("{label}: {name} served {count} of {total} {when}, not {least:.0} to {most:.0}")
        })
        .collect()
}

/// The most of `total` random requests that a server with this share may get.
fn most(total: u32, share: f64) -> f64 {
    f64::from(total) * share + tolerance(total, share)
}

/// The least.
fn least(total: u32, share: f64) -> f64 {
    f64::from(total) * share - tolerance(total, share)
}

/// How far a count may be from its mean: binomial deviation, and what the slot table adds.
fn tolerance(total: u32, share: f64) -> f64 {
    let total = f64::from(total);
    DEVIATIONS * (total * share * (1.0 - share)).sqrt() + UNEVENNESS * total * share
}

fn added(a: ByWeb, b: ByWeb) -> ByWeb {
    let mut sum = a;
    for (sum, more) in sum.iter_mut().zip(b) {
        *sum += more;
    }
    sum
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
