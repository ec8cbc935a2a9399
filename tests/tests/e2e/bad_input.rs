//! Bad input gets a clear error, and nothing changes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use lb_common::abi::names::PINNED;
use lb_tests::bins;
use lb_tests::lab::{Output, Process};
use lb_tests::site::{Mode, NODE_BACK, NODE_FRONT};

use super::bed::Bed;
use super::kernel::{self, FOREIGN_NAME};
use super::restart::expect_nothing_left;

/// A mistake: what it replaces in the site's configuration, what it is, the place that is to blame, and a word of the
/// complaint.
struct Mistake {
    instead_of: &'static str,
    text: &'static str,
    place: &'static str,
    complaint: &'static str,
}

const fn mistake(instead_of: &'static str, text: &'static str, complaint: &'static str) -> Mistake {
    Mistake { instead_of, text, place: text, complaint }
}

/// Mistakes of every kind.
const MISTAKES: [Mistake; 7] = [
    mistake("pool = \"dsr-l2-v4\"", "pool = \"dsr-l2-v5\"", "`dsr-l2-v5`, which does not exist"),
    mistake("fall = 3", "fal = 3", "no key `fal`"),
    mistake("rise = 2", "rise = 0", "out of range"),
    mistake("interval = \"200ms\"", "interval = \"200\"", "not a duration"),
    mistake("address = \"10.0.0.12:80\"", "address = \"shop.example:80\"", "not an IP address"),
    mistake("vips = [\"203.0.113.30\"]", "vips = [\"203.0.113.20\"]", "served by service"),
    Mistake {
        instead_of: "vips = [\"2001:db8:2::10\"]",
        text: "vips = [\"203.0.113.77\"]",
        place: "vips = [\"203.0.113.77\"]",
        complaint: "all backends of pool",
    },
];

/// Line and column, from 1, of the last occurrence of a text.
fn position(text: &str, part: &str) -> Option<(usize, usize)> {
    let (before, _) = text.rsplit_once(part)?;
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Some((before.matches('\n').count() + 1, before.len() - line_start + 1))
}

#[test]
fn every_mistake_of_a_configuration_is_reported_at_once_with_its_place_and_what_to_do() -> Result<()> {
    let bed = Bed::shared(2)?;
    for mistake in &MISTAKES {
        bed.replace(mistake.instead_of, mistake.text)?;
    }
    for subcommand in ["check", "run"] {
        let said = bed.refusal(subcommand)?;
        let reports: Vec<&str> = said.split("\n\n").collect();
        ensure!(reports.len() == MISTAKES.len(), "{} reports: {said}", reports.len());
        for report in &reports {
            ensure!(report.starts_with("error: ") && report.contains("= help: "), "{report}");
        }
        for Mistake { place, complaint, .. } in &MISTAKES {
            let (line, _) = position(&bed.text()?, place).unwrap_or_default();
            let place = format!("{}:{line}:", bed.config.display());
            let report = reports.iter().find(|report| report.contains(&place));
            ensure!(
                report.is_some_and(|report| report.contains(complaint)),
                "{complaint} at {place}: {said}"
            );
        }
    }
    expect_nothing_left(&bed)
}

#[test]
fn text_that_is_no_toml_is_refused_with_line_and_column() -> Result<()> {
    let bed = Bed::shared(1)?;
    bed.replace("vips = \"assign\"", "vips = assign\"")?;
    let said = bed.refusal("run")?;
    let (line, column) = position(&bed.text()?, "assign\"").unwrap_or_default();
    ensure!(said.contains(&format!("{}:{line}:{column}", bed.config.display())), "{said}");
    fs::remove_file(&bed.config)?;
    let said = bed.refusal("run")?;
    ensure!(said.contains(&*bed.config.to_string_lossy()) && said.contains("examples/"), "{said}");
    expect_nothing_left(&bed)
}

#[test]
fn an_interface_that_does_not_exist_is_named_with_those_that_do() -> Result<()> {
    let bed = Bed::shared(2)?;
    let good = bed.text()?;
    bed.replace("interfaces = [\"front\", \"back\"]", "interfaces = [\"front\", \"bakc\"]")?;
    let said = bed.refusal("run")?;
    ensure!(said.contains("no interface bakc") && said.contains("front") && said.contains("back"), "{said}");
    expect_nothing_left(&bed)?;
    bed.write(&good)?;
    let lbd = bed.start()?;
    bed.wait_up()?;
    // The same at a reload, and when the next lbd starts: what is in force stays in force, whole.
    let generation = bed.status()?.config.generation;
    bed.write(&without_web1(&good).replace("[\"front\", \"back\"]", "[\"front\", \"bakc\"]"))?;
    let said = bed.edit_refusal("reload")?;
    ensure!(said.contains("no interface bakc"), "{said}");
    ensure!(bed.status()?.config.generation == generation, "a new generation");
    bed.expect_servers(&["web1", "web2"])?;
    lbd.terminate()?;
    bed.refusal("run")?;
    bed.expect_servers(&["web1", "web2"])
}

