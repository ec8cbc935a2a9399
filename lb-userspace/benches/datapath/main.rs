//! ns per packet of the loaded XDP program: `cargo xtask bench datapath [--json]`.
//!
//! A driver program restores the packet, varies the flow and tail-calls the program under test inside
//! `BPF_PROG_TEST_RUN`; the same driver with a target that only transmits gives the floor, in the same run. Rounds of
//! all cases are interleaved, so that a slow spell of the machine touches all of them; medians are reported.

mod cases;
mod driver;

use anyhow::Context as _;
use cases::{Case, cases};
use comfy_table::{CellAlignment, Table, presets};
use driver::Bench;
use serde::Serialize;

/// Rounds of every case.
const ROUNDS: usize = 15;

/// One line of the result.
#[derive(Serialize)]
struct Row {
    mode: &'static str,
    family: &'static str,
    flows: u32,
    /// Driver and target.
    total_ns: f64,
    /// Driver and a target that only transmits, same family.
    floor_ns: f64,
    /// What the datapath adds to the floor.
    datapath_ns: f64,
    /// `datapath_ns / floor_ns`.
    ratio: f64,
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> anyhow::Result<()> {
    let json = std::env::args().any(|argument| argument == "--json");
    let cases = cases();
    let mut benches = Vec::new();
    for case in &cases {
        benches.push(Bench::new(case).with_context(|| format!("preparing {} {}", case.mode, case.flows))?);
    }
    let mut floors = vec![Vec::new(); cases.len()];
    let mut totals = vec![Vec::new(); cases.len()];
    for round in 0..ROUNDS {
        if !json {
            eprint!("\rround {}/{ROUNDS}", round + 1);
        }
        for (at, bench) in benches.iter_mut().enumerate() {
            floors[at].push(bench.floor_ns()?);
            totals[at].push(bench.target_ns()?);
        }
    }
    if !json {
        eprintln!();
    }
    let rows: Vec<Row> =
        cases.iter().zip(floors).zip(totals).map(|((case, floor), total)| row(case, floor, total)).collect();
    if json {
        println!("{}", serde_json::to_string(&serde_json::json!({ "rounds": ROUNDS, "cases": rows }))?);
    } else {
        println!("{}", table(&rows));
    }
    Ok(())
}

fn row(case: &Case, floors: Vec<f64>, totals: Vec<f64>) -> Row {
    let differences: Vec<f64> = totals.iter().zip(&floors).map(|(total, floor)| total - floor).collect();
    let (floor_ns, total_ns, datapath_ns) = (median(floors), median(totals), median(differences));
    Row {
        mode: case.mode,
        family: if case.v6 { "IPv6" } else { "IPv4" },
        flows: case.flows,
        total_ns,
        floor_ns,
        datapath_ns,
        ratio: datapath_ns / floor_ns,
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["MODE", "FAMILY", "FLOWS", "TOTAL ns", "FLOOR ns", "DATAPATH ns", "DATAPATH/FLOOR"]);
    for row in rows {
        table.add_row([
            row.mode.to_owned(),
            row.family.to_owned(),
            row.flows.to_string(),
            format!("{:.1}", row.total_ns),
            format!("{:.1}", row.floor_ns),
            format!("{:.1}", row.datapath_ns),
            format!("{:.2}", row.ratio),
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
