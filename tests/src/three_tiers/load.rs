//! Clients of the site: pages of the web servers, and pages that the application reads and writes the database for.
//!
//! Always holds: every request is a connection of its own; the threads end soon after [`Load::stop`], a drop or an interrupt.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use anyhow::{Result, anyhow};

use super::site::Site;
use crate::lab::{Host, interrupted};

/// Time that a request may take: longer than a database needs to change its primary here.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A page that nginx has.
    Page,
    /// One that the application reads the database for.
    Read,
    /// One that it writes to the database for.
    Write,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Page, Self::Read, Self::Write];

    /// For tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Read => "read",
            Self::Write => "write",
        }
    }

    const fn path(self) -> &'static str {
        match self {
            Self::Page => "/",
            Self::Read => "/app/read",
            Self::Write => "/app/write",
        }
    }

    /// Threads that ask for it, and the pause of each between two requests.
    const fn clients(self) -> (usize, Duration) {
        match self {
            Self::Page => (2, Duration::from_millis(20)),
            // Each of these starts a client program of the database.
            Self::Read | Self::Write => (2, Duration::from_millis(100)),
        }
    }
}

/// A request that has ended.
#[derive(Clone, Debug)]
pub struct Request {
    /// What was asked for.
    pub kind: Kind,
    /// When the client began to connect.
    pub started: SystemTime,
    /// When the answer was complete, or the request failed.
    pub ended: SystemTime,
    /// What was answered, or what went wrong.
    pub outcome: Result<String, String>,
}

/// Clients at work; stopped when dropped.
pub struct Load {
    stop: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<Request>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts the clients of every kind.
    pub fn start(client: &Host) -> Self {
        let mut load = Self { stop: Arc::default(), requests: Arc::default(), clients: Vec::new() };
        for kind in Kind::ALL {
            let (threads, pause) = kind.clients();
            for _ in 0..threads {
                let (stop, requests) = (Arc::clone(&load.stop), Arc::clone(&load.requests));
                let host = client.clone();
                load.clients.push(thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) && !interrupted() {
                        let request = ask(&host, kind);
                        requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
                        thread::sleep(pause);
                    }
                }));
            }
        }
        load
    }

    /// The requests that have ended so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the clients; returns all requests.
    ///
    /// # Errors
    /// When a client panicked.
    pub fn stop(mut self) -> Result<Vec<Request>> {
        self.end()?;
        Ok(self.requests())
    }

    fn end(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let ended: Vec<_> = self.clients.drain(..).map(JoinHandle::join).collect();
        ended.into_iter().try_for_each(|ended| ended.map_err(|_| anyhow!("a client panicked")))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{error:#}");
        }
    }
}

fn ask(client: &Host, kind: Kind) -> Request {
    let started = SystemTime::now();
    let outcome = match Site::get(client, kind.path(), PATIENCE) {
        Ok(response) if response.status == 200 => {
            Ok(String::from_utf8_lossy(&response.body).trim().to_owned())
        }
        Ok(response) => {
            Err(format!("status {}: {}", response.status, String::from_utf8_lossy(&response.body).trim()))
        }
        Err(error) => Err(format!("{error:#}")),
    };
    Request { kind, started, ended: SystemTime::now(), outcome }
}
