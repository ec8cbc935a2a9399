//! Servers that are asked by checks and say what a test tells them to; every question is counted.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;
use lb_tests::lab::Host;
use socket2::SockRef;

/// Longest request of a check.
const MAX_REQUEST_LEN: usize = 4 << 10;

/// Time that a client may take for its request.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a server says.
#[derive(Clone, Debug)]
pub enum Says {
    /// An HTTP answer of this status.
    Status(u16),
    /// The HTTP statuses 200 and 500 in turn.
    InTurn,
    /// The HTTP status 200, after this time.
    After(Duration),
    /// A line, whatever it is asked.
    Line(String),
}

/// A server; ended when dropped, so that its port refuses.
pub struct Server {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    listener: TcpListener,
    stopped: AtomicBool,
    asked: AtomicUsize,
    says: Mutex<Says>,
    clients: Mutex<Vec<IpAddr>>,
}

impl Server {
    /// Listens on a port of a host.
    pub fn start(host: &Host, port: u16, says: Says) -> Result<Self> {
        let listener = host.enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)))??;
        let shared = Arc::new(Shared {
            listener,
            stopped: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
            says: Mutex::new(says),
            clients: Mutex::default(),
        });
        let own = Arc::clone(&shared);
        Ok(Self { shared, thread: Some(thread::spawn(move || accept_all(&own))) })
    }

    /// Says something else from now on.
    pub fn say(&self, says: Says) {
        *self.shared.says.lock().unwrap_or_else(PoisonError::into_inner) = says;
    }

    /// Questions up to now.
    pub fn asked(&self) -> usize {
        self.shared.asked.load(Ordering::SeqCst)
    }

    /// Who asked, each once.
    pub fn clients(&self) -> Vec<IpAddr> {
        self.shared.clients.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        // Wakes who waits in accept(2).
        let woken = SockRef::from(&self.shared.listener).shutdown(Shutdown::Both);
        let ended = self.thread.take().map(JoinHandle::join);
        if woken.is_err() || !matches!(ended, Some(Ok(()))) {
            eprintln!("a server of the test did not end well: {woken:?}");
        }
    }
}

fn accept_all(shared: &Arc<Shared>) {
    loop {
        let accepted = shared.listener.accept();
        if shared.stopped.load(Ordering::SeqCst) {
            return;
        }
        let Ok((stream, client)) = accepted else { continue };
        let mut clients = shared.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if !clients.contains(&client.ip()) {
            clients.push(client.ip());
        }
        drop(clients);
        let shared = Arc::clone(shared);
        // A client that hangs up early is none of a server's business.
        thread::spawn(move || answer(&shared, stream).ok());
    }
}

fn answer(shared: &Shared, mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let says = shared.says.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Says::Line(line) = &says {
        shared.asked.fetch_add(1, Ordering::SeqCst);
        return stream.write_all(format!("{line}\n").as_bytes());
    }
    read_request(&mut stream)?;
    let number = shared.asked.fetch_add(1, Ordering::SeqCst);
    let status = match says {
        Says::Status(status) => status,
        Says::InTurn => [200, 500][number % 2],
        Says::After(time) => {
            thread::sleep(time);
            200
        }
        Says::Line(_) => unreachable!("answered above"),
    };
    let head = format!("HTTP/1.1 {status} Said\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes())
}

fn read_request(stream: &mut TcpStream) -> std::io::Result<()> {
    let (mut request, mut chunk) = (Vec::new(), [0; 512]);
    while !request.ends_with(b"\r\n\r\n") && request.len() < MAX_REQUEST_LEN {
        let len = stream.read(&mut chunk)?;
        if len == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        request.extend_from_slice(&chunk[..len]);
    }
    Ok(())
}
