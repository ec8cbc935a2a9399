//! What the agent says of backends and pools.

use anyhow::{Context, Result, ensure};
use lb_tests::lab::wait_until;
use lb_userspace::api::types::{BackendDetail, BackendInfo, Event, HealthState};

use crate::bed::Bed;

use std::time::Duration;

/// Ample for what takes a second or two on an idle machine.
pub const SOON: Duration = Duration::from_secs(40);

impl Bed {
    /// A backend in full.
    pub fn detail(&self, pool: &str, name: &str) -> Result<BackendDetail> {
        self.show(&format!("backend show {pool}/{name}"))
    }

    /// Every event that is remembered, the oldest first.
    pub fn events(&self) -> Result<Vec<Event>> {
        self.show("events --limit 10000")
    }

    /// The events about a pool or a backend, the oldest first.
    pub fn events_of(&self, subject: &str) -> Result<Vec<Event>> {
        let all = self.events()?.into_iter();
        Ok(all.filter(|event| event.subject.as_deref() == Some(subject)).collect())
    }

    /// Waits for an event about `subject` whose message contains `text`.
    pub fn wait_event(&self, subject: &str, text: &str) -> Result<Event> {
        let found = wait_until(&format!("an event of {subject}: {text}"), SOON, || {
            Ok(self.events_of(subject)?.into_iter().find(|event| event.message.contains(text)))
        });
        found.with_context(|| format!("{:#?}", self.events()))
    }

    /// Waits until a backend is as `is_so` says.
    pub fn wait_backend(
        &self,
        pool: &str,
        name: &str,
        what: &str,
        is_so: impl Fn(&BackendInfo) -> bool,
    ) -> Result<BackendInfo> {
        let mut last = None;
        let found = wait_until(&format!("{pool}/{name} {what}"), SOON, || {
            let backend = self.backend(pool, name)?;
            last = Some(backend.clone());
            Ok(is_so(&backend).then_some(backend))
        });
        found.with_context(|| format!("{last:?}"))
    }

    /// Waits until a check says that a backend is down for a reason that contains `reason`.
    pub fn wait_down(&self, pool: &str, name: &str, reason: &str) -> Result<BackendInfo> {
        let is_down = |backend: &BackendInfo| {
            backend.health.state == HealthState::Down
                && backend.health.reason.as_deref().is_some_and(|text| text.contains(reason))
        };
        self.wait_backend(pool, name, &format!("is down: {reason}"), is_down)
    }

    /// Waits until a check says that a backend is up.
    pub fn wait_well(&self, pool: &str, name: &str) -> Result<BackendInfo> {
        self.wait_backend(pool, name, "is up", |backend| backend.health.state == HealthState::Up)
    }

    /// Waits until exactly these backends of a pool, in the order of the list, have slots.
    pub fn wait_serving(&self, pool: &str, names: &[&str]) -> Result<()> {
        let mut last = Vec::new();
        let found = wait_until(&format!("{pool} is served by {names:?}"), SOON, || {
            last = self.show::<Vec<BackendInfo>>(&format!("backend list {pool}"))?;
            let serving = last.iter().filter(|backend| backend.slot_share_percent > 0.0);
            Ok(serving.map(|backend| backend.name.as_str()).eq(names.iter().copied()).then_some(()))
        });
        found.with_context(|| format!("{last:?}"))
    }

    /// Waits until a check has had so many results of a backend.
    pub fn wait_results(&self, pool: &str, name: &str, count: u64) -> Result<()> {
        wait_until(&format!("{count} results of {pool}/{name}"), SOON, || {
            let check = self.detail(pool, name)?.check.context("no check")?;
            Ok((check.good + check.bad >= count).then_some(()))
        })
    }

    /// What `lbctl status` prints for people has a line that contains all of these.
    pub fn expect_in_status(&self, words: &[&str]) -> Result<()> {
        let shown = self.lbctl("status")?.success()?.stdout;
        // A long sentence goes on in the next line.
        let text = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        let missing = words.iter().find(|words| !text.contains(**words));
        ensure!(missing.is_none(), "{missing:?} is not in\n{shown}");
        Ok(())
    }
}
