//! Settings that only one mode of tunnels has.

use super::{mode_name, pools};
use crate::config::draft::Draft;
use crate::config::problem::{Problem, Problems};
use crate::model::ForwardMode;

pub(super) fn check(draft: &Draft, problems: &mut Problems) {
    for (_, pool) in pools(draft) {
        let (Some(mode), Some(port)) = (&pool.mode, &pool.gue_port) else { continue };
        if mode.value != ForwardMode::DsrGue {
            let message =
                format!("`gue_port` has no meaning in a pool of mode \"{}\"", mode_name(mode.value));
            let problem =
                Problem::relation(port.span.clone(), message, "remove it, or write mode = \"dsr-gue\"");
            problems.push(problem.related(mode.span.clone(), "the mode"));
        }
    }
}
