//! `lb-lab app`: a small application server, between web servers and databases.
//!
//! It asks the databases through the load balancer's VIPs, with the distribution's own client, a connection for each request:
//! `/app/read` through the VIP of the replicas, `/app/write` through that of the primary. `/healthz` says that it runs
//! itself, and nothing of the databases: a site whose database is down has no use for application servers that are taken
//! out, too.

use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::serve::{self, Page};
use crate::mariadb::{APP_PASSWORD, APP_USER, DATABASE};

/// What it prints when it listens.
pub const READY: &str = serve::READY;

/// Attempts to connect: nothing was sent before one fails, so another one does no harm.
const CONNECT_ATTEMPTS: u32 = 4;

/// Pause between two of them.
const PAUSE: Duration = Duration::from_millis(150);

/// Statuses of the client's failures to connect: no server, no host, lost while it greeted, refused.
const CONNECT_ERRORS: [&str; 4] =
    ["ERROR 2002 ", "ERROR 2003 ", "ERROR 2013 (HY000): Lost connection to ", "ERROR 1040 "];

/// Where the databases are.
#[derive(Clone, Copy, Debug)]
pub struct Databases {
    /// Where to write.
    pub primary: SocketAddr,
    /// Where to read.
    pub replica: SocketAddr,
}

/// Serves until it is ended by a signal.
///
/// # Errors
/// As [`serve::serve`].
pub fn serve(name: &str, listen: &[SocketAddr], databases: Databases) -> Result<()> {
    let page = |path: &str| match path {
        "/app/read" => Some(page(
            name,
            databases.replica,
            &format!("SELECT @@server_id, COUNT(*) FROM {DATABASE}.notes"),
        )),
        "/app/write" => {
            let insert = format!("INSERT INTO {DATABASE}.notes VALUES ('{name}'); SELECT @@server_id");
            Some(page(name, databases.primary, &insert))
        }
        _ => None,
    };
    serve::serve_pages(name, listen, &[], &page)
}

/// `app1 31 17`: who answers, the database's number, and what it said.
fn page(name: &str, server: SocketAddr, sql: &str) -> Page {
    match query(server, sql) {
        Ok(answer) => {
            Page { status: "200 OK", body: format!("{name} {}\n", answer.trim().replace('\t', " ")) }
        }
        Err(error) => {
            eprintln!("{server}: {error:#}");
            Page { status: "503 Service Unavailable", body: format!("{name}: {error:#}\n") }
        }
    }
}

fn query(server: SocketAddr, sql: &str) -> Result<String> {
    let mut attempt = 1;
    loop {
        let output = client(server, sql)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let not_connected = CONNECT_ERRORS.iter().any(|start| error.starts_with(start));
        if !not_connected || attempt == CONNECT_ATTEMPTS {
            bail!("attempt {attempt}: {error}");
        }
        attempt += 1;
        thread::sleep(PAUSE);
    }
}

fn client(server: SocketAddr, sql: &str) -> Result<Output> {
    Command::new("mariadb")
        .args(["--no-defaults", "--protocol=tcp", "--connect-timeout=1", "--batch", "--skip-column-names"])
        .args([format!("--host={}", server.ip()), format!("--port={}", server.port())])
        .args([format!("--user={APP_USER}"), format!("--password={APP_PASSWORD}")])
        .arg(format!("--execute={sql}"))
        .stdin(Stdio::null())
        .output()
        .context("running the client of MariaDB")
}
