//! Whom pools serve, from a configuration and what checks say.

use super::*;
use crate::agent::sample_tests::{found, id, model, target};
use crate::health::machine::{Event, Machine};
use crate::health::probe::ProbeError;
use crate::health::{Database, Findings, Health, Wish};
use crate::reconcile::identity;

const FILE: &str = r#"
    [node]
    interfaces = ["eth0"]
    [checks.tcp]
    kind = "tcp"
    [checks.primary]
    kind = "mysql"
    user = "lb_check"
    role = "primary"
    [pools.web]
    mode = "nat"
    check = "tcp"
    on_all_down = "fallback:spare"
    backends = [
        { name = "a", address = "10.0.0.1:80" },
        { name = "b", address = "10.0.0.2:80" },
        { name = "six", address = "[fd00::1]:80" },
    ]
    [pools.spare]
    mode = "nat"
    check = "tcp"
    backends = [
        { name = "x", address = "10.0.9.1:80" },
        { name = "y", address = "10.0.9.2:80", state = "drain" },
        { name = "b-too", address = "10.0.0.2:80" },
        { name = "z", address = "[fd00::9]:80" },
    ]
    [pools.db]
    mode = "nat"
    check = "primary"
    on_role_change = "reset"
    backends = [{ name = "db1", address = "10.0.3.1:3306" }, { name = "db2", address = "10.0.3.2:3306" }]
    [checks.replica]
    kind = "mysql"
    user = "lb_check"
    role = "replica"
    [pools.reads]
    mode = "nat"
    check = "replica"
    on_all_down = ["fallback:db", "fail-open"]
    backends = [{ name = "r1", address = "10.0.3.1:3306" }, { name = "r2", address = "10.0.3.2:3306" }]
"#;

/// What checks say: backends as POOL/NAME, with their health and the findings of their last good answer.
fn checked(states: &[(&str, Health, Findings)]) -> BTreeMap<BackendId, TargetStatus> {
    states.iter().map(|(name, health, findings)| (id(name), found(*health, findings.clone()))).collect()
}

fn plain(states: &[(&str, Health)]) -> BTreeMap<BackendId, TargetStatus> {
    let states: Vec<_> = states.iter().map(|(name, health)| (*name, *health, Findings::default())).collect();
    checked(&states)
}

fn judge(checked: &BTreeMap<BackendId, TargetStatus>, in_use: &[(&str, &str)]) -> Admissions {
    let model = model(FILE);
    let used = in_use.iter().map(|(pool, name)| {
        let backend = model.pools[*pool].backends.iter().find(|backend| backend.name == *name).unwrap();
        identity(pool, backend).identity
    });
    let in_use = used.collect();
    admit(&Known { model: &model, checked, in_use: &in_use, now: Instant::now() })
}

fn served<'a>(admissions: &'a Admissions, pool: &str) -> Vec<&'a str> {
    let of_pool = admissions.served.iter().filter(|name| name.pool == pool);
    of_pool.map(|name| name.name.as_str()).collect()
}

fn reasons(admissions: &Admissions, pool: &str) -> Vec<(Option<bool>, Reason)> {
    let of_pool = admissions.verdicts.iter().filter(|verdict| verdict.pool == pool);
    of_pool.map(|verdict| (verdict.ipv4, verdict.reason.clone())).collect()
}

#[test]
fn standbys_are_another_pools_backends_except_those_that_the_pool_has_itself() {
    let model = model(FILE);
    let names: Vec<&str> = model.pools["web"].backends.iter().map(|backend| backend.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "six", "spare/x", "spare/y", "spare/z"]);
}

#[test]
fn a_pool_without_a_family_has_nothing_to_tell_of_it_however_its_fallback_is_made() {
    let (checked, in_use) = (BTreeMap::new(), BTreeSet::new());
    let judge =
        |model: &Model| admit(&Known { model, checked: &checked, in_use: &in_use, now: Instant::now() });
    let families = |model: &Model| -> Vec<Option<bool>> {
        reasons(&judge(model), "web").into_iter().map(|(ipv4, _)| ipv4).collect()
    };
    let file = FILE.replace("        { name = \"six\", address = \"[fd00::1]:80\" },\n", "");
    assert!(file.len() < FILE.len());
    let mut model = model(&file);
    assert_eq!(families(&model), [Some(true)], "the fallback has IPv6, too");
    // A pool that has nobody at all is as one whose backends were all taken out.
    model.pools.get_mut("web").unwrap().backends.retain(|backend| backend.standby_of.is_some());
    assert_eq!(served(&judge(&model), "web"), ["spare/x", "spare/z"]);
    // But not in a family in which nobody stands in.
    model.pools.get_mut("web").unwrap().backends.retain(|backend| backend.address.is_ipv4());
    assert_eq!(families(&model), [Some(true)]);
}

