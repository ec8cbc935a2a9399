//! Edits: by `lbctl`, by hand, refused.

use std::fmt::Write;

use anyhow::{Result, ensure};
use lb_tests::lab::wait_until;
use lb_tests::site::Mode;
use lb_userspace::api::error::{ApiError, ErrorCode};
use lb_userspace::api::types::AdminState;
use rustix::process::Signal;

use super::bed::{Bed, SOON};

/// A line that the site's configuration has once.
const WEB1_LINE: &str = "    { name = \"web1\", address = \"10.0.0.11:80\" },";

/// Everything that an operator could lose by an edit.
#[derive(Debug, PartialEq, Eq)]
struct Kept {
    text: String,
    generation: u64,
    hash: String,
}

fn kept(bed: &Bed) -> Result<Kept> {
    let config = bed.status()?.config;
    Ok(Kept { text: bed.text()?, generation: config.generation, hash: config.hash })
}

/// Lines of `text` that `other` does not have.
fn lines_only_in<'t>(text: &'t str, other: &str) -> Vec<&'t str> {
    text.lines().filter(|line| !other.lines().any(|known| known == *line)).collect()
}

/// One edit by `lbctl`: a new generation, valid, and at most one line of the file is another.
fn edit(bed: &Bed, words: &str) -> Result<(String, String)> {
    let before = kept(bed)?;
    let said = bed.edit(words)?;
    let after = kept(bed)?;
    ensure!(said.contains(&format!("generation {}", after.generation)), "{said}");
    ensure!(after.generation == before.generation + 1, "{} after {}", after.generation, before.generation);
    ensure!(after.hash != before.hash, "the hash stays {}", after.hash);
    let gone = lines_only_in(&before.text, &after.text);
    let new = lines_only_in(&after.text, &before.text);
    ensure!(gone.len() <= 1 && new.len() <= 1, "{words}: lines {gone:?} became {new:?}");
    bed.run(bed.lbd("check")?)?.success()?;
    Ok((gone.concat(), new.concat()))
}

#[test]
fn edits_take_effect_and_are_written_back_with_comments_and_order_kept() -> Result<()> {
    let bed = Bed::shared(3)?;
    bed.replace("[pools.nat-v4]\n", "# The shop.\n[pools.nat-v4]  # do not touch on Fridays\n")?;
    bed.replace(WEB1_LINE, &format!("{WEB1_LINE}   # the old one"))?;
    let original = bed.text()?;
    let comments = |text: &str| text.lines().filter(|line| line.contains('#')).count();
    let _lbd = bed.start()?;
    bed.wait_up()?;
    let vip = Mode::Nat.vip_v4().into();

    let (gone, new) = edit(&bed, "backend remove nat-v4/web3")?;
    ensure!(gone.contains("10.0.0.13:80") && new.is_empty(), "{gone:?} became {new:?}");
    bed.expect_servers_of(vip, &["web1", "web2"])?;

    let (gone, new) = edit(&bed, "backend add nat-v4/web3 10.0.0.13:80 --weight 150")?;
    ensure!(gone.is_empty() && new.contains("10.0.0.13:80") && new.contains("weight = 150"), "{gone} {new}");
    bed.wait_up()?;
    bed.expect_servers_of(vip, &["web1", "web2", "web3"])?;

    let (_, new) = edit(&bed, "backend drain nat-v4/web1")?;
    ensure!(new.contains("state = \"drain\"") && new.contains("# the old one"), "{new}");
    bed.expect_servers_of(vip, &["web2", "web3"])?;
    let web1 = bed.backend("nat-v4", "web1")?;
    ensure!(web1.admin_state == AdminState::Drain && web1.slot_share_percent == 0.0, "{web1:?}");
    ensure!(bed.status()?.backends.draining == 1, "{:?}", bed.status()?.backends);

    let before = kept(&bed)?;
    let said = bed.edit("backend drain nat-v4/web1")?;
    ensure!(said.contains("drained already") && kept(&bed)? == before, "{said}");

    edit(&bed, "backend undrain nat-v4/web1")?;
    bed.expect_servers_of(vip, &["web1", "web2", "web3"])?;
    let text = bed.text()?;
    ensure!(comments(&text) == comments(&original), "{text}");
    // Every other pool stands as it stood.
    let tail = |text: &str| text.split_once("[services.nat-v4]").map(|(_, tail)| tail.to_owned());
    ensure!(tail(&text).is_some() && tail(&text) == tail(&original), "{text}");
    bed.expect_servers(&["web1", "web2", "web3"])
}

