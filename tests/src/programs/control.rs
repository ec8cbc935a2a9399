//! How a running program of ours is told something and asked something: a line over a unix socket, and an answer.
//!
//! Imports nothing of ours. Always holds: a request is one line of at most [`MAX_REQUEST_LEN`] bytes; the answer is all
//! that follows until the end of the connection, `ok` or `error` in its first line.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixListener;

/// Longest request, in bytes.
const MAX_REQUEST_LEN: u64 = 1_024;

/// Longest answer, in bytes.
const MAX_ANSWER_LEN: u64 = 256 << 20;

/// Time that a program has for an answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Descriptors that a program may have open: more than the connections of any lab.
const MAX_DESCRIPTORS: u64 = 262_144;

/// Sends `request` to the program that listens at `path`; returns its answer.
///
/// # Errors
/// When nothing listens there, no answer comes, or the program refuses.
pub fn ask(path: &Path, request: &str) -> Result<String> {
    exchange(path, request).with_context(|| format!("asking {} for {request:?}", path.display()))
}

/// The same for an answer that is JSON.
///
/// # Errors
/// As [`ask`]; when the answer is not what was expected.
pub fn ask_json<T: DeserializeOwned>(path: &Path, request: &str) -> Result<T> {
    let text = ask(path, request)?;
    serde_json::from_str(&text).with_context(|| format!("{}: answer to {request:?}", path.display()))
}

fn exchange(path: &Path, request: &str) -> Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    writeln!(stream, "{request}")?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER_LEN).read_to_string(&mut answer)?;
    match answer.split_once('\n') {
        Some(("ok", body)) => Ok(body.to_owned()),
        Some(("error", message)) => bail!("{message}"),
        _ => bail!("no answer"),
    }
}

/// Answers requests, one after the other, until the task is dropped.
///
/// # Errors
/// When it can not listen at `path`.
pub(super) async fn serve(path: &Path, answer: impl Fn(&str) -> Result<String>) -> Result<()> {
    let listener = UnixListener::bind(path).with_context(|| format!("listening at {}", path.display()))?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        let mut request = String::new();
        let (reader, mut writer) = stream.split();
        if BufReader::new(reader.take(MAX_REQUEST_LEN)).read_line(&mut request).await.is_err() {
            continue;
        }
        let text = match answer(request.trim_end()) {
            Ok(body) => format!("ok\n{body}"),
            Err(error) => format!("error\n{error:#}"),
        };
        // Whoever asked may be gone.
        let _ = writer.write_all(text.as_bytes()).await;
    }
}

/// Lets this process open as many descriptors as it may, up to what a lab may need; returns how many that is.
pub(super) fn raise_descriptor_limit() -> Result<u64> {
    let allowed = getrlimit(Resource::Nofile);
    let limit = allowed.maximum.map_or(MAX_DESCRIPTORS, |maximum| maximum.min(MAX_DESCRIPTORS));
    setrlimit(Resource::Nofile, Rlimit { current: Some(limit), maximum: allowed.maximum })
        .with_context(|| format!("allowing {limit} open descriptors"))?;
    Ok(limit)
}

/// Microseconds since 1970: the clock that all programs of a lab share.
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
