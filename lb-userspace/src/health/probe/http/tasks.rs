//! The tasks of an HTTP/2 connection, which run inside of the probe rather than beside it.
//!
//! Always holds: dropping [`Tasks`] drops every task at once, and with the last one the socket.

use std::pin::Pin;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::rt::Executor;
use tokio::sync::mpsc;

/// Most tasks that wait to be started; the connection has two, a request at most two more.
const MAX_WAITING: usize = 8;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Runs the tasks that its [`Spawner`]s hand over.
pub(super) struct Tasks {
    waiting: mpsc::Receiver<Task>,
    running: FuturesUnordered<Task>,
}

/// Hands over tasks.
#[derive(Clone)]
pub(super) struct Spawner(mpsc::Sender<Task>);

/// An empty set of tasks, and what fills it.
pub(super) fn tasks() -> (Spawner, Tasks) {
    let (spawner, waiting) = mpsc::channel(MAX_WAITING);
    (Spawner(spawner), Tasks { waiting, running: FuturesUnordered::new() })
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    /// A task that finds no room is dropped, which ends its request with an error.
    fn execute(&self, task: F) {
        let _no_room = self.0.try_send(Box::pin(task));
    }
}

impl Tasks {
    /// Runs them until all have ended and nobody can hand over more.
    pub(super) async fn run(mut self) {
        loop {
            tokio::select! {
                Some(task) = self.waiting.recv() => self.running.push(task),
                Some(()) = self.running.next() => {}
                else => return,
            }
        }
    }
}
