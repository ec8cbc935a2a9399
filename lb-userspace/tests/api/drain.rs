//! `lbctl backend drain --wait`: what it shows, when it ends and how.
//!
//! The clock stands still but for what is waited for, so that hours pass at once.

use std::time::Duration;

use clap::Parser;
use lb_userspace::api::client::Client;
use lb_userspace::api::edit::SetState;
use lb_userspace::api::error::{ApiError, ErrorCode};
use lb_userspace::api::types::{AdminState, BackendInfo};
use lb_userspace::cli::Look;
use lb_userspace::cli::args::{Cli, Output};
use lb_userspace::cli::drain::{Drained, LOOK_EVERY, UNREACHABLE_TIME};
use lb_userspace::cli::execute::{Done, execute};
use lb_userspace::cli::exit::{CliError, Exit};
use lb_userspace::cli::progress::Progress;
use tokio::time::Instant;

use crate::fake::{Running, Step};

/// What a terminal would have shown.
#[derive(Default)]
struct Shown {
    warnings: Vec<String>,
    texts: Vec<String>,
    cleared: bool,
}

impl Progress for Shown {
    fn warn(&mut self, warning: &str) {
        self.warnings.push(warning.to_owned());
    }

    fn show(&mut self, _waited: Duration, text: &str) {
        assert!(!self.cleared, "{text} after the end");
        self.texts.push(text.to_owned());
    }

    fn clear(&mut self) {
        self.cleared = true;
    }
}

async fn lbctl(client: &Client, line: &str) -> (Result<Done, CliError>, Shown) {
    let cli = Cli::try_parse_from(std::iter::once("lbctl").chain(line.split_whitespace())).unwrap();
    let mut shown = Shown::default();
    let result = execute(client, &cli.command, cli.output, Look::default(), &mut shown).await;
    (result, shown)
}

/// Something happens to `web1`, the backend that is being drained.
fn web1(change: impl FnOnce(&mut BackendInfo) + Send + 'static) -> Step {
    Box::new(move |backends| change(backends.iter_mut().find(|backend| backend.name == "web1").unwrap()))
}

fn flows_remain(flows: u64, settles_in_seconds: Option<u64>) -> Step {
    web1(move |backend| {
        backend.remembered_flows = flows;
        backend.settles_in_seconds = settles_in_seconds;
    })
}

fn drained() -> Step {
    web1(|backend| {
        backend.remembered_flows = 0;
        backend.settles_in_seconds = None;
        backend.drained = true;
    })
}

