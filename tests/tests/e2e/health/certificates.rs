//! `https` looks at certificates as a client would, and tells when they expire.

use anyhow::{Context, Result, ensure};
use lb_tests::nginx::Nginx;
use lb_tests::site::Web;

use super::certificate::Authority;
use super::plan::{check, node, served};
use crate::bed::Bed;

const HTTPS_PORT: u16 = 443;

fn plan(bed: &Bed, authority: &Authority) -> Result<String> {
    let keys = |more: &str| {
        format!(
            "kind = \"https\"\npath = \"/healthz\"\nexpect_body = \"^well\"\nport = {HTTPS_PORT}\n\
             interval = \"500ms\"\ntimeout = \"500ms\"\nfall = 2\n{more}"
        )
    };
    let webs: Vec<&Web> = bed.fleet.webs.iter().collect();
    let ca = format!("ca = \"{}\"", authority.file().display());
    Ok(node(bed)?
        + &check("verified", &keys(&ca))
        + &check("http2", &keys(&(ca.clone() + "\nversion = \"2\"")))
        + &check("unverified", &keys("verify = false"))
        + &check("strangers", &keys(""))
        + &served("verified", 80, "verified", "", &webs)
        + &served("http2", 81, "http2", "", &webs)
        + &served("unverified", 82, "unverified", "", &webs)
        + &served("strangers", 83, "strangers", "", &webs))
}

#[test]
fn an_expired_certificate_takes_its_server_down_unless_nobody_verifies() -> Result<()> {
    let bed = Bed::shared_without_servers(2)?;
    let authority = Authority::new(bed.fleet.lab.dir())?;
    let start = |web: &Web, until: i32| {
        let mut more = authority.nginx(web.v4.into(), HTTPS_PORT, (2020, until))?;
        more.in_server = more.in_server.replace(" ssl;", " ssl http2;");
        Nginx::start(&web.host, bed.fleet.lab.dir(), &more)
    };
    let _fresh = start(&bed.fleet.webs[0], 2100)?;
    let _expired = start(&bed.fleet.webs[1], 2021)?;
    bed.write(&plan(&bed, &authority)?)?;
    let _lbd = bed.start()?;
    for pool in ["verified", "http2"] {
        bed.wait_well(pool, "web1")?;
        bed.wait_down(pool, "web2", "expired")?;
        bed.wait_event(&format!("{pool}/web2"), "expired")?;
        bed.wait_serving(pool, &["web1"])?;
    }
    bed.wait_well("unverified", "web1")?;
    bed.wait_well("unverified", "web2")?;
    for (name, date) in [("web1", "2100-01-01T00:00:00Z"), ("web2", "2021-01-01T00:00:00Z")] {
        let shown = bed.edit(&format!("backend show unverified/{name}"))?;
        ensure!(shown.contains(&format!("expires {date}")), "{shown}");
        let check = bed.detail("unverified", name)?.check.context("no check")?;
        ensure!(check.certificate_expires_unix_seconds.is_some(), "{check:?}");
    }
    // Nobody knows the lab's authority.
    bed.wait_down("strangers", "web1", "certificate")?;
    bed.wait_down("strangers", "web2", "certificate").map(drop)
}
