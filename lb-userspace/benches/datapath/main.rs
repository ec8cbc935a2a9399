//! ns per packet of the loaded XDP program: `cargo xtask bench datapath [--json]`.
//!
//! A driver program restores the packet, varies the flow and tail-calls the program under test inside
//! `BPF_PROG_TEST_RUN`; the same driver with a target that only transmits gives the floor, in the same run. Rounds of
//! all cases are interleaved, so that a slow spell of the machine touches all of them; medians are reported.
//!
//! `--against OBJECT` measures another build of the datapath's object beside this one, packet by packet in turns
//! (`cargo xtask bench datapath --against REVISION` makes one).

mod cases;
mod driver;
mod target;

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
    /// Phase of the slots.
    phase: &'static str,
    /// Present total over the other build's, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    against: Option<f64>,
}

/// The object that the build made.
static PRESENT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-datapath.o"));

/// The object to compare with, if one was named.
fn other_object() -> anyhow::Result<Option<Vec<u8>>> {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--against").skip(1);
    let Some(path) = arguments.next() else { return Ok(None) };
    Ok(Some(std::fs::read(&path).with_context(|| format!("reading {path}"))?))
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() -> anyhow::Result<()> {
    let json = std::env::args().any(|argument| argument == "--json");
    let other = other_object()?;
    let objects: Vec<&[u8]> = [Some(PRESENT), other.as_deref()].into_iter().flatten().collect();
    // What an older build may lack is left out of a comparison.
    let cases: Vec<Case> = cases().into_iter().filter(|case| other.is_none() || case.is_old()).collect();
    let mut benches = Vec::new();
    for case in &cases {
        let bench = Bench::new(case, &objects);
        benches.push(bench.with_context(|| format!("preparing {} {}", case.mode, case.flows))?);
    }
    let mut samples: Vec<Samples> = cases.iter().map(|_| Samples::default()).collect();
    for round in 0..ROUNDS {
        if !json {
            eprint!("\rround {}/{ROUNDS}", round + 1);
        }
        for ((case, bench), samples) in cases.iter().zip(&mut benches).zip(&mut samples) {
            let Case { mode, flows, v6, .. } = case;
            let what = || format!("measuring {mode}, {flows} flows{}", if *v6 { ", IPv6" } else { "" });
            samples.floors.push(bench.floor_ns().with_context(what)?);
            samples.totals.push(bench.target_ns(0).with_context(what)?);
            if other.is_some() {
                samples.others.push(bench.target_ns(1).with_context(what)?);
            }
        }
    }
    if !json {
        eprintln!();
    }
    let rows: Vec<Row> = cases.iter().zip(samples).map(|(case, samples)| row(case, samples)).collect();
    if json {
        println!("{}", serde_json::to_string(&serde_json::json!({ "rounds": ROUNDS, "cases": rows }))?);
    } else {
        println!("{}", table(&rows));
    }
    Ok(())
}

/// What was measured of one case, a value a round.
#[derive(Default)]
struct Samples {
    floors: Vec<f64>,
    totals: Vec<f64>,
    others: Vec<f64>,
}

fn row(case: &Case, samples: Samples) -> Row {
    let Samples { floors, totals, others } = samples;
    let differences: Vec<f64> = totals.iter().zip(&floors).map(|(total, floor)| total - floor).collect();
    let ratios: Vec<f64> = totals.iter().zip(&others).map(|(total, other)| total / other).collect();
    let (floor_ns, total_ns, datapath_ns) = (median(floors), median(totals), median(differences));
    Row {
        mode: case.mode,
        family: if case.v6 { "IPv6" } else { "IPv4" },
        flows: case.flows,
        total_ns,
        floor_ns,
        datapath_ns,
        ratio: datapath_ns / floor_ns,
        phase: case.phase_name(),
        against: (!ratios.is_empty()).then(|| median(ratios)),
    }
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "MODE",
        "FAMILY",
        "PHASE",
        "FLOWS",
        "TOTAL ns",
        "FLOOR ns",
        "DATAPATH ns",
        "DATAPATH/FLOOR",
        "AGAINST",
    ]);
    for row in rows {
        table.add_row([
            row.mode.to_owned(),
            row.family.to_owned(),
            row.phase.to_owned(),
            row.flows.to_string(),
            format!("{:.1}", row.total_ns),
            format!("{:.1}", row.floor_ns),
            format!("{:.1}", row.datapath_ns),
            format!("{:.2}", row.ratio),
            row.against.map_or_else(String::new, |against| format!("{against:.3}")),
        ]);
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
