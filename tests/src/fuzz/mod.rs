//! The fuzzer of the datapath: real packets, mutated, through the decision core on the host and the object in the
//! kernel side by side.
//!
//! Role: `corpus`, `values` and `mutate` make inputs (`generate`); `host`, `kernel` and `state` run them; `rules` judges
//! what was forwarded without asking the pipeline; `epoch` and `campaign` hold it together; `shrink` and `report` explain
//! a fault. Imports lb-common, `fixtures`, `bpf` and etherparse; nothing of lb-userspace, so the kernel's side takes a
//! program and maps that somebody else loaded.
//! Always holds: an epoch starts from the same state on both sides, and its inputs follow from seed and number alone.

mod anatomy;
mod bytes;
mod campaign;
mod corpus;
mod epoch;
mod fib;
mod generate;
mod host;
mod kernel;
mod mutate;
mod report;
mod rules;
mod shrink;
mod state;
mod subject;
mod sums;
mod values;

pub use campaign::{Campaign, Limit, Plan, replay};
pub use corpus::{Corpus, Entry};
pub use epoch::{EPOCH_INPUTS, Fault, FaultKind, Setting, Trial};
pub use fib::Fib;
pub use generate::Generator;
pub use host::{FLOWS, Host, Mirror};
pub use kernel::Kernel;
pub use report::{Summary, fault_directory, fault_text};
pub use rules::Rules;
pub use shrink::{Shrunk, shrink};
pub use subject::{Reaction, Subject, Totals};
pub use values::Values;

/// Shortest frame that is made: what `BPF_PROG_TEST_RUN` takes, an Ethernet header.
pub const SHORTEST_BYTES: usize = 14;
/// Longest frame that is made: what it takes in one piece, a page less head room and the end of an skb, with room to
/// grow.
pub const LONGEST_BYTES: usize = 3_000;
