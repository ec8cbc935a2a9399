//! An agent in memory, and a server for it in a directory of its own.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use lb_userspace::api::client::Client;
use lb_userspace::api::control::{Control, Seen};
use lb_userspace::api::edit::{AddBackend, BackendId, EditResult, SetState};
use lb_userspace::api::error::{ApiError, ErrorCode, ErrorDetail};
use lb_userspace::api::lock::AgentLock;
use lb_userspace::api::server::{Server, ServerLimits};
use lb_userspace::api::types::{
    AdminState, BackendCounts, BackendDetail, BackendInfo, CheckInfo, CheckResult, CheckVerdict, ConfigInfo,
    Event, EventLevel, ForwardMode, HealthInfo, HealthState, NextHop, Protocol, ServiceInfo, Status,
};
use lb_userspace::telemetry::events::{EventKind, EventLog};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// Time after which a test that waits has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A name that makes the fake panic.
pub const PANIC_NAME: &str = "panic";

/// A name that makes the fake wait until it is let go.
pub const SLOW_NAME: &str = "slow";

/// One pool, `web`, of which edits change the backends.
#[derive(Default)]
pub struct Fake {
    state: Mutex<State>,
    /// Edits of [`SLOW_NAME`] tell this when they have begun.
    pub begun: Notify,
    /// Edits of [`SLOW_NAME`] wait for this.
    pub go_on: Notify,
    /// Events that a test has let happen.
    log: Mutex<Arc<EventLog>>,
    /// What happens before each look at the backends, the next first; then nothing more.
    script: Mutex<VecDeque<Step>>,
}

/// Something that happens to the backends.
pub type Step = Box<dyn FnOnce(&mut Vec<BackendInfo>) + Send>;

struct State {
    generation: u64,
    backends: Vec<BackendInfo>,
}

impl Default for State {
    fn default() -> Self {
        Self { generation: 11, backends: vec![backend("web1", 11), backend("web2", 12)] }
    }
}

/// A healthy backend of the pool `web`.
pub fn backend(name: &str, last_octet: u8) -> BackendInfo {
    BackendInfo {
        pool: "web".into(),
        name: name.into(),
        index: u32::from(last_octet),
        address: [10, 0, 0, last_octet].into(),
        port: Some(80),
        weight: 100,
        admin_state: AdminState::Active,
        health: HealthInfo {
            state: HealthState::Up,
            since_seconds: 12,
            reason: None,
            last_latency_us: Some(850),
            detail: None,
            held_seconds: 0,
        },
        slot_share_percent: 50.0,
        next_hop: NextHop::Resolved { mac: "02:00:00:00:00:0b".into(), interface: "eth0".into() },
        packets: 10,
        bytes: 1_000,
        new_connections: 1,
        remembered_flows: 0,
        settles_in_seconds: None,
        drained: false,
    }
}

impl Fake {
    fn edit(
        &self,
        change: impl FnOnce(&mut Vec<BackendInfo>) -> Result<bool, ApiError>,
    ) -> Result<EditResult, ApiError> {
        let mut state = self.state.lock().unwrap();
        let changed = change(&mut state.backends)?;
        state.generation += u64::from(changed);
        Ok(EditResult { generation: state.generation, changed, warnings: vec!["sample warning".into()] })
    }

    /// Has something happen before each of the next looks at the backends.
    pub fn before_looks(&self, steps: impl IntoIterator<Item = Step>) {
        self.script.lock().unwrap().extend(steps);
    }

    /// Lets something happen; returns the number of its event.
    pub fn happen(&self, message: &str) -> u64 {
        self.log().push(SystemTime::now(), EventKind::Agent, "", message)
    }

    /// Forgets every event, as an agent does that is started again: numbers begin again.
    pub fn forget_events(&self) {
        *self.log.lock().unwrap() = Arc::default();
    }

    fn log(&self) -> Arc<EventLog> {
        Arc::clone(&self.log.lock().unwrap())
    }

    /// Names of the backends there are.
    pub fn names(&self) -> Vec<String> {
        self.state.lock().unwrap().backends.iter().map(|backend| backend.name.clone()).collect()
    }
}

fn find<'a>(backends: &'a mut [BackendInfo], id: &BackendId) -> Result<&'a mut BackendInfo, ApiError> {
    let found = backends.iter_mut().find(|backend| backend.pool == id.pool && backend.name == id.name);
    found.ok_or_else(|| ApiError::new(ErrorCode::NotFound, format!("there is no backend {id}")))
}

fn event(event: &lb_userspace::telemetry::events::Event) -> Event {
    Event {
        sequence: event.number,
        unix_time_ms: event.time_unix_ms,
        level: EventLevel::Info,
        kind: "sample".into(),
        subject: None,
        message: event.message.clone(),
    }
}

