//! What pools do when few or none of their servers are well, each as its policy says.
//!
//! All pools have the same servers, `web1` and `web2`, and some fall back to `web3`. So one fault after the other shows what
//! each of them makes of it.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use lb_tests::http;
use lb_tests::lab::wait_until;
use lb_tests::nginx::Nginx;
use lb_tests::site::{HTTP_PORT, Mode, Web};

use super::look::SOON;
use super::plan::{check, node, pool, service};
use super::talk::Talk;
use crate::bed::Bed;

/// Time in which a connection that nobody serves gets no answer.
const SILENCE: Duration = Duration::from_millis(400);

/// A pool, where it is reached, and what it says of bad times.
struct Case {
    name: &'static str,
    mode: Mode,
    ipv4: bool,
    policy: &'static str,
    fallback: Option<&'static str>,
}

const DROP: &str = "drop";
const OPEN: &str = "open";
const OTHER: &str = "other";
const OTHER_OPEN: &str = "other-open";
const LEAST: &str = "least";
const PANIC: &str = "panic";

/// Each has a VIP of its own.
const CASES: [Case; 6] = [
    Case { name: DROP, mode: Mode::Nat, ipv4: true, policy: "on_all_down = \"drop\"", fallback: None },
    Case { name: OPEN, mode: Mode::DsrL2, ipv4: true, policy: "on_all_down = \"fail-open\"", fallback: None },
    Case {
        name: OTHER,
        mode: Mode::DsrIpip,
        ipv4: true,
        policy: "on_all_down = \"fallback:spare-of-other\"",
        fallback: Some("spare-of-other"),
    },
    Case {
        name: OTHER_OPEN,
        mode: Mode::Nat,
        ipv4: false,
        policy: "on_all_down = [\"fallback:spare-of-other-open\", \"fail-open\"]",
        fallback: Some("spare-of-other-open"),
    },
    Case { name: LEAST, mode: Mode::DsrL2, ipv4: false, policy: "min_healthy = 2", fallback: None },
    Case { name: PANIC, mode: Mode::DsrIpip, ipv4: false, policy: "panic_threshold = 60", fallback: None },
];

impl Case {
    fn vip(&self) -> IpAddr {
        if self.ipv4 { self.mode.vip_v4().into() } else { self.mode.vip_v6().into() }
    }

    /// What events and the status call the pool.
    fn subject(&self) -> String {
        let apart = !self.ipv4 && self.mode != Mode::DsrIpip;
        format!("pool {}{}", self.name, if apart { " (IPv6)" } else { "" })
    }
}

fn case(name: &str) -> Result<&'static Case> {
    CASES.iter().find(|case| case.name == name).ok_or_else(|| anyhow::anyhow!("no case {name}"))
}

fn plan(bed: &Bed) -> Result<String> {
    let keys = format!(
        "kind = \"http\"\npath = \"/healthz\"\nport = {HTTP_PORT}\ninterval = \"400ms\"\ntimeout = \"400ms\"\nrise = 2\n\
         fall = 2\ndamping = false"
    );
    let webs: Vec<&Web> = bed.fleet.webs.iter().collect();
    let mut text = node(bed)? + &check("web", &keys);
    for case in &CASES {
        let own = [(webs[0], case.ipv4), (webs[1], case.ipv4)];
        text += &pool(case.name, case.mode, "web", &format!("{}\n", case.policy), &own);
        text += &service(case.name, case.vip(), HTTP_PORT);
        if let Some(spare) = case.fallback {
            text += &pool(spare, case.mode, "web", "", &[(webs[2], case.ipv4)]);
        }
    }
    Ok(text)
}

/// These servers, in order, have slots of a pool, and clients see them and nobody else.
fn expect(bed: &Bed, name: &str, servers: &[&str]) -> Result<()> {
    let case = case(name)?;
    // A standby is named by its pool, too.
    let backend = |server: &&str| match case.fallback {
        Some(spare) if *server == "web3" => format!("{spare}/web3"),
        _ => (*server).to_owned(),
    };
    let backends: Vec<String> = servers.iter().map(backend).collect();
    bed.wait_serving(name, &backends.iter().map(String::as_str).collect::<Vec<_>>())?;
    if !servers.is_empty() {
        return bed.expect_servers_of(case.vip(), servers);
    }
    let server = std::net::SocketAddr::new(case.vip(), HTTP_PORT);
    for _ in 0..2 {
        let answer = bed.fleet.client.enter(|| http::get(server, "/", None, SILENCE))?;
        ensure!(answer.is_err(), "{name} is answered by {answer:?}");
    }
    Ok(())
}

/// A pool tells of its trouble, in an alarm and as long as it lasts.
fn expect_alarm(bed: &Bed, name: &str, sentence: &str) -> Result<()> {
    let subject = case(name)?.subject();
    let event = bed.wait_event(&subject, sentence)?;
    ensure!(event.kind == "alarm", "{event:?}");
    bed.expect_in_status(&[&format!("{subject}: "), sentence])
}

/// The bed and its web servers, `web1` first.
struct Site {
    bed: Bed,
    fleet: Vec<Nginx>,
}

