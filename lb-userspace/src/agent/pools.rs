//! Telling operators how pools are: once when it changes, and in the status as long as it is not well.
//!
//! Always holds: what was told is what the maps were last made by.

use super::admission::Verdict;
use super::state::State;
use crate::health::policy::Reason;
use crate::telemetry::events::EventKind;
use std::collections::BTreeMap;

/// How the backends of each table were judged, by pool and family.
pub type Verdicts = BTreeMap<(String, Option<bool>), Verdict>;

/// Takes in how pools are judged now; logs what changed and makes events of it.
pub fn tell(state: &mut State, verdicts: Vec<Verdict>) {
    let mut now: Verdicts =
        verdicts.into_iter().map(|verdict| ((verdict.pool.clone(), verdict.ipv4), verdict)).collect();
    // Who has not been asked yet has nothing to tell: what was told last still stands.
    for (key, verdict) in &mut now {
        if let Some(former) = state.verdicts.get(key).filter(|_| verdict.reason == Reason::Unasked) {
            *verdict = former.clone();
        }
    }
    let former = std::mem::replace(&mut state.verdicts, now);
    let mut told = Vec::new();
    for (key, verdict) in &state.verdicts {
        let before = former.get(key).map(|verdict| &verdict.reason);
        let is_news = before != Some(&verdict.reason) && (before.is_some() || is_unwell(verdict));
        if !is_news || verdict.reason == Reason::Unasked {
            continue;
        }
        let kind = match verdict.reason {
            Reason::Healthy | Reason::Empty | Reason::Unasked => EventKind::PoolServes,
            _ => EventKind::Alarm,
        };
        told.push((kind, subject(verdict), sentence(verdict)));
    }
    for (kind, subject, sentence) in told {
        if kind == EventKind::Alarm {
            tracing::error!("{subject}: {sentence}");
        } else {
            tracing::info!("{subject}: {sentence}");
        }
        state.event(kind, &subject, &sentence);
    }
}

/// What is not well with pools, a sentence each.
pub fn warnings(verdicts: &Verdicts) -> impl Iterator<Item = String> + '_ {
    let unwell =
        verdicts.values().filter(|verdict| !matches!(verdict.reason, Reason::Healthy | Reason::Empty));
    unwell.map(|verdict| format!("{}: {}", subject(verdict), sentence(verdict)))
}

fn is_unwell(verdict: &Verdict) -> bool {
    !matches!(verdict.reason, Reason::Healthy | Reason::Empty | Reason::Unasked)
}

/// "pool web", "pool web (IPv6)".
fn subject(verdict: &Verdict) -> String {
    match verdict.ipv4 {
        Some(false) => format!("pool {} (IPv6)", verdict.pool),
        Some(true) | None => format!("pool {}", verdict.pool),
    }
}

fn sentence(verdict: &Verdict) -> String {
    let Verdict { fit, total, .. } = verdict;
    let healthy = format!("{fit} of {total} backends are fit to serve");
    match &verdict.reason {
        Reason::Healthy | Reason::Empty | Reason::Unasked => healthy,
        Reason::TwoPrimaries => format!(
            "{fit} backends say that they can be written to; one of them serves, the one that did before if there was one: \
             look for a split before more is written"
        ),
        Reason::Panic => {
            format!("{healthy}, fewer than `panic_threshold`: all who answer get new connections")
        }
        Reason::FailOpen => {
            format!("{healthy}: all who answer get new connections, or all if nobody does (`on_all_down`)")
        }
        Reason::Dropped => format!("{healthy}: new connections are refused (`on_all_down`)"),
        Reason::Fallback(pool) => format!("{healthy}: new connections go to pool {pool} (`on_all_down`)"),
    }
}
