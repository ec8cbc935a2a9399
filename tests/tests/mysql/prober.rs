//! The check against real servers, without a load balancer: scenario 52, and what a fake server cannot prove.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use lb_tests::lab::{End, Host, Lab, wait_until};
use lb_tests::mariadb::{CHECK_PASSWORD, CHECK_USER, MYSQL_PORT, MariaDb, RESOLVE_NAMES};
use lb_userspace::health::probe::{ProbeError, Prober};
use lb_userspace::health::{Answer, Database};
use lb_userspace::model::{Check, CheckKind, MysqlAccount, MysqlCheck, Role};

use super::bed::SOON;

/// Broken connections after which a server blocks a host, in these tests.
const MAX_CONNECT_ERRORS: u32 = 3;

/// Connections that a server takes, in these tests: as few as MariaDB allows.
const MAX_CONNECTIONS: usize = 10;

struct Pair {
    node: Host,
    server: MariaDb,
    _lab: Lab,
}

/// A node and a database on one link.
fn pair(options: &[&str]) -> Result<Pair> {
    let lab = Lab::new("mysql")?;
    let (node, database) = (lab.host("node")?, lab.host("database")?);
    lab.link(
        End::new(&node, "eth0").address("10.0.0.1/24"),
        End::new(&database, "eth0").address("10.0.0.2/24"),
    )?;
    let server = MariaDb::start(&lab, &database, 1, address().ip(), options)?;
    Ok(Pair { node, server, _lab: lab })
}

fn address() -> SocketAddr {
    SocketAddr::new(IpAddr::from(Ipv4Addr::new(10, 0, 0, 2)), MYSQL_PORT)
}

fn prober(account: Option<MysqlAccount>) -> Prober {
    let kind = CheckKind::Mysql(MysqlCheck { account });
    Prober::new(address(), Arc::new(Check { timeout: SOON, ..Check::new(kind) }))
}

fn account(password: &str) -> MysqlAccount {
    MysqlAccount {
        user: CHECK_USER.to_owned(),
        password: Some(password.to_owned()),
        password_file: None,
        role: Role::Any,
        max_lag: None,
    }
}

/// Runs `work` with the node's network.
fn on_node<T: Send>(node: &Host, work: impl AsyncFnOnce() -> Result<T> + Send) -> Result<T> {
    node.enter(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(work())
    })?
}

fn says(result: Result<Answer, ProbeError>) -> Result<String> {
    match result {
        Err(ProbeError::Says { says, .. }) => Ok(says),
        other => bail!("{other:?}"),
    }
}

fn expect_too_many(result: Result<Answer, ProbeError>) -> Result<()> {
    let said = says(result)?;
    ensure!(said == "error 1040: Too many connections", "{said}");
    Ok(())
}

/// Whether the server's first packet is an error and not its greeting (`0xff` behind the head of four bytes).
fn greeted_with_an_error(stream: &mut TcpStream) -> Result<bool> {
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    Ok(head[4] == 0xff)
}

#[test]
fn the_role_is_found_on_one_connection_and_a_restart_is_noticed() -> Result<()> {
    let pair = pair(&[])?;
    on_node(&pair.node, async || {
        let mut prober = prober(Some(account(CHECK_PASSWORD)));
        for writable in [true, false, true] {
            pair.server.set_read_only(!writable)?;
            let answer = prober.probe().await?;
            ensure!(answer.findings.database == Some(Database { writable, lag: None }), "{answer}");
        }
        let mine = format!("SELECT id FROM information_schema.processlist WHERE user = '{CHECK_USER}'");
        let sessions = pair.server.sql(&mine)?;
        ensure!(sessions.lines().count() == 1, "{sessions:?}");
        // A session that the server ends is no bad result.
        pair.server.sql(&format!("KILL {}", sessions.trim()))?;
        prober.probe().await?;
        drop(prober);
        wait_until("the session has gone", SOON, || Ok(pair.server.sql(&mine)?.is_empty().then_some(())))?;
        let aborted = pair.server.sql("SHOW GLOBAL STATUS LIKE 'Aborted_clients'")?;
        let count = aborted.split_whitespace().last().context("a count")?;
        // The killed one, whom nobody could say good-bye to.
        ensure!(matches!(count, "0" | "1"), "{aborted}");
        Ok(())
    })
}

