//! What a random sequence is made of, and how it is drawn.
//!
//! Always holds: every action means something after any other, so that a sequence that fails can be cut down by
//! leaving actions out: what an action names is taken modulo what there is.

use lb_userspace::model::{Affinity, ForwardMode};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use std::fmt;

/// Flows that clients have, at most.
pub const FLOWS: usize = 32;
/// Steps of a sequence, at most.
const MOST_ACTIONS: usize = 200;
/// Backends that a pool can have.
pub const BACKENDS: u8 = 8;

/// What a sequence begins with.
#[derive(Clone, Debug)]
pub struct Setup {
    pub mode: ForwardMode,
    pub affinity: Affinity,
    pub v6: bool,
    pub pools: usize,
    pub slots: u32,
    /// Entries of the flow table.
    pub flows: u32,
    pub timeout_ms: u64,
    pub dead_after_ms: u64,
    pub slow_start_ms: u64,
    pub backends: u8,
    pub key: (u64, u64),
    /// How far the datapath's clock is behind the agent's (it ticks).
    pub lag_ms: u64,
}

/// One change of a pool. Backends are numbers below [`BACKENDS`], as are those that the pool does not have now.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    Add(u8),
    Remove(u8),
    Drain(u8),
    Undrain(u8),
    Maintain(u8),
    Reweight(u8, u32),
    Down(u8),
    Up(u8),
    Timeout(u64),
}

/// One step.
#[derive(Clone, Debug)]
pub enum Action {
    /// A SYN, or the first packet over UDP; of a connection that is half open, once more. From then on the flow sends
    /// whenever it has been idle for `every` thousandths of `flow_timeout`; never by itself at 0.
    Open { flow: u8, every: u16 },
    /// The next packet of a flow, whatever that is.
    Send { flow: u8 },
    /// FIN or RST.
    End { flow: u8, resets: bool },
    /// Packets of sources that nobody knows.
    Flood { opening: u16, established: u16, udp: u16 },
    /// Time, in thousandths of `flow_timeout`, with the agent looking that often.
    Wait { thousandths: u32, look_ms: u64 },
    /// Changes of a pool that take effect together.
    Change { pool: u8, changes: Vec<Change> },
    /// A backend that comes back and goes again at once, and what a flow sends between.
    Flap { pool: u8, who: u8, flow: u8 },
    /// A packet that comes while the agent works the next time, after so many operations; a SYN if there is a choice.
    Amid { after: u8, flow: u8, opens: bool },
    /// The agent ends, and another one adopts the maps.
    Restart,
}

/// A kind of sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Everything is remembered that should be.
    Everyday,
    /// Small flow tables, and floods that fill them.
    Floods,
}

/// A sequence with what it begins with.
#[derive(Clone)]
pub struct Case {
    pub setup: Setup,
    pub actions: Vec<Action>,
}

/// A line a step.
impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.setup)?;
        self.actions.iter().enumerate().try_for_each(|(at, action)| write!(f, "\n  {at}: {action:?}"))
    }
}

/// Sequences of a kind.
pub fn cases(kind: Kind) -> impl Strategy<Value = Case> {
    // Short ones as well: a strategy never cuts a sequence down to less than it could have drawn.
    (setups(kind), vec(actions(kind), 1..MOST_ACTIONS)).prop_map(|(setup, actions)| Case { setup, actions })
}

