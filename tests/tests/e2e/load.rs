//! Clients that ask without a pause worth mentioning, and remember every answer.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use lb_tests::http;
use lb_tests::lab::{Host, wait_until};
use lb_tests::site::HTTP_PORT;

use super::bed::SOON;

/// Time between the end of a request and the next one of the same client: the servers need the processors too.
const PAUSE: Duration = Duration::from_millis(1);

/// Requests of one client at most.
const MAX_REQUESTS: usize = 100_000;

/// Time after which TCP repeats an unanswered SYN (RFC 6298): a request that took less lost no SYN.
pub const SYN_RETRANSMISSION: Duration = Duration::from_secs(1);

/// A request that has ended.
#[derive(Clone, Debug)]
pub struct Request {
    /// Whom it was sent to.
    pub vip: IpAddr,
    /// When the client began to connect.
    pub started: Instant,
    /// When the answer was complete, or the request failed.
    pub ended: Instant,
    /// Name of the server that answered, or what went wrong.
    pub outcome: Result<String, String>,
}

impl Request {
    /// Whether this server answered.
    pub fn served_by(&self, name: &str) -> bool {
        self.outcome.as_deref() == Ok(name)
    }

    /// From the start to the end.
    pub fn elapsed(&self) -> Duration {
        self.ended - self.started
    }
}

/// Clients at work; stopped when dropped.
pub struct Load {
    vips: Vec<IpAddr>,
    stop: Arc<AtomicBool>,
    requests: Arc<Mutex<Vec<Request>>>,
    clients: Vec<JoinHandle<Result<()>>>,
}

impl Load {
    /// Starts a client for each VIP (two, where it is given twice). `timeout` is for one request.
    pub fn start(host: &Host, vips: &[IpAddr], timeout: Duration) -> Self {
        let (stop, requests) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Vec<Request>>>::default());
        let clients = vips.iter().map(|vip| {
            let (host, vip, stop, requests) = (host.clone(), *vip, Arc::clone(&stop), Arc::clone(&requests));
            thread::spawn(move || host.enter(|| ask(vip, timeout, &stop, &requests))?)
        });
        let clients = clients.collect();
        Self { vips: vips.to_vec(), stop, requests, clients }
    }

    /// The requests that have ended so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until every VIP has had `count` answers to requests that were started after `since`.
    pub fn wait_for_answers(&self, count: usize, since: Instant) -> Result<()> {
        wait_until(&format!("{count} answers of each VIP"), SOON, || {
            ensure!(self.clients.iter().all(|client| !client.is_finished()), "a client has ended");
            let requests = self.requests();
            let answered = |vip: &IpAddr| {
                let late = requests.iter().filter(|request| request.started >= since && request.vip == *vip);
                late.filter(|request| request.outcome.is_ok()).count() >= count
            };
            Ok(self.vips.iter().all(answered).then_some(()))
        })
    }

    /// Ends the clients; returns all requests.
    pub fn stop(mut self) -> Result<Vec<Request>> {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            client.join().map_err(|_| anyhow!("a client panicked"))??;
        }
        Ok(self.requests())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients.drain(..) {
            if !matches!(client.join(), Ok(Ok(()))) {
                eprintln!("a client of the load failed");
            }
        }
    }
}

fn ask(vip: IpAddr, timeout: Duration, stop: &AtomicBool, requests: &Mutex<Vec<Request>>) -> Result<()> {
    for _ in 0..MAX_REQUESTS {
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        let started = Instant::now();
        let response = http::get(SocketAddr::new(vip, HTTP_PORT), "/", None, timeout);
        let outcome = match response {
            Ok(response) if response.status == 200 => Ok(response.backend.unwrap_or_default()),
            Ok(response) => Err(format!("status {}", response.status)),
            Err(error) => Err(format!("{error:#}")),
        };
        let request = Request { vip, started, ended: Instant::now(), outcome };
        requests.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        thread::sleep(PAUSE);
    }
    anyhow::bail!("{MAX_REQUESTS} requests were not enough")
}

/// Every request was answered, and none waited for a packet that was lost.
pub fn expect_unbroken(requests: &[Request]) -> Result<()> {
    let failed: Vec<_> = requests.iter().filter(|request| request.outcome.is_err()).collect();
    ensure!(
        failed.is_empty(),
        "{} of {} requests failed: {:?}",
        failed.len(),
        requests.len(),
        failed.first()
    );
    let slowest = requests.iter().max_by_key(|request| request.elapsed());
    ensure!(
        slowest.is_some_and(|request| request.elapsed() < SYN_RETRANSMISSION),
        "a packet was lost, or the machine stood still: {slowest:?}"
    );
    Ok(())
}
