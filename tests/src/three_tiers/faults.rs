//! What is broken, one after another, and how it is mended.
//!
//! Always holds: a fault names the event by which the agent must show that it saw it, and who serves afterwards.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use super::load::Kind;
use super::site::{ALL_WELL, Site};

/// Of the web and application servers' checks: interval × fall + timeout.
pub const SERVER_BOUND: Duration = Duration::from_millis(500 * 2 + 300);

/// Of the databases' checks.
pub const DATABASE_BOUND: Duration = Duration::from_millis(500 * 2 + 400);

/// In which a pool follows a promotion: an interval, and the time that a check may take.
pub const PROMOTION_BOUND: Duration = Duration::from_millis(500 + 400);

/// Who serves while db3 is dead.
const WITHOUT_DB3: [&str; 7] =
    ["app/app1", "app/app2", "db-primary/db1", "db-replica/db2", "web/web1", "web/web2", "web/web3"];

/// Who serves while db1 is dead, too.
const WITHOUT_PRIMARY: [&str; 6] =
    ["app/app1", "app/app2", "db-replica/db2", "web/web1", "web/web2", "web/web3"];

/// Who serves when db2 has been promoted: it is read from, too, as there is no replica left.
const PROMOTED: [&str; 7] =
    ["app/app1", "app/app2", "db-primary/db2", "db-replica/db2", "web/web1", "web/web2", "web/web3"];

/// Something that happens to the site.
pub struct Fault {
    /// For people and the summary.
    pub what: &'static str,
    /// The event that shows that the agent saw it: kind and subject.
    pub event: (&'static str, &'static str),
    /// Time in which it must have seen it.
    pub bound: Duration,
    /// Kinds of requests that may fail until it has.
    pub may_fail: &'static [Kind],
    /// Backends that have a share then, as POOL/NAME.
    pub serving: &'static [&'static str],
    /// Those that have one when it is mended, as far as it is.
    pub mended: &'static [&'static str],
    /// Whether it hurts until the next fault is over, which is its repair.
    pub lasts: bool,
    /// Breaks it; returns when.
    pub strike: fn(&mut Site) -> Result<SystemTime>,
    /// Mends what can be mended, before the next one.
    pub mend: fn(&mut Site) -> Result<()>,
}

/// All of them, in order.
pub const FAULTS: [Fault; 6] = [
    Fault {
        what: "nginx on web2 killed",
        event: ("backend_down", "web/web2"),
        bound: SERVER_BOUND,
        may_fail: &[Kind::Page, Kind::Read, Kind::Write],
        serving: &[
            "app/app1",
            "app/app2",
            "db-primary/db1",
            "db-replica/db2",
            "db-replica/db3",
            "web/web1",
            "web/web3",
        ],
        mended: &ALL_WELL,
        lasts: false,
        strike: |site| struck(|| site.webs.get(1).context("no web2")?.kill()),
        mend: |site| site.restart_web(1),
    },
    Fault {
        what: "application server app1 killed",
        event: ("backend_down", "app/app1"),
        bound: SERVER_BOUND,
        may_fail: &[Kind::Read, Kind::Write],
        serving: &[
            "app/app2",
            "db-primary/db1",
            "db-replica/db2",
            "db-replica/db3",
            "web/web1",
            "web/web2",
            "web/web3",
        ],
        mended: &ALL_WELL,
        lasts: false,
        strike: |site| struck(|| site.apps.first().context("no app1")?.kill()),
        mend: |site| site.apps.first_mut().context("no app1")?.restart(),
    },
    Fault {
        what: "replica db3 killed",
        event: ("backend_down", "db-replica/db3"),
        bound: DATABASE_BOUND,
        may_fail: &[Kind::Read],
        serving: &WITHOUT_DB3,
        mended: &WITHOUT_DB3,
        lasts: false,
        strike: |site| struck(|| site.kill_database(2)),
        mend: |_| Ok(()),
    },
    Fault {
        what: "replication to db2 stopped",
        event: ("backend_down", "db-replica/db2"),
        bound: DATABASE_BOUND,
        may_fail: &[],
        serving: &[
            "app/app1",
            "app/app2",
            "db-primary/db1",
            "db-replica/db1",
            "web/web1",
            "web/web2",
            "web/web3",
        ],
        mended: &WITHOUT_DB3,
        lasts: false,
        strike: |site| struck(|| site.database(1)?.stop_replication()),
        mend: |site| site.database(1)?.start_replication(),
    },
    Fault {
        what: "primary db1 killed",
        event: ("backend_down", "db-primary/db1"),
        bound: DATABASE_BOUND,
        may_fail: &[Kind::Write],
        serving: &WITHOUT_PRIMARY,
        mended: &WITHOUT_PRIMARY,
        lasts: true,
        strike: |site| struck(|| site.kill_database(0)),
        mend: |_| Ok(()),
    },
    Fault {
        what: "replica db2 promoted",
        event: ("pool_serves", "pool db-primary"),
        bound: PROMOTION_BOUND,
        may_fail: &[Kind::Write, Kind::Read],
        serving: &PROMOTED,
        mended: &PROMOTED,
        lasts: false,
        strike: |site| struck(|| site.database(1)?.promote()),
        mend: |_| Ok(()),
    },
];

/// When something was done. The moment after it: a statement may take its time, a signal takes none.
fn struck(strike: impl FnOnce() -> Result<()>) -> Result<SystemTime> {
    strike()?;
    Ok(SystemTime::now())
}