#[test]
fn standbys_serve_while_the_own_backends_of_their_family_are_down() {
    use Health::{Down, Up};
    let up = [("web/a", Up), ("web/b", Down), ("web/six", Up), ("spare/x", Up), ("spare/b-too", Down)];
    let admissions = judge(&plain(&up), &[]);
    assert_eq!(served(&admissions, "web"), ["a", "six"]);

    let down = [("web/a", Down), ("web/b", Down), ("web/six", Up), ("spare/x", Up), ("spare/b-too", Down)];
    let admissions = judge(&plain(&down), &[]);
    // `y` is drained in its own pool.
    assert_eq!(served(&admissions, "web"), ["six", "spare/x"]);
    let fallback = Reason::Fallback("spare".to_owned());
    assert_eq!(reasons(&admissions, "web"), [(Some(true), fallback), (Some(false), Reason::Healthy)]);

    let all_down =
        [("web/a", Down), ("web/b", Down), ("web/six", Up), ("spare/x", Down), ("spare/b-too", Down)];
    assert_eq!(
        served(&judge(&plain(&all_down), &[]), "web"),
        ["six"],
        "a standby that is down serves nobody"
    );
}

fn database(writable: bool) -> Findings {
    Findings { database: Some(Database { writable, lag: None }), ..Findings::default() }
}

#[test]
fn a_promotion_moves_a_pool_of_primaries_and_gives_up_the_connections_to_the_former_one() {
    let db = [("db/db1", Health::Up, database(true)), ("db/db2", Health::Up, database(false))];
    let admissions = judge(&checked(&db), &[("db", "db1")]);
    assert_eq!(served(&admissions, "db"), ["db1"]);
    // A replica that never was the primary has no connections to give up, and naming it does no harm.
    let promoted = [("db/db1", Health::Up, database(false)), ("db/db2", Health::Up, database(true))];
    let admissions = judge(&checked(&promoted), &[("db", "db1")]);
    assert_eq!(served(&admissions, "db"), ["db2"]);
    let given_up: Vec<&str> = admissions.given_up.iter().map(|name| name.name.as_str()).collect();
    assert_eq!(given_up, ["db1"]);
}

#[test]
fn without_a_primary_connections_stay_and_new_ones_are_refused() {
    let db = [("db/db1", Health::Up, database(false)), ("db/db2", Health::Up, database(false))];
    let admissions = judge(&checked(&db), &[("db", "db1")]);
    assert!(served(&admissions, "db").is_empty() && admissions.given_up.is_empty());
    assert_eq!(reasons(&admissions, "db"), [(Some(true), Reason::Dropped)]);
}

#[test]
fn reads_fall_back_to_the_primary_although_both_pools_have_the_same_servers() {
    let db = |r2| {
        checked(&[
            ("db/db1", Health::Up, database(true)),
            ("db/db2", Health::Up, database(false)),
            ("reads/r1", Health::Up, database(true)),
            ("reads/r2", r2, database(false)),
        ])
    };
    assert_eq!(served(&judge(&db(Health::Up), &[]), "reads"), ["r2"]);
    assert_eq!(served(&judge(&db(Health::Down), &[]), "reads"), ["r1"], "the replica is down");
}

#[test]
fn without_a_primary_to_fall_back_to_reads_go_to_whoever_answers() {
    let down = |says: bool| {
        let address = "10.0.3.1:3306".parse().unwrap();
        let error = if says {
            ProbeError::Says { address, says: "replication is stopped".to_owned() }
        } else {
            ProbeError::Refused { address }
        };
        let mut machine = Machine::new(1, 1, Health::Up, Instant::now());
        machine.on_event(Event::Bad(error), Instant::now());
        target(&machine)
    };
    let checked = [
        (id("db/db1"), down(false)),
        (id("db/db2"), down(true)),
        (id("reads/r1"), down(false)),
        (id("reads/r2"), down(true)),
    ];
    let admissions = judge(&checked.into(), &[("db", "db1")]);
    assert_eq!(served(&admissions, "reads"), ["r2"]);
    assert_eq!(reasons(&admissions, "reads"), [(Some(true), Reason::FailOpen)]);
    assert!(served(&admissions, "db").is_empty(), "never guessed");
}

#[test]
fn an_agent_has_its_weight_its_drain_and_its_maintenance() {
    let wish = |weight_percent, state| Findings {
        wish: Some(Wish { weight_percent, state }),
        ..Findings::default()
    };
    let a = |findings| [("web/a", Health::Up, findings), ("web/b", Health::Up, Findings::default())];
    let admissions = judge(&checked(&a(wish(25, WishedState::Ready))), &[]);
    let percents: Vec<_> =
        admissions.percents.iter().map(|(name, percent)| (name.name.as_str(), *percent)).collect();
    assert_eq!((served(&admissions, "web"), percents), (vec!["a", "b", "six"], vec![("a", 25)]));
    let admissions = judge(&checked(&a(wish(100, WishedState::Drain))), &[]);
    assert_eq!(served(&admissions, "web"), ["b", "six"]);
    assert!(admissions.given_up.is_empty());
    let admissions = judge(&checked(&a(wish(100, WishedState::Maintenance))), &[]);
    assert!(admissions.given_up.iter().any(|name| name.name == "a"));
}