fn pool_exists(pool: &str) -> Result<(), ApiError> {
    if pool == "web" {
        return Ok(());
    }
    Err(ApiError::new(ErrorCode::NotFound, format!("there is no pool {pool:?}")).with_hint("there is: web"))
}

impl Control for Fake {
    async fn status(&self) -> Result<Status, ApiError> {
        let state = self.state.lock().unwrap();
        Ok(Status {
            version: "0.1.0".into(),
            abi_version: 1,
            pid: 4711,
            uptime_seconds: 60,
            config: ConfigInfo {
                path: "/etc/lb/lb.toml".into(),
                generation: state.generation,
                loaded_unix_seconds: 0,
                hash: "9f3a".into(),
            },
            warnings: vec![],
            interfaces: vec![],
            limits: vec![],
            service_count: 1,
            backends: BackendCounts { total: 2, up: 2, ..BackendCounts::default() },
            verdicts: vec![],
            vips: vec![],
            flows: lb_userspace::api::types::FlowTableInfo::default(),
            sessions: lb_userspace::api::types::SessionTableInfo::default(),
            checks: lb_userspace::api::types::CheckLoad::default(),
        })
    }

    async fn services(&self) -> Result<Vec<ServiceInfo>, ApiError> {
        Ok(vec![ServiceInfo {
            name: "web".into(),
            protocol: Protocol::Tcp,
            frontends: vec!["203.0.113.10:80".to_owned()],
            pool: "web".into(),
            mode: ForwardMode::DsrL2,
            backends_up: 2,
            backends_total: 2,
            packets: 20,
            bytes: 2_000,
            new_connections: 2,
            rates: None,
        }])
    }

    async fn backends(&self, pool: Option<String>) -> Result<Vec<BackendInfo>, ApiError> {
        match pool.as_deref() {
            None => {}
            Some(PANIC_NAME) => panic!("as the test asked"),
            Some(SLOW_NAME) => std::future::pending().await,
            Some(pool) => pool_exists(pool)?,
        }
        let mut state = self.state.lock().unwrap();
        if let Some(step) = self.script.lock().unwrap().pop_front() {
            step(&mut state.backends);
        }
        Ok(state.backends.clone())
    }

    async fn backend(&self, id: BackendId) -> Result<BackendDetail, ApiError> {
        pool_exists(&id.pool)?;
        let mut state = self.state.lock().unwrap();
        let standby = id.name.strip_prefix("spare/").map(str::to_owned);
        let found = BackendId { pool: id.pool.clone(), name: standby.clone().unwrap_or(id.name.clone()) };
        let backend = find(&mut state.backends, &found)?.clone();
        Ok(BackendDetail {
            backend: BackendInfo { name: id.name, ..backend },
            served: true,
            standby_of: standby.map(|name| format!("spare/{name}")),
            check: Some(CheckInfo {
                name: "tcp".into(),
                kind: "tcp".into(),
                address: Some(([10, 0, 0, 11], 80).into()),
                interval_ms: 1_000,
                timeout_ms: 500,
                rise: 2,
                fall: 3,
                good_in_a_row: 1,
                bad_in_a_row: 0,
                good: 1,
                bad: 0,
                inconclusive: 0,
                certificate_expires_unix_seconds: None,
            }),
            results: vec![CheckResult {
                ago_ms: 400,
                verdict: CheckVerdict::Good,
                latency_us: Some(850),
                message: "answered".into(),
            }],
        })
    }

    async fn events_after(&self, seen: Seen, limit: u32) -> Result<Vec<Event>, ApiError> {
        let events = self.log().next(seen.number, seen.unix_time_ms).await;
        Ok(events.iter().take(limit as usize).map(event).collect())
    }

    async fn events(&self, limit: u32) -> Result<Vec<Event>, ApiError> {
        let happened = self.log().after(0);
        if !happened.is_empty() {
            let skipped = happened.len().saturating_sub(limit as usize);
            return Ok(happened.iter().skip(skipped).map(event).collect());
        }
        let event = |sequence: u64| Event {
            sequence,
            unix_time_ms: sequence,
            level: EventLevel::Info,
            kind: "sample".into(),
            subject: None,
            message: "sample".into(),
        };
        Ok((0..u64::from(limit)).map(event).collect())
    }

    async fn add_backend(&self, pool: String, request: AddBackend) -> Result<EditResult, ApiError> {
        pool_exists(&pool)?;
        if request.name == SLOW_NAME {
            self.begun.notify_one();
            self.go_on.notified().await;
        }
        assert_ne!(request.name, PANIC_NAME, "as the test asked");
        self.edit(|backends| {
            if backends.iter().any(|backend| backend.name == request.name) {
                let message = format!("there is a backend {pool}/{} already", request.name);
                return Err(ApiError::new(ErrorCode::Conflict, message));
            }
            backends.push(BackendInfo {
                address: request.address.ip,
                port: request.address.port,
                weight: request.weight.unwrap_or(100),
                admin_state: request.state,
                ..backend(&request.name, 0)
            });
            Ok(true)
        })
    }

