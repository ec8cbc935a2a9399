//! A check that several pools share asks a server once.

use anyhow::{Context, Result, ensure};
use lb_tests::lab::wait_until;
use lb_tests::site::Web;

use super::look::SOON;
use super::plan::{CHECK_PORT, check, node, served};
use super::server::{Says, Server};
use crate::bed::Bed;

/// Questions after which the two ways to count would differ by far.
const QUESTIONS: usize = 20;

/// The address that one of the checks asks from.
const SOURCE: &str = "10.0.0.200";

fn plan(bed: &Bed) -> Result<String> {
    let keys = |port: u16| {
        format!(
            "kind = \"http\"\nport = {port}\ninterval = \"200ms\"\ntimeout = \"200ms\"\njitter = \"50ms\"\n"
        )
    };
    let webs: Vec<&Web> = bed.fleet.webs.iter().collect();
    let from = format!("source = \"{SOURCE}\"");
    Ok(node(bed)?
        + &check("shared", &keys(CHECK_PORT))
        + &check("other", &(keys(CHECK_PORT) + &from))
        + &served("one", 80, "shared", "", &webs)
        + &served("two", 81, "shared", "", &webs)
        + &served("three", 82, "other", "", &webs))
}

#[test]
fn a_check_of_two_pools_asks_a_server_once_and_another_check_asks_for_itself() -> Result<()> {
    let bed = Bed::shared(1)?;
    bed.fleet.node.address("back", &format!("{SOURCE}/24"))?;
    let web = bed.fleet.webs.first().context("no web")?;
    let server = Server::start(&web.host, CHECK_PORT, Says::Status(200))?;
    bed.write(&plan(&bed)?)?;
    let lbd = bed.start()?;
    bed.wait_up()?;
    let results = |pool: &str| -> Result<usize> {
        let check = bed.detail(pool, "web1")?.check.context("no check")?;
        ensure!(check.bad == 0, "{check:?}");
        Ok(usize::try_from(check.good)?)
    };
    wait_until("many questions", SOON, || {
        Ok((results("one")? >= QUESTIONS && results("three")? >= QUESTIONS).then_some(()))
    })?;
    let (before, one, two, three, after) =
        (server.asked(), results("one")?, results("two")?, results("three")?, server.asked());
    // Each number is of another moment: between the first and the last look.
    ensure!(one <= two, "both pools have the same results: {one} and {two}");
    let (least, most) = (before.saturating_sub(2), after);
    ensure!(
        (least..=most).contains(&(one + three)),
        "{one} + {three} results of {before} to {after} questions"
    );
    let mut clients = server.clients();
    clients.sort();
    let wanted: Vec<std::net::IpAddr> = ["10.0.0.2".parse()?, SOURCE.parse()?].into();
    ensure!(clients == wanted, "{clients:?}");

    // What one pool learns, the other knows, and nobody learns of it twice.
    drop(server);
    bed.wait_down("one", "web1", "refused")?;
    bed.wait_down("two", "web1", "refused")?;
    bed.wait_event("one/web1", "refused")?;
    bed.wait_event("two/web1", "refused")?;
    lbd.terminate().map(drop)
}