fn setups(kind: Kind) -> impl Strategy<Value = Setup> {
    let flows = match kind {
        Kind::Everyday => vec![4096],
        Kind::Floods => vec![64, 128, 512, 1024],
    };
    let modes = vec![ForwardMode::Nat, ForwardMode::DsrL2, ForwardMode::DsrIpip];
    let affinities = vec![Affinity::Flow, Affinity::Flow, Affinity::Source, Affinity::SourceVip];
    let looks = (select(modes), select(affinities), any::<bool>(), select(vec![1, 1, 1, 2]));
    let sizes =
        (select(vec![31, 31, 31, 31, 251]), select(flows), 1..=6_u8, (any::<u64>(), any::<u64>()), 0..=4_u64);
    let times = (timeouts(), select(vec![0, 700, 5_000, 30_000]), select(vec![0, 0, 0, 2_000]));
    (looks, sizes, times).prop_map(
        |(
            (mode, affinity, v6, pools),
            (slots, flows, backends, key, lag_ms),
            (timeout_ms, dead_after_ms, slow_start_ms),
        )| {
            Setup {
                mode,
                affinity,
                v6,
                pools,
                slots,
                flows,
                timeout_ms,
                dead_after_ms,
                slow_start_ms,
                backends,
                key,
                lag_ms,
            }
        },
    )
}

fn timeouts() -> impl Strategy<Value = u64> {
    prop_oneof![
        2 => Just(1_000), 3 => Just(2_500), 3 => Just(6_000), 4 => Just(15_000), 2 => Just(40_000), 1 => Just(90_000)
    ]
}

fn actions(kind: Kind) -> BoxedStrategy<Action> {
    let traffic = prop_oneof![
        5 => (any::<u8>(), select(vec![0, 0, 300, 900, 990])).prop_map(|(flow, every)| Action::Open { flow, every }),
        7 => any::<u8>().prop_map(|flow| Action::Send { flow }),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(flow, resets)| Action::End { flow, resets }),
    ];
    let amid = (0..8_u8, any::<u8>(), any::<bool>()).prop_map(|(after, flow, opens)| Action::Amid {
        after,
        flow,
        opens,
    });
    let change =
        (any::<u8>(), vec(changes(), 1..4)).prop_map(|(pool, changes)| Action::Change { pool, changes });
    let flap = (any::<u8>(), 0..BACKENDS, any::<u8>()).prop_map(|(pool, who, flow)| Action::Flap {
        pool,
        who,
        flow,
    });
    let usual = prop_oneof![
        14 => traffic,
        4 => waits(),
        4 => change,
        1 => flap,
        1 => amid,
    ];
    match kind {
        Kind::Everyday => prop_oneof![40 => usual, 1 => Just(Action::Restart)].boxed(),
        Kind::Floods => prop_oneof![40 => usual, 1 => Just(Action::Restart), 4 => floods()].boxed(),
    }
}

fn waits() -> impl Strategy<Value = Action> {
    let thousandths = prop_oneof![
        40 => 0..30_u32,
        30 => 30..850_u32,
        30 => 850..1_100_u32,
        15 => 1_000..3_000_u32,
        1 => 9_000..12_000_u32,
    ];
    let looks = prop_oneof![8 => Just(500_u64), 1 => Just(2_000), 1 => Just(10_000)];
    (thousandths, looks).prop_map(|(thousandths, look_ms)| Action::Wait { thousandths, look_ms })
}

fn floods() -> impl Strategy<Value = Action> {
    let some = || prop_oneof![2 => Just(0_u16), 2 => 1..40_u16, 1 => 40..400_u16];
    (some(), some(), some()).prop_map(|(opening, established, udp)| Action::Flood {
        opening,
        established,
        udp,
    })
}

fn changes() -> impl Strategy<Value = Change> {
    let who = || 0..BACKENDS;
    prop_oneof![
        4 => who().prop_map(Change::Add),
        3 => who().prop_map(Change::Remove),
        3 => who().prop_map(Change::Drain),
        3 => who().prop_map(Change::Undrain),
        1 => who().prop_map(Change::Maintain),
        3 => (who(), select(vec![0, 1, 50, 100, 100, 200, 1_000])).prop_map(|(who, weight)| Change::Reweight(who, weight)),
        3 => who().prop_map(Change::Down),
        5 => who().prop_map(Change::Up),
        1 => timeouts().prop_map(Change::Timeout),
    ]
}
