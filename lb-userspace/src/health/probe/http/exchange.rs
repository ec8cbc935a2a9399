//! One request and its answer over an open connection.

use std::pin::pin;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

use super::super::tls::{Protocol, Wire};
use super::super::{ProbeError, Question, Stage};
use super::error::{has_reason, name_error};
use super::tasks::tasks;
use super::{MAX_HEAD_BYTES, MAX_HEADERS, body};

/// Sends `request`, and hands the head of the answer to `read`, which ends what is sent and received.
///
/// Always holds: the connection is closed when this returns or is dropped.
pub(in super::super) async fn exchange<T, F>(
    question: &Question,
    protocol: Protocol,
    wire: Box<dyn Wire>,
    request: Request<Full<Bytes>>,
    read: impl FnOnce(Response<Incoming>) -> F,
) -> Result<T, ProbeError>
where
    F: Future<Output = Result<T, ProbeError>>,
{
    match protocol {
        Protocol::Http1 => over_http1(question, wire, request, read).await,
        Protocol::Http2 => over_http2(question, wire, request, read).await,
    }
}

async fn over_http1<T, F>(
    question: &Question,
    wire: Box<dyn Wire>,
    request: Request<Full<Bytes>>,
    read: impl FnOnce(Response<Incoming>) -> F,
) -> Result<T, ProbeError>
where
    F: Future<Output = Result<T, ProbeError>>,
{
    let name = |error: hyper::Error| name_error(question, Stage::Answer, &error);
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .handshake(TokioIo::new(wire))
        .await
        .map_err(name)?;
    let work = async {
        let answer = async { sender.send_request(request).await.map_err(name) };
        read(question.bound(Stage::Answer, answer).await?).await
    };
    drive(work, connection).await
}

async fn over_http2<T, F>(
    question: &Question,
    wire: Box<dyn Wire>,
    request: Request<Full<Bytes>>,
    read: impl FnOnce(Response<Incoming>) -> F,
) -> Result<T, ProbeError>
where
    F: Future<Output = Result<T, ProbeError>>,
{
    let name = |error: &hyper::Error| name_error(question, Stage::Answer, error);
    let (spawner, tasks) = tasks();
    let window_bytes = u32::try_from(body::MAX_BODY_BYTES).unwrap_or(u32::MAX);
    let mut builder = http2::Builder::new(spawner.clone());
    builder
        .initial_stream_window_size(window_bytes)
        .initial_connection_window_size(window_bytes)
        .initial_max_send_streams(1)
        .max_concurrent_streams(1)
        .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX));
    let work = async move {
        let answer = async {
            let handshake = builder.handshake(TokioIo::new(wire)).await;
            let (sender, connection) = handshake.map_err(|error| name(&error))?;
            let (tell, connection_error) = oneshot::channel();
            spawner.execute(async move {
                let _nobody_asks = tell.send(connection.await.err());
            });
            ask(sender, connection_error, request).await.map_err(|error| name(&error))
        };
        let (response, _sender) = question.bound(Stage::Answer, answer).await?;
        read(response).await
    };
    drive(work, tasks.run()).await
}

/// Gives the answer, and the sender that has to be kept while it is read: without it the connection ends itself.
async fn ask(
    mut sender: http2::SendRequest<Full<Bytes>>,
    connection_error: oneshot::Receiver<Option<hyper::Error>>,
    request: Request<Full<Bytes>>,
) -> Result<(Response<Incoming>, http2::SendRequest<Full<Bytes>>), hyper::Error> {
    match sender.send_request(request).await {
        Ok(response) => Ok((response, sender)),
        Err(error) if has_reason(&error) => Err(error),
        Err(error) => {
            // It failed with the connection, which knows why and ends now.
            drop(sender);
            Err(connection_error.await.ok().flatten().unwrap_or(error))
        }
    }
}

/// Runs `exchange` to its end, and `connection`, which moves its bytes, beside it.
///
/// The connection may end first with the answer already handed over, so its end alone decides nothing.
async fn drive<T>(exchange: impl Future<Output = T>, connection: impl Future) -> T {
    let (mut exchange, mut connection) = (pin!(exchange), pin!(connection));
    let mut connection_ended = false;
    loop {
        tokio::select! {
            biased;
            outcome = &mut exchange => return outcome,
            _ = &mut connection, if !connection_ended => connection_ended = true,
        }
    }
}
