//! Real web servers: nginx as the distribution ships it.
//!
//! Imports `http`, `lab` and `site` (for the port).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::http;
use crate::lab::{Host, Process, wait_until};
use crate::site::HTTP_PORT;

/// Time that it has to answer, on a busy machine too.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Lines of a configuration beside those that every one has.
#[derive(Clone, Debug, Default)]
pub struct More {
    /// In the `server` block.
    pub in_server: String,
    /// Beside it.
    pub in_http: String,
}

/// An nginx that answers its host's name. One process, so that killing it leaves nothing behind.
pub struct Nginx {
    process: Process,
    sick: PathBuf,
}

impl Nginx {
    /// Starts one that keeps its files in a directory of its own under `dir`; with `more` in its configuration. Returns
    /// when it answers.
    ///
    /// # Errors
    /// When nginx is not installed or does not start.
    pub fn start(host: &Host, dir: &Path, more: &More) -> Result<Self> {
        let dir = dir.join(format!("nginx-{}", host.name()));
        fs::create_dir_all(&dir)?;
        let (config, sick) = (dir.join("nginx.conf"), dir.join("sick"));
        fs::write(&config, configuration(host.name(), &sick.to_string_lossy(), more))?;
        let mut command = Command::new("nginx");
        command.args(["-e", "stderr", "-g", "daemon off;", "-p"]).arg(&dir).arg("-c").arg(&config);
        let process = host.spawn(command)?;
        let address = SocketAddr::new(IpAddr::from(Ipv4Addr::LOCALHOST), HTTP_PORT);
        wait_until(&format!("nginx on {}", host.name()), START_TIMEOUT, || {
            ensure!(process.is_alive(), "{}", process.log_tail());
            Ok(host.enter(|| http::get(address, "/", None, START_TIMEOUT))?.ok().map(drop))
        })?;
        Ok(Self { process, sick })
    }

    /// Ends it as a crash would.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub fn kill(&self) -> Result<()> {
        self.process.kill().map(drop)
    }

    /// Lets its health page answer 500; everything else goes on as before.
    ///
    /// # Errors
    /// When the file that tells it cannot be written.
    pub fn fall_sick(&self) -> Result<()> {
        Ok(fs::write(&self.sick, "")?)
    }

    /// Lets its health page answer 200 again.
    ///
    /// # Errors
    /// When it was not sick.
    pub fn recover(&self) -> Result<()> {
        Ok(fs::remove_file(&self.sick)?)
    }

    /// Lets connections be accepted (by the kernel) and never answered.
    ///
    /// # Errors
    /// When it has ended.
    pub fn freeze(&self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }
}

fn configuration(name: &str, sick: &str, more: &More) -> String {
    let More { in_server, in_http } = more;
    format!(
        "master_process off;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    default_type text/plain;
    {in_http}
    add_header X-Backend {name} always;
    server {{
        listen 0.0.0.0:{HTTP_PORT};
        listen [::]:{HTTP_PORT} ipv6only=on;
        location = /healthz {{
            if (-f {sick}) {{ return 500; }}
            return 200 \"well\\n\";
        }}
        {in_server}
        location / {{ return 200 \"{name}\\n\"; }}
    }}
}}
"
    )
}