/// Scenario 53: every way to ask for something invalid, and a word of the complaint.
const INVALID_EDITS: [(&str, &str); 9] = [
    ("backend weight nat-v4/web1 5000", "1000"),
    ("backend add nat-v4/web1 10.0.0.99:80", "web1"),
    ("backend add nat-v4/web9 10.0.0.11:80", "10.0.0.11:80"),
    ("backend add nat-v4/web9 224.0.0.9:80", "multicast"),
    ("backend add nat-v4/web9 203.0.113.10:80", "203.0.113.10"),
    ("backend add dsr-l2-v4/web9 10.0.0.99:8080", "8080"),
    ("backend add shop/web9 10.0.0.99:80", "shop"),
    ("backend remove nat-v4/web9", "web9"),
    ("backend drain shop/web1", "shop"),
];

#[test]
fn an_edit_that_is_not_valid_is_refused_and_changes_nothing() -> Result<()> {
    let bed = Bed::shared(2)?;
    let _lbd = bed.start()?;
    bed.wait_up()?;
    let before = kept(&bed)?;
    for (words, complaint) in INVALID_EDITS {
        let said = bed.edit_refusal(words)?;
        ensure!(said.starts_with("error: ") && said.contains(complaint), "{words}: {said}");
        ensure!(kept(&bed)? == before, "{words} changed something");
    }
    bed.expect_servers(&["web1", "web2"])
}

#[test]
fn a_file_edited_by_hand_takes_effect_with_reload_and_not_before() -> Result<()> {
    let bed = Bed::shared(3)?;
    let lbd = bed.start()?;
    bed.wait_up()?;
    let vip = Mode::Nat.vip_v4().into();
    let said = bed.edit("reload")?;
    ensure!(said.contains("not changed"), "{said}");
    bed.replace(&format!("{WEB1_LINE}\n"), "    # web1 is being repaired\n")?;
    bed.expect_servers_of(vip, &["web1", "web2", "web3"])?;

    // An edit by lbctl would silently apply or lose the change by hand.
    let before = kept(&bed)?;
    let said = bed.edit_refusal("backend weight nat-v4/web2 50")?;
    ensure!(said.contains("lbctl reload") && kept(&bed)? == before, "{said}");

    bed.edit("reload")?;
    bed.expect_servers_of(vip, &["web2", "web3"])?;
    ensure!(kept(&bed)?.generation == before.generation + 1, "{:?}", kept(&bed)?);
    edit(&bed, "backend weight nat-v4/web2 50")?;
    ensure!(bed.text()?.contains("# web1 is being repaired"), "the comment is lost");

    bed.replace("    # web1 is being repaired\n", &format!("{WEB1_LINE}\n"))?;
    lbd.signal(Signal::HUP)?;
    wait_until("SIGHUP reloads", SOON, || {
        Ok((bed.status()?.config.generation == before.generation + 3).then_some(()))
    })?;
    bed.wait_up()?;
    bed.expect_servers_of(vip, &["web1", "web2", "web3"])
}

/// Scenario 53.
#[test]
fn a_broken_file_is_refused_at_reload_with_every_mistake_and_the_former_one_stays_in_force() -> Result<()> {
    let bed = Bed::shared(2)?;
    let lbd = bed.start()?;
    bed.wait_up()?;
    let good = bed.text()?;
    let before = bed.status()?.config;
    bed.replace(WEB1_LINE, &WEB1_LINE.replace("address", "weight = 5000, address"))?;
    bed.replace("pool = \"dsr-l2-v4\"", "pool = \"dsr-l2-v5\"")?;
    let broken = bed.text()?;
    let output = bed.lbctl("-o json reload")?;
    ensure!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
    let error: ApiError = serde_json::from_str(&output.stderr)?;
    ensure!(error.code == ErrorCode::InvalidConfig && error.details.len() == 2, "{error:?}");
    for detail in &error.details {
        ensure!(detail.line > 1 && detail.column > 1 && detail.hint.is_some(), "{detail:?}");
    }
    ensure!(error.details[1].hint.as_deref().is_some_and(|hint| hint.contains("dsr-l2-v4")), "{error:?}");
    ensure!(bed.text()? == broken, "the file was touched");
    let after = bed.status()?.config;
    ensure!((after.generation, &after.hash) == (before.generation, &before.hash), "{after:?}");
    lbd.signal(Signal::HUP)?;
    lbd.wait_for_output("SIGHUP: ", SOON)?;
    bed.edit_refusal("backend weight nat-v4/web1 50")?;
    bed.expect_servers(&["web1", "web2"])?;
    ensure!(bed.status()?.config.generation == before.generation, "a new generation");
    bed.write(&good)?;
    ensure!(bed.edit("reload")?.contains("not changed"), "the good file is another one");
    Ok(())
}