#[test]
fn logins_that_fail_are_told_as_they_are() -> Result<()> {
    let pair = pair(&[])?;
    on_node(&pair.node, async || {
        let said = says(prober(Some(account("wrong"))).probe().await)?;
        ensure!(said.starts_with("error 1045: Access denied for user 'lb_check'"), "{said}");
        pair.server
            .sql("SET sql_log_bin=0; CREATE USER bare@'%' IDENTIFIED BY 'bare'; SET GLOBAL read_only=1")?;
        let bare = MysqlAccount {
            user: "bare".to_owned(),
            role: Role::Replica,
            max_lag: Some(Duration::from_secs(5)),
            ..account("bare")
        };
        let said = says(prober(Some(bare)).probe().await)?;
        ensure!(said.starts_with("error 1227:") && said.contains("SLAVE MONITOR"), "{said}");
        Ok(())
    })
}

#[test]
fn too_many_connections_are_told_with_an_account_and_without() -> Result<()> {
    let pair = pair(&["--max-connections=10"])?;
    on_node(&pair.node, async || {
        prober(None).probe().await?;
        let mut held = Vec::new();
        // The server needs a moment to notice that somebody has left.
        let deadline = Instant::now() + SOON;
        while held.len() < MAX_CONNECTIONS {
            ensure!(Instant::now() < deadline, "only {} connections", held.len());
            let mut next = prober(Some(account(CHECK_PASSWORD)));
            match next.probe().await {
                Ok(_) => held.push(next),
                refused => expect_too_many(refused)?,
            }
        }
        expect_too_many(prober(Some(account(CHECK_PASSWORD))).probe().await)?;
        // It lets one more in as far as to the login, in case it is an administrator: somebody else has that place.
        let last = wait_until("a place at the login", SOON, || {
            let mut stream = TcpStream::connect(address())?;
            Ok((!greeted_with_an_error(&mut stream)?).then_some(stream))
        })?;
        expect_too_many(prober(None).probe().await)?;
        drop(last);
        // With an account for it, the check without one gets the answer of clients.
        wait_until("a place for the administrator", SOON, || {
            match pair.server.sql("CREATE USER 'lbd-check'@'%'") {
                Err(error) if format!("{error:#}").contains("Too many connections") => Ok(None),
                other => other.map(Some),
            }
        })?;
        expect_too_many(prober(None).probe().await)?;
        for prober in &mut held {
            prober.probe().await?;
        }
        Ok(())
    })
}

#[test]
fn a_blocked_host_is_told_and_the_check_never_blocks_its_own() -> Result<()> {
    let pair = pair(&[&format!("--max-connect-errors={MAX_CONNECT_ERRORS}"), RESOLVE_NAMES])?;
    on_node(&pair.node, async || {
        for _ in 0..MAX_CONNECT_ERRORS * 5 {
            prober(None).probe().await?;
        }
        // What a check would do that reads the greeting and closes.
        for _ in 0..=MAX_CONNECT_ERRORS {
            TcpStream::connect(address())?.read_exact(&mut [0; 5])?;
        }
        for account in [None, Some(account(CHECK_PASSWORD))] {
            wait_until("the host is blocked", SOON, || {
                let mut stream = TcpStream::connect(address())?;
                Ok(greeted_with_an_error(&mut stream)?.then_some(()))
            })?;
            let said = says(prober(account).probe().await)?;
            ensure!(said.starts_with("error 1129: Host '") && said.contains("FLUSH HOSTS"), "{said}");
        }
        pair.server.sql("FLUSH HOSTS")?;
        prober(None).probe().await?;
        Ok(())
    })
}
