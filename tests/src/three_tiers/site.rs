//! Hosts, servers and the agent of the site.
//!
//! Always holds: the configuration is the example's own text, but for the places of the lab's files.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::agent::Agent;
use crate::bins;
use crate::hosts::take_frames_sent_back;
use crate::http::{self, Response};
use crate::lab::{Bridge, End, Host, Lab, Process, wait_until};
use crate::mariadb::{CHECK_PASSWORD, MYSQL_PORT, MariaDb};
use crate::nginx::{More, Nginx};
use crate::programs::app;
use crate::site::HTTP_PORT;

/// The configuration that is tried here.
const EXAMPLE: &str = include_str!("../../../examples/site.toml");

/// Where it looks for the password of the databases' check.
const PASSWORD_FILE: &str = "/etc/lb/db-password";

/// Web servers, application servers, databases.
const WEBS: u8 = 3;
const APPS: u8 = 2;
const DATABASES: u8 = 3;

/// Last part of the first database's address; also its number.
const FIRST_DATABASE: u8 = 31;

/// Port of the application servers and of their VIP.
const APP_PORT: u16 = 8_080;

/// VIP of the web servers.
const WEB_VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

/// Time that a program of ours has to be ready.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// Time that the checks have to bring every backend up, and the databases to follow their primary.
const UP_TIMEOUT: Duration = Duration::from_mins(1);

/// The site, running.
pub struct Site {
    // Dropped in this order: the agent before the namespaces that it works in, the lab last.
    /// The agent on the node.
    pub agent: Agent,
    /// nginx on `web1` and so on.
    pub webs: Vec<Nginx>,
    /// `app1` and so on.
    pub apps: Vec<App>,
    /// `db1` and so on, those that live.
    databases: Vec<Option<MariaDb>>,
    /// Where clients run.
    pub client: Host,
    /// The web servers' hosts.
    pub web_hosts: Vec<Host>,
    _back_port: OwnedFd,
    /// The lab that it stands in.
    pub lab: Lab,
}

/// An application server.
pub struct App {
    host: Host,
    process: Process,
}

impl App {
    /// Starts one; returns when it listens.
    fn start(host: &Host) -> Result<Self> {
        let mut command = Command::new(bins::lb_lab()?);
        command.args(["app", "--name", host.name()]);
        command.arg("--listen").arg(format!("0.0.0.0:{APP_PORT}"));
        command.arg("--primary").arg(SocketAddr::new(back(101).into(), MYSQL_PORT).to_string());
        command.arg("--replica").arg(SocketAddr::new(back(102).into(), MYSQL_PORT).to_string());
        let process = host.spawn(command)?;
        process.wait_for_output(app::READY, START_TIMEOUT)?;
        Ok(Self { host: host.clone(), process })
    }

    /// Ends it as a crash would.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn kill(&self) -> Result<()> {
        self.process.kill().map(drop)
    }

    /// Starts it again.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart(&mut self) -> Result<()> {
        *self = Self::start(&self.host)?;
        Ok(())
    }
}

impl Site {
    /// Makes and starts everything; returns when every backend has the state that it should have.
    ///
    /// # Errors
    /// When something cannot be made or does not become ready; what it made is removed then.
    pub fn start(say: &dyn Fn(&str)) -> Result<Self> {
        say("making a client, a router, a node and eight servers (network namespaces)");
        let lab = Lab::new("site")?;
        let (client, edge, node) = (lab.host("client")?, lab.router("edge")?, lab.router("node")?);
        lab.link(
            End::new(&client, "eth0").address("198.51.100.10/24"),
            End::new(&edge, "access").address("198.51.100.1/24"),
        )?;
        lab.link(
            End::new(&edge, "site").address("203.0.113.1/24"),
            End::new(&node, "eth0").address("203.0.113.2/24"),
        )?;
        client.default_gateway(Ipv4Addr::new(198, 51, 100, 1).into())?;
        node.default_gateway(Ipv4Addr::new(203, 0, 113, 1).into())?;
        let bridge = lab.bridge("servers")?;
        bridge.join(End::new(&node, "eth1").address("10.0.0.2/24"))?;
        // From the servers to the servers: what the node sends back by the interface that it came by.
        let back_port = take_frames_sent_back(bridge.host(), node.name())?;
        let web_hosts = hosts(&lab, &bridge, "web", 11, WEBS)?;
        let app_hosts = hosts(&lab, &bridge, "app", 21, APPS)?;
        let db_hosts = hosts(&lab, &bridge, "db", FIRST_DATABASE, DATABASES)?;

        say("starting a MariaDB primary and two replicas");
        let databases = start_databases(&lab, &db_hosts)?;
        say("starting two application servers and three nginx");
        let apps = app_hosts.iter().map(App::start).collect::<Result<Vec<_>>>()?;
        let proxy = proxy();
        let nginx = |host: &Host| Nginx::start(host, lab.dir(), &proxy);
        let webs = web_hosts.iter().map(nginx).collect::<Result<Vec<_>>>()?;

        say("starting lbd on the node");
        let password_file = lab.dir().join("db-password");
        fs::write(&password_file, CHECK_PASSWORD).context("writing the password")?;
        let socket = lab.dir().join("lbd.sock");
        let interfaces = "interfaces = [\"eth0\", \"eth1\"]";
        ensure!(EXAMPLE.matches(interfaces).count() == 1, "the example has other interfaces");
        let places = format!(
            "{interfaces}\nbpffs = \"{}\"\ncontrol_socket = \"{}\"",
            node.bpffs()?.display(),
            socket.display()
        );
        let config = EXAMPLE.replace(interfaces, &places);
        let config = config.replace(PASSWORD_FILE, &password_file.display().to_string());
        let agent = Agent::start(&node, lab.dir(), &config, &socket)?;
        let databases = databases.into_iter().map(Some).collect();
        let site = Self { agent, webs, apps, databases, client, web_hosts, _back_port: back_port, lab };
        site.wait_until_settled(&ALL_WELL)
            .with_context(|| format!("the site does not settle\n{}", site.agent.explain()))?;
        Ok(site)
    }

