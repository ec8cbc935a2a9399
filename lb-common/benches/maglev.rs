//! Time to build a slot table: `cargo bench -p lb-common --bench maglev [-- --json]`.
//!
//! Every case is built several times; the median is reported, and the fastest and slowest beside it.

use lb_common::maglev::{self, Member};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Builds of each case.
const ROUNDS: usize = 9;
/// Slots of a table, as by default.
const SLOTS: u32 = 65_537;
/// Numbers of backends.
const BACKENDS: [u32; 3] = [10, 100, 1_000];

/// How weights are spread over the backends.
#[derive(Clone, Copy)]
enum Weights {
    /// All the same.
    Equal,
    /// From 1 to 1,000.
    Mixed,
}

impl Weights {
    const fn name(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Mixed => "mixed",
        }
    }

    /// The weight of backend number `index`; 389 and 1,000 have no common divisor, so mixed ones are all different.
    const fn of(self, index: u32) -> u32 {
        match self {
            Self::Equal => 100,
            Self::Mixed => 1 + index * 389 % 1_000,
        }
    }
}

/// One line of the result.
struct Row {
    backends: u32,
    weights: Weights,
    median: Duration,
    fastest: Duration,
    slowest: Duration,
}

fn measure(backends: u32, weights: Weights) -> Row {
    let members: Vec<Member> = (0..backends)
        .map(|index| Member {
            identity: u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            index,
            weight: weights.of(index),
        })
        .collect();
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            let table = maglev::build(black_box(&members), SLOTS);
            let time = start.elapsed();
            assert_eq!(black_box(table).len(), SLOTS as usize, "every slot has a backend");
            time
        })
        .collect();
    times.sort_unstable();
    let at = |index: usize| times.get(index).copied().unwrap_or_default();
    Row { backends, weights, median: at(ROUNDS / 2), fastest: at(0), slowest: at(ROUNDS - 1) }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn main() {
    let json = std::env::args().any(|argument| argument == "--json");
    let cases =
        BACKENDS.into_iter().flat_map(|backends| [(backends, Weights::Equal), (backends, Weights::Mixed)]);
    let rows: Vec<Row> = cases.map(|(backends, weights)| measure(backends, weights)).collect();
    if json {
        println!("{}", to_json(&rows));
        return;
    }
    println!("BACKENDS   SLOTS  WEIGHTS  MEDIAN ms  FASTEST ms  SLOWEST ms");
    for row in &rows {
        println!(
            "{:>8} {SLOTS:>7}  {:<7} {:>10.2} {:>11.2} {:>11.2}",
            row.backends,
            row.weights.name(),
            milliseconds(row.median),
            milliseconds(row.fastest),
            milliseconds(row.slowest)
        );
    }
}

/// Numbers and two fixed words: nothing here needs escaping.
fn to_json(rows: &[Row]) -> String {
    let cases: Vec<String> = rows
        .iter()
        .map(|row| {
            format!(
                r#"{{"backends":{},"slots":{SLOTS},"weights":"{}","median_ms":{:.3},"fastest_ms":{:.3},"slowest_ms":{:.3}}}"#,
                row.backends,
                row.weights.name(),
                milliseconds(row.median),
                milliseconds(row.fastest),
                milliseconds(row.slowest)
            )
        })
        .collect();
    format!(r#"{{"rounds":{ROUNDS},"cases":[{}]}}"#, cases.join(","))
}
