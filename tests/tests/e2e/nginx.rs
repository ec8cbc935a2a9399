//! Real web servers: nginx as the distribution ships it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use lb_tests::http;
use lb_tests::lab::{Host, Process, wait_until};
use lb_tests::site::HTTP_PORT;
use rustix::process::Signal;

use super::bed::{Bed, SOON};

/// An nginx that answers its host's name. One process, so that killing it leaves nothing behind.
pub struct Nginx {
    process: Process,
    sick: PathBuf,
}

impl Nginx {
    /// One on every web server, `web1` first.
    pub fn on_every_web(bed: &Bed) -> Result<Vec<Self>> {
        bed.fleet.webs.iter().map(|web| Self::start(bed, &web.host)).collect()
    }

    /// Starts one; returns when it answers.
    pub fn start(bed: &Bed, host: &Host) -> Result<Self> {
        let dir = bed.file(&format!("nginx-{}", host.name()));
        fs::create_dir_all(&dir)?;
        let (config, sick) = (dir.join("nginx.conf"), dir.join("sick"));
        fs::write(&config, configuration(host.name(), &sick.to_string_lossy()))?;
        let mut command = Command::new("nginx");
        command.args(["-e", "stderr", "-g", "daemon off;", "-p"]).arg(&dir).arg("-c").arg(&config);
        let process = host.spawn(command)?;
        let address = SocketAddr::new(IpAddr::from(Ipv4Addr::LOCALHOST), HTTP_PORT);
        wait_until(&format!("nginx on {}", host.name()), SOON, || {
            anyhow::ensure!(process.is_alive(), "{}", process.log_tail());
            Ok(host.enter(|| http::get(address, "/", None, SOON))?.ok().map(drop))
        })?;
        Ok(Self { process, sick })
    }

    /// Ends it as a crash would.
    pub fn kill(&self) -> Result<()> {
        self.process.kill().map(drop)
    }

    /// Lets its health page answer 500; everything else goes on as before.
    pub fn fall_sick(&self) -> Result<()> {
        Ok(fs::write(&self.sick, "")?)
    }

    /// Lets connections be accepted (by the kernel) and never answered.
    pub fn freeze(&self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }
}

fn configuration(name: &str, sick: &str) -> String {
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
    add_header X-Backend {name} always;
    server {{
        listen 0.0.0.0:{HTTP_PORT};
        listen [::]:{HTTP_PORT} ipv6only=on;
        location = /healthz {{
            if (-f {sick}) {{ return 500; }}
            return 200 \"well\\n\";
        }}
        location / {{ return 200 \"{name}\\n\"; }}
    }}
}}
"
    )
}