#[test]
fn every_policy_does_what_it_says_while_servers_fail_one_by_one_and_return() -> Result<()> {
    let bed = Bed::shared_without_servers(3)?;
    let fleet = bed.nginx_on_every_web()?;
    bed.write(&plan(&bed)?)?;
    let _lbd = bed.start()?;
    let site = Site { bed, fleet };
    all_are_well(&site)?;
    one_is_sick(&site)?;
    let mut standby = both_are_sick(&site)?;
    all_are_sick(&site, &mut standby)?;
    one_refuses(&site)?;
    all_return(&site, &mut standby)
}

fn all_are_well(Site { bed, .. }: &Site) -> Result<()> {
    for case in &CASES {
        for server in ["web1", "web2"] {
            bed.wait_well(case.name, server)?;
        }
        expect(bed, case.name, &["web1", "web2"])?;
        ensure!(bed.events_of(&case.subject())?.is_empty(), "{:?}", bed.events());
    }
    let warnings = bed.status()?.warnings;
    ensure!(!warnings.iter().any(|warning| warning.starts_with("pool ")), "{warnings:?}");
    Ok(())
}

fn one_is_sick(Site { bed, fleet }: &Site) -> Result<()> {
    fleet[0].fall_sick()?;
    for name in [DROP, OPEN, OTHER, OTHER_OPEN] {
        expect(bed, name, &["web2"])?;
        ensure!(bed.events_of(&case(name)?.subject())?.is_empty(), "{:?}", bed.events());
    }
    expect(bed, LEAST, &[])?;
    expect_alarm(
        bed,
        LEAST,
        "1 of 2 backends are fit to serve: new connections are refused (`on_all_down`)",
    )?;
    expect(bed, PANIC, &["web1", "web2"])?;
    expect_alarm(
        bed,
        PANIC,
        "1 of 2 backends are fit to serve, fewer than `panic_threshold`: all who answer get new connections",
    )
}

/// Returns a connection to a standby.
fn both_are_sick(Site { bed, fleet }: &Site) -> Result<Talk> {
    let mut talks = CASES
        .iter()
        .filter(|case| ![LEAST, PANIC].contains(&case.name))
        .map(|case| Talk::with(bed, case.vip(), "web2"))
        .collect::<Result<Vec<_>>>()?;
    fleet[1].fall_sick()?;
    expect(bed, DROP, &[])?;
    expect_alarm(bed, DROP, "0 of 2 backends are fit to serve: new connections are refused (`on_all_down`)")?;
    expect(bed, OPEN, &["web1", "web2"])?;
    expect_alarm(
        bed,
        OPEN,
        "0 of 2 backends are fit to serve: all who answer get new connections, or all if nobody does (`on_all_down`)",
    )?;
    for (name, spare) in [(OTHER, "spare-of-other"), (OTHER_OPEN, "spare-of-other-open")] {
        expect(bed, name, &["web3"])?;
        expect_alarm(bed, name, &format!("new connections go to pool {spare} (`on_all_down`)"))?;
    }
    expect(bed, LEAST, &[])?;
    // None left is fewer than half, too, and only the health pages fail.
    expect(bed, PANIC, &["web1", "web2"])?;
    talks.iter_mut().try_for_each(Talk::goes_on)?;
    Talk::with(bed, case(OTHER)?.vip(), "web3")
}

fn all_are_sick(Site { bed, fleet }: &Site, standby: &mut Talk) -> Result<()> {
    fleet[2].fall_sick()?;
    expect(bed, OTHER, &[])?;
    expect(bed, OTHER_OPEN, &["web1", "web2"])?;
    expect_alarm(
        bed,
        OTHER_OPEN,
        "0 of 2 backends are fit to serve: all who answer get new connections, or all if nobody does (`on_all_down`)",
    )?;
    expect(bed, OPEN, &["web1", "web2"])?;
    standby.goes_on()
}

/// Whoever does not answer at all is left out while others do.
fn one_refuses(Site { bed, fleet }: &Site) -> Result<()> {
    fleet[0].kill()?;
    expect(bed, OPEN, &["web2"])?;
    expect(bed, OTHER_OPEN, &["web2"])?;
    expect(bed, DROP, &[])
}

fn all_return(Site { bed, fleet }: &Site, standby: &mut Talk) -> Result<()> {
    fleet[2].recover()?;
    expect(bed, OTHER, &["web3"])?;
    expect(bed, OTHER_OPEN, &["web3"])?;
    standby.goes_on()?;
    fleet[1].recover()?;
    for name in [DROP, OPEN, OTHER, OTHER_OPEN] {
        expect(bed, name, &["web2"])?;
        let subject = case(name)?.subject();
        wait_until(&format!("{subject} serves again"), SOON, || {
            let last = bed.events_of(&subject)?.pop();
            Ok(last.filter(|event| event.kind == "pool_serves").map(drop))
        })?;
        let warnings = bed.status()?.warnings;
        ensure!(!warnings.iter().any(|warning| warning.starts_with(&format!("{subject}: "))), "{warnings:?}");
    }
    expect(bed, LEAST, &[])?;
    standby.goes_on()
}