/// Six pools of two servers each.
const BACKENDS: usize = 12;

#[test]
fn a_backend_more_than_the_limit_is_refused_with_the_limit_to_raise() -> Result<()> {
    let bed = Bed::shared(2)?;
    bed.replace("[checks.web]", &format!("[node.limits]\nbackends = {BACKENDS}\n\n[checks.web]"))?;
    let _lbd = bed.start()?;
    bed.wait_up()?;
    let before = kept(&bed)?;
    let said = bed.edit_refusal("backend add nat-v4/web3 10.0.0.13:80")?;
    ensure!(said.contains("node.limits.backends is 12") && said.contains("line "), "{said}");
    ensure!(kept(&bed)? == before, "something changed");
    bed.expect_servers(&["web1", "web2"])?;
    // One out, one in: the limit is of what there is, not of what there ever was.
    for _ in 0..3 {
        bed.edit("backend remove nat-v4/web2")?;
        bed.edit("backend add nat-v4/web2 10.0.0.12:80")?;
    }
    bed.wait_up()?;
    bed.expect_servers(&["web1", "web2"])
}

/// Scenario 55: the file allows more than the maps that were made hold, so that they fill up while it is applied.
#[test]
fn a_reload_that_does_not_fit_into_the_maps_is_rolled_back() -> Result<()> {
    let bed = Bed::shared(3)?;
    bed.replace("[checks.web]", "[node.limits]\nservices = 8\nbackends = 18\n\n[checks.web]")?;
    let lbd = bed.start()?;
    bed.wait_up()?;
    let before = bed.status()?;
    let good = bed.text()?;
    for (limits, more) in
        [("services = 64\nbackends = 18", services(1_000)), ("services = 8\nbackends = 64", pool())]
    {
        bed.write(&(good.replace("services = 8\nbackends = 18", limits) + &more))?;
        let output = bed.lbctl("-o json reload")?;
        ensure!(output.status.code() == Some(1), "{}: {}", output.status, output.stdout);
        let error: ApiError = serde_json::from_str(&output.stderr)?;
        ensure!(error.code == ErrorCode::LimitReached && error.message.contains("node.limits"), "{error:?}");
        let after = bed.status()?;
        ensure!(
            after.config == before.config && after.limits[..3] == before.limits[..3],
            "{:?}",
            after.limits
        );
        bed.expect_servers(&["web1", "web2", "web3"])?;
    }
    // Nor can the next lbd take over maps of another size, and it leaves them alone.
    lbd.terminate()?;
    let said = bed.refusal("run")?;
    ensure!(said.contains("node.limits") && said.contains("lbd remove"), "{said}");
    bed.expect_servers(&["web1", "web2", "web3"])?;
    bed.write(&good)?;
    let _lbd = bed.start()?;
    ensure!(
        bed.edit("backend weight nat-v4/web1 50")?.contains("generation"),
        "no edit is possible any more"
    );
    bed.expect_servers(&["web1", "web2", "web3"])
}

/// 16 services on one pool, from this port on.
fn services(first_port: u16) -> String {
    let mut text = String::new();
    for port in first_port..first_port + 16 {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "\n[services.extra{port}]\nvips = [\"203.0.113.20\"]\nports = [{port}]\nprotocol = \"tcp\"\npool = \"dsr-l2-v4\"\n"
        );
    }
    text
}

/// A pool of 16 servers with a service.
fn pool() -> String {
    let mut text = "\n[pools.extra]\nmode = \"nat\"\nbackends = [\n".to_owned();
    for last in 50..66 {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "    {{ name = \"b{last}\", address = \"10.0.0.{last}:81\" }},");
    }
    text.push_str(
        "]\n\n[services.extra]\nvips = [\"203.0.113.10\"]\nports = [81]\nprotocol = \"tcp\"\npool = \"extra\"\n",
    );
    text
}
