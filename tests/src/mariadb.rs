//! MariaDB servers in a lab, as the distribution ships them, with real replication.
//!
//! Role: data directories, servers, and what a test says to them (over their sockets, so from any namespace). Imports `lab`.
//! Always holds: nothing of the system's configuration or data is used; everything is in the lab's directory and goes with
//! it; what is set up here is in no binary log, so that every server has it of its own.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::lab::{Host, Lab, Process, wait_until};

/// Port of the servers.
pub const MYSQL_PORT: u16 = 3306;

/// Account of the health checks.
pub const CHECK_USER: &str = "lb_check";

/// Its password.
pub const CHECK_PASSWORD: &str = "check-secret";

/// Account of an application, which may do everything in the database [`DATABASE`] unless the server is read-only.
pub const APP_USER: &str = "app";

/// Its password.
pub const APP_PASSWORD: &str = "app-secret";

/// The application's database. The primary makes it, see [`MariaDb::create_database`].
pub const DATABASE: &str = "app";

/// Account that replicas follow with.
const REPLICA_USER: &str = "repl";

/// Its password.
const REPLICA_PASSWORD: &str = "repl-secret";

/// Time that a server has to answer after its start, and to do what it is told.
const PATIENCE: Duration = Duration::from_mins(1);

/// The empty data directory that all servers of a lab begin with, within the lab's directory.
const TEMPLATE: &str = "mariadb-template";

/// As little memory and disk as a server can do with; nothing survives a crash of the machine, nor has to.
const SETTINGS: [&str; 15] = [
    "--innodb-buffer-pool-size=8M",
    "--innodb-log-file-size=4M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--sync-binlog=0",
    "--key-buffer-size=1M",
    "--aria-pagecache-buffer-size=1M",
    "--performance-schema=OFF",
    "--skip-log-error",
    "--log-bin=log",
    "--log-slave-updates",
    "--binlog-format=ROW",
    "--bind-address=0.0.0.0",
    "--character-set-server=utf8mb4",
    "--user=root",
];

/// A server. It ends with the value.
pub struct MariaDb {
    name: String,
    address: IpAddr,
    socket: PathBuf,
    process: Process,
}

impl MariaDb {
    /// Starts a server with the accounts above in a host that others reach at `address`; returns when it answers. `options`
    /// are of mariadbd, such as `--read-only` or `--max-connections=10`, or [`RESOLVE_NAMES`].
    ///
    /// # Errors
    /// Without the programs of `cargo xtask setup`, or when it does not start.
    pub fn start(lab: &Lab, host: &Host, server_id: u32, address: IpAddr, options: &[&str]) -> Result<Self> {
        let dir = lab.dir().join(format!("mariadb-{}", host.name()));
        run(Command::new("cp").arg("-r").arg(template(lab)?).arg(&dir))?;
        let mut command =
            if options.contains(&RESOLVE_NAMES) { with_names(&dir)? } else { Command::new("mariadbd") };
        let socket = dir.join("socket");
        command.env(TEMPORARY, temporary_of(&dir)?);
        command.arg("--no-defaults").args(SETTINGS);
        command.arg(format!("--datadir={}", dir.display()));
        command.arg(format!("--socket={}", socket.display()));
        command.arg(format!("--pid-file={}", dir.join("pid").display()));
        command.arg(format!("--port={MYSQL_PORT}"));
        command.arg(format!("--server-id={server_id}"));
        command.args(options);
        // There is no name server in a lab: looking for names only takes time.
        command.args((!options.contains(&RESOLVE_NAMES)).then_some("--skip-name-resolve"));
        let process = host.spawn(command)?;
        let server = Self { name: host.name().to_owned(), address, socket, process };
        wait_until(&format!("mariadbd on {}", server.name), PATIENCE, || {
            ensure!(server.process.is_alive(), "{}", server.process.log_tail());
            Ok(server.sql("SELECT 1").ok().map(drop))
        })?;
        server.create_accounts()?;
        Ok(server)
    }

    fn create_accounts(&self) -> Result<()> {
        let accounts = [
            (CHECK_USER, CHECK_PASSWORD, "SLAVE MONITOR ON *.*".to_owned()),
            (APP_USER, APP_PASSWORD, format!("ALL ON {DATABASE}.*")),
            (REPLICA_USER, REPLICA_PASSWORD, "REPLICATION SLAVE ON *.*".to_owned()),
        ];
        let grant = |(user, password, rights): &(&str, &str, String)| {
            format!("GRANT {rights} TO '{user}'@'%' IDENTIFIED BY '{password}';")
        };
        let grants: String = accounts.iter().map(grant).collect();
        self.sql(&format!("SET sql_log_bin = 0; {grants}")).map(drop)
    }

    /// Makes the application's database with a table `notes (text)`, where it is replicated from.
    ///
    /// # Errors
    /// As [`MariaDb::sql`].
    pub fn create_database(&self) -> Result<()> {
        self.sql(&format!(
            "CREATE DATABASE {DATABASE}; CREATE TABLE {DATABASE}.notes (text VARCHAR(100)) ENGINE=InnoDB"
        ))
        .map(drop)
    }

