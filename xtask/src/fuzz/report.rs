//! The figures of a run as a table.
//!
//! Role: pure. Imports `text`.

use lb_tests::fuzz::Summary;

use crate::text::columns;

/// What is printed in the end.
pub fn table(summary: &Summary) -> String {
    let mut rows = vec![["verdict".to_owned(), "inputs".to_owned(), "share".to_owned()]];
    rows.extend(summary.verdicts.iter().map(|(verdict, count)| {
        [
            format!("  {verdict}"),
            format!("{count:>10}"),
            format!("{:>5.1} %", percent(*count, summary.inputs)),
        ]
    }));
    let close = match &summary.fault_file {
        None => "0 disagreements, 0 broken rules".to_owned(),
        Some(file) => format!(
            "FAULT: {} says what differs; run it again with\n  cargo xtask fuzz packets --replay {}",
            file.display(),
            file.display()
        ),
    };
    format!(
        "{}\nseed {}, {} workers: {} inputs in {:.1} s, {:.0} a second\n{close}\n",
        columns(&rows),
        summary.seed,
        summary.jobs,
        summary.inputs,
        summary.seconds,
        summary.rate(),
    )
}

fn percent(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share to one decimal place")]
    let share = part as f64 / whole.max(1) as f64;
    share * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        Summary {
            seed: 7,
            jobs: 2,
            inputs: 200,
            seconds: 4.0,
            verdicts: [("forward nat".to_owned(), 50), ("pass malformed".to_owned(), 150)].into(),
            faults: 0,
            fault_file: None,
        }
    }

    #[test]
    fn a_run_without_a_fault_says_so_with_its_figures() {
        let text = table(&summary());
        assert!(text.contains("forward nat             50   25.0 %"), "{text}");
        assert!(
            text.contains("seed 7, 2 workers: 200 inputs in 4.0 s, 50 a second\n0 disagreements"),
            "{text}"
        );
    }

    #[test]
    fn a_fault_comes_with_the_command_that_runs_it_again() {
        let text = table(&Summary { faults: 1, fault_file: Some("target/fuzz/x.txt".into()), ..summary() });
        assert!(text.contains("cargo xtask fuzz packets --replay target/fuzz/x.txt"), "{text}");
    }
}