/// The configuration without `web1` in the first pool.
fn without_web1(text: &str) -> String {
    text.replace("    { name = \"web1\", address = \"10.0.0.11:80\" },\n", "")
}

/// Scenario 63.
#[test]
fn a_program_of_somebody_else_is_named_and_left_alone() -> Result<()> {
    let bed = Bed::shared(2)?;
    let foreign = kernel::attach_foreign(&bed.fleet.node, NODE_BACK)?;
    let id = kernel::program_id(&bed.fleet.node, NODE_BACK)?.unwrap_or_default();
    let said = bed.refusal("run")?;
    for part in [NODE_BACK, FOREIGN_NAME, &format!("id {id}"), "ip link set dev back xdp off"] {
        ensure!(said.contains(part), "{part}: {said}");
    }
    ensure!(kernel::program_id(&bed.fleet.node, NODE_BACK)? == Some(id), "the other program is gone");
    drop(foreign);
    expect_nothing_left(&bed)?;
    let _lbd = bed.start()?;
    bed.expect_servers(&["web1", "web2"])
}

#[test]
fn without_privileges_lbd_says_which_are_missing() -> Result<()> {
    let bed = Bed::shared(1)?;
    // A user without rights must be able to read the program and the configuration.
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let (program, config) = (dir.path().join("lbd"), dir.path().join("lb.toml"));
    fs::copy(bins::lbd()?, &program)?;
    fs::write(&config, bed.text()?)?;
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let bare_root = ["--inh-caps=-all", "--bounding-set=-all"];
    for user in [&nobody[..], &bare_root[..]] {
        for subcommand in ["run", "remove"] {
            let output = unprivileged(&bed, user, &program, subcommand, &config)?;
            ensure!(output.status.code() == Some(1), "{}: {}", output.status, output.stderr);
            for part in ["CAP_BPF", "CAP_NET_ADMIN", "run it as root"] {
                ensure!(output.stderr.contains(part), "{user:?} {subcommand}: {}", output.stderr);
            }
        }
        let output = unprivileged(&bed, user, &program, "check", &config)?;
        ensure!(output.status.success(), "a check needs no privileges: {}", output.stderr);
    }
    expect_nothing_left(&bed)
}

fn unprivileged(bed: &Bed, user: &[&str], program: &Path, subcommand: &str, config: &Path) -> Result<Output> {
    let mut command = Command::new("setpriv");
    command.args(user).arg(program).arg(subcommand).arg("--config").arg(config);
    bed.run(command)
}

/// Scenario 64: nothing is mounted at /sys/fs/bpf.
#[test]
fn a_missing_bpffs_is_mounted() -> Result<()> {
    let bed = Bed::without_bpffs(2)?;
    let lbd = bed.start()?;
    let mounts = fs::read_to_string(format!("/proc/{}/mounts", lbd.pid()))?;
    ensure!(mounts.lines().any(|line| line.contains(" /sys/fs/bpf bpf ")), "{mounts}");
    lbd.wait_for_output("mounted a bpffs on /sys/fs/bpf", super::bed::SOON)?;
    let root = format!("/proc/{}/root{}", lbd.pid(), bed.bpffs.display());
    ensure!(
        // Two links, and the table of stages.
        kernel::pins(Path::new(&root))?.len() == PINNED.len() + 3,
        "{:?}",
        kernel::pins(Path::new(&root))
    );
    bed.expect_servers(&["web1", "web2"])
}

/// The configuration without pools and services.
fn empty(text: &str) -> String {
    text.split("[checks.web]").next().unwrap_or_default().to_owned()
}

/// Scenario 54.
#[test]
fn a_configuration_that_serves_nothing_is_refused_without_force() -> Result<()> {
    let bed = Bed::shared(2)?;
    let good = bed.text()?;
    let lbd = bed.start()?;
    bed.wait_up()?;
    bed.write(&empty(&good))?;
    let before = bed.status()?.config;
    let said = bed.edit_refusal("reload")?;
    ensure!(said.contains("no services"), "{said}");
    ensure!(bed.status()?.config == before, "{:?}", bed.status()?.config);
    bed.expect_servers(&["web1", "web2"])?;

    lbd.terminate()?;
    let said = bed.refusal("run")?;
    ensure!(said.contains("no services") && said.contains("--force"), "{said}");
    bed.expect_servers(&["web1", "web2"])?;

    let lbd = forced(&bed)?;
    ensure!(bed.status()?.service_count == 0, "{:?}", bed.status()?);
    ensure!(
        !kernel::addresses(&bed.fleet.node, NODE_FRONT)?.contains(&Mode::Nat.vip_v4().to_string()),
        "a VIP is left"
    );
    // From nothing to something needs no force.
    bed.write(&good)?;
    bed.edit("reload")?;
    bed.wait_up()?;
    bed.expect_servers(&["web1", "web2"])?;
    drop(lbd);
    Ok(())
}

fn forced(bed: &Bed) -> Result<Process> {
    let mut command = bed.lbd("run")?;
    command.arg("--force");
    bed.start_with(command)
}