    async fn remove_backend(&self, id: BackendId) -> Result<EditResult, ApiError> {
        self.edit(|backends| {
            find(backends, &id)?;
            backends.retain(|backend| backend.name != id.name);
            Ok(true)
        })
    }

    async fn set_weight(&self, id: BackendId, weight: u32) -> Result<EditResult, ApiError> {
        if weight > 1_000 {
            return Err(ApiError::new(ErrorCode::InvalidConfig, "1 error in /etc/lb/lb.toml").with_details(
                vec![ErrorDetail {
                    line: 7,
                    column: 30,
                    message: format!("weight is {weight}; it must be 0 to 1,000"),
                    hint: None,
                }],
            ));
        }
        self.edit(|backends| {
            let backend = find(backends, &id)?;
            Ok(std::mem::replace(&mut backend.weight, weight) != weight)
        })
    }

    async fn set_state(&self, id: BackendId, request: SetState) -> Result<EditResult, ApiError> {
        self.edit(|backends| {
            let others =
                |backend: &&BackendInfo| backend.name != id.name && backend.admin_state == AdminState::Active;
            if request.state != AdminState::Active && !request.force && !backends.iter().any(|b| others(&b)) {
                let message = format!("{id} is the last backend");
                return Err(ApiError::new(ErrorCode::NeedsForce, message).with_hint("--force"));
            }
            let backend = find(backends, &id)?;
            Ok(std::mem::replace(&mut backend.admin_state, request.state) != request.state)
        })
    }

    async fn reload(&self) -> Result<EditResult, ApiError> {
        self.edit(|_| Ok(false))
    }
}

/// A server of a [`Fake`] in a directory of its own.
pub struct Running {
    pub fake: Arc<Fake>,
    pub socket: PathBuf,
    pub lock: AgentLock,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<std::io::Result<()>>,
    pub directory: TempDir,
}

impl Running {
    pub async fn start() -> Self {
        Self::start_with(ServerLimits::default()).await
    }

    pub async fn start_with(limits: ServerLimits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("run/lbd.sock");
        let lock = AgentLock::acquire(&socket).unwrap();
        let server = Server::bind(&socket, &lock, limits).await.unwrap();
        let fake = Arc::new(Fake::default());
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.run(Arc::clone(&fake), async {
            let _: Result<(), _> = stopped.await;
        }));
        Self { fake, socket, lock, stop: Some(stop), task, directory }
    }

    pub fn client(&self) -> Client {
        Client::new(&self.socket).with_call_time(PATIENCE)
    }

    /// Starts a server again after [`Self::stop`], with the same agent.
    pub async fn start_again(&mut self) {
        let server = Server::bind(&self.socket, &self.lock, ServerLimits::default()).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        self.task = tokio::spawn(server.run(Arc::clone(&self.fake), async {
            let _: Result<(), _> = stopped.await;
        }));
        self.stop = Some(stop);
    }

    /// Stops the server and waits until it has ended.
    pub async fn stop(&mut self) {
        drop(self.stop.take());
        tokio::time::timeout(PATIENCE, &mut self.task).await.unwrap().unwrap().unwrap();
    }

    /// Sends bytes as they are and reads until the server closes or has answered in full.
    pub async fn raw(&self, request: &[u8]) -> (u16, ApiError) {
        let mut stream = UnixStream::connect(&self.socket).await.unwrap();
        stream.write_all(request).await.unwrap();
        read_refusal(&mut stream).await
    }
}

/// Reads an answer that is a refusal: its status and its body.
pub async fn read_refusal(stream: &mut UnixStream) -> (u16, ApiError) {
    let (status, body) = tokio::time::timeout(PATIENCE, read_answer(stream)).await.unwrap();
    let error = serde_json::from_slice(&body);
    (status, error.unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&body))))
}

async fn read_answer(stream: &mut UnixStream) -> (u16, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        if let Some(answer) = parse_answer(&bytes) {
            return answer;
        }
        let mut part = [0; 4096];
        let length = stream.read(&mut part).await.unwrap();
        assert_ne!(length, 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&part[..length]);
    }
}

/// Status and body of an HTTP/1.1 answer with a Content-Length, once it is complete.
fn parse_answer(bytes: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap().to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let body = &bytes[end + 4..];
    (body.len() == length.parse::<usize>().unwrap()).then(|| (status, body.to_vec()))
}
