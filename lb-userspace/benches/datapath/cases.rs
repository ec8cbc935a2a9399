//! What is measured.

use lb_common::abi::{ForwardMode, Phase};

/// One line of the bench.
pub struct Case {
    /// Name of the mode.
    pub mode: &'static str,
    /// Its number.
    pub number: ForwardMode,
    /// IPv6 instead of IPv4.
    pub v6: bool,
    /// Whether backends are of the other family.
    pub crossed: bool,
    /// How many flows take turns; a power of two.
    pub flows: u32,
    /// Phase of all slots. Unless it is stable, all flows are remembered.
    pub phase: Phase,
}

/// Flow counts that a line is measured at.
const FLOWS: [u32; 3] = [1, 65_536, 524_288];

/// Every line.
pub fn cases() -> Vec<Case> {
    let modes = [
        ("nat", ForwardMode::Nat, false),
        ("dsr-l2", ForwardMode::DsrL2, false),
        ("dsr-ipip", ForwardMode::DsrIpip, false),
        ("dsr-ipip, crossed", ForwardMode::DsrIpip, true),
        ("dsr-gue", ForwardMode::DsrGue, false),
        ("dsr-gue, crossed", ForwardMode::DsrGue, true),
        ("full-nat", ForwardMode::FullNat, false),
    ];
    let nat = Case {
        mode: "nat",
        number: ForwardMode::Nat,
        v6: false,
        crossed: false,
        flows: 1,
        phase: Phase::Stable,
    };
    let lines = [false, true].into_iter().flat_map(|v6| modes.map(|mode| (mode, v6)));
    let stable = lines.flat_map(|((mode, number, crossed), v6)| {
        FLOWS.map(|flows| Case { mode, number, v6, crossed, flows, ..nat })
    });
    let changing = [Phase::Learning, Phase::Tracked]
        .into_iter()
        .flat_map(|phase| FLOWS.map(|flows| Case { flows, phase, ..nat }));
    stable.chain(changing).collect()
}

impl Case {
    /// Whether builds of before had it.
    pub fn is_old(&self) -> bool {
        let old = matches!(self.number, ForwardMode::Nat | ForwardMode::DsrL2 | ForwardMode::DsrIpip);
        old && !self.crossed && self.phase == Phase::Stable
    }

    /// Name of the phase.
    pub const fn phase_name(&self) -> &'static str {
        match self.phase {
            Phase::Stable => "stable",
            Phase::Learning => "learning",
            Phase::Tracked => "tracked",
            Phase::Settling => "settling",
        }
    }
}