fn waited(error: &CliError) -> &ApiError {
    match error {
        CliError::Waited(error) => error,
        other => panic!("{other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn it_shows_what_remains_and_ends_when_nothing_leads_to_the_backend() {
    let running = Running::start().await;
    running.fake.before_looks([
        flows_remain(37, Some(290)),
        flows_remain(2, Some(1)),
        flows_remain(1, None),
        flows_remain(0, None),
        drained(),
    ]);
    let (result, shown) = lbctl(&running.client(), "backend drain web/web1 --wait").await;
    let done = result.unwrap();
    assert_eq!(done.stdout, "web/web1 drained, nothing leads to it any more (took 2s)\n");
    // The warnings of the edit come before the wait, and once.
    assert_eq!((done.warnings, shown.warnings), (vec![], vec!["sample warning".to_owned()]));
    assert!(shown.cleared);
    let wanted = [
        "web/web1: 37 flows remain, 0s; idle connections may still show up for 4m 50s",
        "web/web1: 2 flows remain, 0s; idle connections may still show up for 1s",
        "web/web1: 1 flow remains, 1s",
        "web/web1: 0 flows remain, 1s",
    ];
    assert_eq!(shown.texts, wanted);
}

#[tokio::test(start_paused = true)]
async fn without_a_timeout_it_waits_for_as_long_as_it_takes() {
    let running = Running::start().await;
    let half_seconds = 10 * 60 * 2;
    running.fake.before_looks((0..half_seconds).map(|_| flows_remain(1, None)));
    running.fake.before_looks([drained()]);
    let (result, shown) = lbctl(&running.client(), "backend drain web/web1 --wait").await;
    assert_eq!(result.unwrap().stdout, "web/web1 drained, nothing leads to it any more (took 10m 0s)\n");
    assert_eq!(shown.texts.len(), half_seconds);
}

#[tokio::test(start_paused = true)]
async fn in_json_the_result_is_one_object() {
    let running = Running::start().await;
    running.fake.before_looks([flows_remain(37, None), flows_remain(3, None), drained()]);
    let line = "-o json backend drain web/web1 --wait --timeout 5m";
    let (result, shown) = lbctl(&running.client(), line).await;
    let drained: Drained = serde_json::from_str(&result.unwrap().stdout).unwrap();
    let wanted = Drained {
        generation: 12,
        changed: true,
        drained: true,
        remaining_flows: 0,
        waited_ms: drained.waited_ms,
        warnings: vec!["sample warning".into()],
    };
    assert_eq!((&drained, shown.warnings.len()), (&wanted, 0));
    assert!((1_000..1_500).contains(&drained.waited_ms), "{drained:?}");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_drained_already_is_not_waited_for() {
    let running = Running::start().await;
    running.fake.before_looks([drained()]);
    let drain = SetState { state: AdminState::Drain, force: false };
    running.client().set_state(&"web/web1".parse().unwrap(), drain).await.unwrap();
    let (result, shown) = lbctl(&running.client(), "backend drain web/web1 --wait --timeout 0s").await;
    assert_eq!(result.unwrap().stdout, "web/web1 drained, nothing leads to it any more (took 0s)\n");
    assert_eq!(shown.texts, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn when_the_timeout_passes_it_says_what_remains_and_what_can_be_done() {
    let running = Running::start().await;
    running.fake.before_looks([flows_remain(37, Some(200))]);
    let begun = Instant::now();
    let (result, shown) = lbctl(&running.client(), "backend drain web/web1 --wait --timeout 5m").await;
    let error = result.unwrap_err();
    assert_eq!(error.exit(), Exit::Deadline);
    let wanted = "\
error: web/web1 is not drained after 5m: 37 flows remain, and idle connections may still show up for 3m 20s; it stays draining
hint: wait again with the same command, or give up the connections that remain: lbctl backend maintenance web/web1
";
    assert_eq!(error.render(Output::Table), wanted);
    let json: ApiError = serde_json::from_str(&error.render(Output::Json)).unwrap();
    assert_eq!((json.code, &json), (ErrorCode::Deadline, waited(&error)));
    assert!(shown.cleared);
    let late = begun.elapsed().checked_sub(Duration::from_mins(5)).unwrap();
    assert!(late < LOOK_EVERY, "{late:?}");
    let backends = running.client().backends(None).await.unwrap();
    assert_eq!(backends[0].admin_state, AdminState::Drain);
}

#[tokio::test(start_paused = true)]
async fn one_that_somebody_removes_or_brings_back_ends_the_wait() {
    let running = Running::start().await;
    running.fake.before_looks([
        flows_remain(37, None),
        Box::new(|backends: &mut Vec<BackendInfo>| backends.retain(|backend| backend.name != "web1")),
    ]);
    let (result, shown) = lbctl(&running.client(), "backend drain web/web1 --wait").await;
    let error = result.unwrap_err();
    assert_eq!((error.exit(), waited(&error).code), (Exit::Failed, ErrorCode::NotFound));
    assert_eq!(error.to_string(), "web/web1 was removed by somebody while it drained");
    assert!(shown.cleared);

    let running = Running::start().await;
    running
        .fake
        .before_looks([flows_remain(37, None), web1(|backend| backend.admin_state = AdminState::Active)]);
    let (result, _) = lbctl(&running.client(), "backend drain web/web1 --wait").await;
    let error = result.unwrap_err();
    assert_eq!((error.exit(), waited(&error).code), (Exit::Failed, ErrorCode::Conflict));
    assert_eq!(error.to_string(), "web/web1 was given new flows again by somebody while it drained");
}

#[tokio::test(start_paused = true)]
async fn maintenance_meanwhile_ends_the_wait_with_the_last_connection() {
    let running = Running::start().await;
    running.fake.before_looks([
        flows_remain(37, None),
        web1(|backend| backend.admin_state = AdminState::Maintenance),
        drained(),
    ]);
    let (result, shown) = lbctl(&running.client(), "backend drain web/web1 --wait").await;
    assert_eq!(result.unwrap().stdout, "web/web1 drained, nothing leads to it any more (took 1s)\n");
    assert_eq!(shown.texts.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_restarts_is_waited_for() {
    let mut running = Running::start().await;
    running.fake.before_looks((0..20).map(|_| flows_remain(5, None)).chain([drained()]));
    let client = running.client();
    let restart = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        running.stop().await;
        tokio::time::sleep(UNREACHABLE_TIME.mul_f64(0.7)).await;
        running.start_again().await;
    };
    let ((result, shown), ()) = tokio::join!(lbctl(&client, "backend drain web/web1 --wait"), restart);
    assert!(result.unwrap().stdout.starts_with("web/web1 drained, nothing leads to it any more"));
    let silent = shown.texts.iter().filter(|text| text.starts_with("web/web1: lbd does not answer, "));
    assert!((1..20).contains(&silent.count()), "{:?}", shown.texts);
    assert!(shown.texts.last().unwrap().contains("5 flows remain"), "{:?}", shown.texts);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_stays_away_is_given_up() {
    let mut running = Running::start().await;
    running.fake.before_looks([flows_remain(5, None)]);
    let client = running.client();
    let begun = Instant::now();
    let stop = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        running.stop().await;
        begun.elapsed()
    };
    let ((result, shown), stopped) = tokio::join!(lbctl(&client, "backend drain web/web1 --wait"), stop);
    let error = result.unwrap_err();
    assert_eq!(error.exit(), Exit::Unreachable, "{error}");
    assert!(
        shown.cleared && shown.texts.last().unwrap().contains("lbd does not answer"),
        "{:?}",
        shown.texts
    );
    let patience = begun.elapsed().checked_sub(stopped).unwrap();
    assert!(patience.abs_diff(UNREACHABLE_TIME) <= 2 * LOOK_EVERY, "{patience:?}");
}

#[tokio::test(start_paused = true)]
async fn the_last_backend_is_refused_without_force_and_nothing_is_waited_for() {
    let running = Running::start().await;
    let client = running.client();
    let (result, _) = lbctl(&client, "backend maintenance web/web2").await;
    result.unwrap();
    for line in ["backend drain web/web1", "backend drain web/web1 --wait", "backend maintenance web/web1"] {
        let (result, shown) = lbctl(&client, line).await;
        let error = result.unwrap_err();
        assert_eq!(error.exit(), Exit::Failed);
        assert_eq!(error.render(Output::Table), "error: web/web1 is the last backend\nhint: --force\n");
        assert_eq!(shown.texts, [""; 0]);
    }
    running.fake.before_looks([drained()]);
    let (result, _) = lbctl(&client, "backend drain web/web1 --wait --force").await;
    assert!(result.unwrap().stdout.contains("drained"));
}