    /// Address that others reach it at.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Says something to it as its administrator; the rows of the answer, a line each, values apart by tabs.
    ///
    /// # Errors
    /// What the server answers, or when it does not run.
    pub fn sql(&self, text: &str) -> Result<String> {
        let mut command = Command::new("mariadb");
        command.args(["--no-defaults", "--user=root", "--batch", "--skip-column-names"]);
        command.arg("--connect-timeout=5").arg("--socket").arg(&self.socket).arg("--execute").arg(text);
        run(&mut command).with_context(|| format!("{}: {text}", self.name))
    }

    /// Lets it follow another server, from the beginning of that one's log, `delay_s` seconds behind.
    ///
    /// # Errors
    /// As [`MariaDb::sql`].
    pub fn follow(&self, source: &Self, delay_s: u32) -> Result<()> {
        self.sql(&format!(
            "STOP SLAVE; CHANGE MASTER TO MASTER_HOST = '{}', MASTER_PORT = {MYSQL_PORT}, MASTER_USER = '{REPLICA_USER}', \
             MASTER_PASSWORD = '{REPLICA_PASSWORD}', MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1, \
             MASTER_DELAY = {delay_s}; START SLAVE",
            source.address
        ))
        .map(drop)
    }

    /// Lets it take writes or not (but for its administrator's).
    ///
    /// # Errors
    /// As [`MariaDb::sql`].
    pub fn set_read_only(&self, read_only: bool) -> Result<()> {
        self.sql(&format!("SET GLOBAL read_only = {}", u8::from(read_only))).map(drop)
    }

    /// Makes a replica a primary.
    ///
    /// # Errors
    /// As [`MariaDb::sql`].
    pub fn promote(&self) -> Result<()> {
        self.sql("STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0").map(drop)
    }

    /// Stops following; it still knows whom it would follow.
    ///
    /// # Errors
    /// As [`MariaDb::sql`].
    pub fn stop_replication(&self) -> Result<()> {
        self.sql("STOP SLAVE").map(drop)
    }

    /// Goes on following.
    ///
    /// # Errors
    /// As [`MariaDb::sql`].
    pub fn start_replication(&self) -> Result<()> {
        self.sql("START SLAVE").map(drop)
    }

    /// The application's notes, in their order.
    ///
    /// # Errors
    /// As [`MariaDb::sql`].
    pub fn notes(&self) -> Result<Vec<String>> {
        let text = self.sql(&format!("SELECT text FROM {DATABASE}.notes ORDER BY text"))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Ends it as a crash would.
    ///
    /// # Errors
    /// When it can not be killed.
    pub fn kill(self) -> Result<()> {
        self.process.kill().map(drop)
    }

    /// Stops it from running, its connections open: the kernel goes on accepting more. `false`: it goes on.
    ///
    /// # Errors
    /// When the signal can not be sent.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        self.process.signal(if frozen { Signal::STOP } else { Signal::CONT })
    }
}

/// Option that lets a server look for the names of its clients, as it does by default; only then it counts what they break.
/// It finds names for `10.0.0.1` to `10.0.0.9`.
pub const RESOLVE_NAMES: &str = "--skip-skip-name-resolve";

/// A server that sees names of its own in `/etc/hosts`, in the mounts that a program of a host has to itself.
fn with_names(dir: &Path) -> Result<Command> {
    let hosts = dir.join("hosts");
    let lines: Vec<String> = (1..10).map(|last| format!("10.0.0.{last} host{last}.lab\n")).collect();
    fs::write(&hosts, lines.concat())?;
    let mut command = Command::new("sh");
    command.args(["-c", "mount --bind \"$0\" /etc/hosts && exec mariadbd \"$@\""]).arg(hosts);
    Ok(command)
}

/// A client's command: `mariadb` as the application, to an address, with one statement.
pub fn client(server: IpAddr, statement: &str) -> Command {
    let mut command = Command::new("mariadb");
    command.args(["--no-defaults", "--batch", "--skip-column-names", "--unbuffered", "--skip-reconnect"]);
    command.arg("--connect-timeout=5").arg(format!("--host={server}")).arg(format!("--port={MYSQL_PORT}"));
    command.arg(format!("--user={APP_USER}")).arg(format!("--password={APP_PASSWORD}"));
    command.arg("--execute").arg(statement);
    command
}

/// The empty data directory; made by the first server of a lab, as it takes seconds.
fn template(lab: &Lab) -> Result<PathBuf> {
    let dir = lab.dir().join(TEMPLATE);
    if !dir.exists() {
        let made = install(&dir);
        if made.is_err() {
            let _ = fs::remove_dir_all(&dir);
        }
        made?;
    }
    Ok(dir)
}

fn install(dir: &Path) -> Result<()> {
    let mut command = Command::new("mariadb-install-db");
    command.env(TEMPORARY, temporary_of(dir)?);
    command.args([
        "--no-defaults",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        "--user=root",
    ]);
    command.args(["--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M"]);
    command.arg(format!("--datadir={}", dir.display()));
    run(&mut command).map(drop)
}

/// Names the directory for temporary files. Servers must not share one: they begin by removing what looks like their own.
const TEMPORARY: &str = "TMPDIR";

/// That of a server with this data directory: beside it, as every directory within is a database.
fn temporary_of(data: &Path) -> Result<PathBuf> {
    let dir = data.with_extension("tmp");
    fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
    Ok(dir)
}

/// Runs a program to its end; what it printed.
fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("starting {program} (cargo xtask setup installs what the tests need)"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(output.status.success(), "{program}: {}: {}", output.status, text(&output.stderr).trim());
    Ok(text(&output.stdout))
}
