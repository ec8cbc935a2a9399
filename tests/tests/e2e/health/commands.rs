//! A command that never ends is killed with all that it started, and delays nobody.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lb_tests::lab::wait_until;
use lb_tests::site::Web;

use super::look::SOON;
use super::plan::{CHECK_PORT, check, node, served};
use super::server::{Says, Server};
use crate::bed::Bed;

/// Checks of the hung command.
const RESULTS: u64 = 12;

const INTERVAL: Duration = Duration::from_millis(300);

/// Processes of a hung command: its shell, and two shells with a `sleep` each.
const PROCESSES: usize = 5;

/// Processes whose command line has this mark.
fn marked(mark: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        // Processes come and go.
        let Ok(line) = fs::read(entry?.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(mark) {
            found.push(line);
        }
    }
    Ok(found)
}

fn plan(bed: &Bed, script: &str, mark: &str) -> Result<String> {
    let times = format!("interval = \"{0}ms\"\ntimeout = \"{0}ms\"\n", INTERVAL.as_millis());
    let command = |how: &str| {
        format!("kind = \"exec\"\n{times}command = [\"{script}\", \"{mark}\", \"{how}\", \"{{address}}\"]")
    };
    let http = format!("kind = \"http\"\nport = {CHECK_PORT}\n{times}");
    let webs: Vec<&Web> = bed.fleet.webs.iter().collect();
    Ok(node(bed)?
        + &check("hung", &command("hang"))
        + &check("quick", &command("end"))
        + &check("http", &http)
        + &served("hung", 80, "hung", "", &webs[..1])
        + &served("quick", 81, "quick", "", &webs[1..])
        + &served("http", 82, "http", "", &webs[1..]))
}

#[test]
fn a_command_that_hangs_takes_its_backend_down_delays_nobody_and_leaves_nothing() -> Result<()> {
    let bed = Bed::alone(2)?;
    // A time to sleep that nobody else sleeps, so that every process of a command has it in its command line.
    let mark = format!("86399.{}", std::process::id());
    let path = bed.fleet.lab.dir().join("check.sh");
    let text = "#!/bin/sh\n\
                [ \"$2\" = end ] && exit 0\n\
                echo \"asking $3\"\n\
                sh -c 'sleep \"$0\"; exit 1' \"$1\" &\n\
                sh -c 'trap \"\" TERM INT HUP; while :; do sleep \"$0\"; done' \"$1\"\n";
    fs::write(&path, text)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    let server = Server::start(&bed.fleet.webs[1].host, CHECK_PORT, Says::Status(200))?;
    bed.write(&plan(&bed, &path.to_string_lossy(), &mark)?)?;
    let lbd = bed.start()?;
    bed.wait_down("hung", "web1", "did not end within 300ms and was killed: asking 10.0.0.11")?;
    bed.wait_serving("hung", &[])?;
    bed.wait_well("quick", "web2")?;
    bed.wait_well("http", "web2")?;

    let results = |pool: &str, name: &str| -> Result<u64> {
        let check = bed.detail(pool, name)?.check.context("no check")?;
        Ok(check.good + check.bad)
    };
    let (hung, http, quick) = (results("hung", "web1")?, results("http", "web2")?, results("quick", "web2")?);
    let begin = Instant::now();
    let mut most = 0;
    wait_until("many checks", SOON, || {
        let seen = marked(&mark)?;
        most = most.max(seen.len());
        // That of the next check may have begun, and the quick one may run.
        ensure!(seen.len() <= 2 * PROCESSES + 1, "they pile up: {seen:#?}");
        Ok((results("hung", "web1")? >= hung + RESULTS).then_some(()))
    })?;
    ensure!(most >= PROCESSES, "only {most} processes were ever seen: is the mark right?");
    let intervals = begin.elapsed().as_secs_f64() / INTERVAL.as_secs_f64();
    for (pool, before) in [("http", http), ("quick", quick)] {
        let count = f64::from(u32::try_from(results(pool, "web2")? - before)?);
        ensure!(count >= 0.8 * intervals, "{pool}: {count} results in {intervals:.1} intervals");
        let check = bed.detail(pool, "web2")?.check.context("no check")?;
        ensure!(check.bad == 0 && check.inconclusive == 0, "{check:?}");
    }
    ensure!(server.asked() > 0, "nobody asked");

    lbd.terminate()?;
    wait_until("nothing is left", SOON, || Ok(marked(&mark)?.is_empty().then_some(())))
        .with_context(|| format!("{:?}", marked(&mark)))
}