    /// Waits until exactly these backends, as `POOL/NAME`, have a share.
    ///
    /// # Errors
    /// When they do not get it in time.
    pub fn wait_until_settled(&self, expected: &[&str]) -> Result<()> {
        let mut serving = Vec::new();
        let settled = wait_until("the backends that should serve, and no others", UP_TIMEOUT, || {
            let backends = self.agent.backends()?;
            let share = backends.iter().filter(|backend| backend.slot_share_percent > 0.0);
            serving = share.map(|backend| format!("{}/{}", backend.pool, backend.name)).collect();
            serving.sort();
            Ok((serving == expected).then_some(()))
        });
        settled.with_context(|| format!("serving: {serving:?}, expected: {expected:?}"))
    }

    /// A database, from 0.
    ///
    /// # Errors
    /// When it was killed.
    pub fn database(&self, index: usize) -> Result<&MariaDb> {
        let database = self.databases.get(index).and_then(Option::as_ref);
        database.with_context(|| format!("db{} does not live", index + 1))
    }

    /// Ends a database as a crash would.
    ///
    /// # Errors
    /// When it does not live.
    pub fn kill_database(&mut self, index: usize) -> Result<()> {
        let database = self.databases.get_mut(index).and_then(Option::take);
        database.with_context(|| format!("db{} does not live", index + 1))?.kill()
    }

    /// Starts a killed nginx again.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart_web(&mut self, index: usize) -> Result<()> {
        let host = self.web_hosts.get(index).context("no such web server")?;
        let web = Nginx::start(host, self.lab.dir(), &proxy())?;
        *self.webs.get_mut(index).context("no such web server")? = web;
        Ok(())
    }

    /// One request of the client.
    ///
    /// # Errors
    /// As [`http::get`].
    pub fn get(client: &Host, path: &str, timeout: Duration) -> Result<Response> {
        client.enter(|| http::get(SocketAddr::new(WEB_VIP.into(), HTTP_PORT), path, None, timeout))?
    }
}

/// Who serves when all is well, as POOL/NAME.
pub const ALL_WELL: [&str; 8] = [
    "app/app1",
    "app/app2",
    "db-primary/db1",
    "db-replica/db2",
    "db-replica/db3",
    "web/web1",
    "web/web2",
    "web/web3",
];

/// `NAME1` and so on, the node their gateway.
fn hosts(lab: &Lab, bridge: &Bridge, name: &str, first: u8, count: u8) -> Result<Vec<Host>> {
    let make = |index: u8| -> Result<Host> {
        let host = lab.host(&format!("{name}{}", index + 1))?;
        bridge.join(End::new(&host, "eth0").address(&format!("{}/24", back(first + index))))?;
        host.default_gateway(IpAddr::from(back(2)))?;
        Ok(host)
    };
    (0..count).map(make).collect()
}

/// The first is the primary, the others follow it.
fn start_databases(lab: &Lab, hosts: &[Host]) -> Result<Vec<MariaDb>> {
    let start = |(host, id): (&Host, u8)| MariaDb::start(lab, host, u32::from(id), back(id).into(), &[]);
    let databases = hosts.iter().zip(FIRST_DATABASE..).map(start).collect::<Result<Vec<_>>>()?;
    let (primary, replicas) = databases.split_first().context("no databases")?;
    for replica in replicas {
        replica.follow(primary, 0)?;
        replica.set_read_only(true)?;
    }
    primary.create_database()?;
    for replica in replicas {
        wait_until("the replicas have the database", UP_TIMEOUT, || Ok(replica.notes().ok()))?;
    }
    Ok(databases)
}

/// What nginx asks the application servers for. The VIP is there four times, so that a request that did not reach one of them is
/// sent once more and, by another source port, perhaps to another.
fn proxy() -> More {
    let vip = SocketAddr::new(back(100).into(), APP_PORT);
    let server = format!("server {vip} max_fails=0;");
    More {
        in_server: "location /app/ {
            proxy_pass http://application;
            proxy_connect_timeout 1s;
            proxy_next_upstream error timeout;
        }"
        .to_owned(),
        in_http: format!("upstream application {{ {server} {server} {server} {server} }}"),
    }
}

fn back(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}
