//! The shortest sequence of the shortest packets that still shows a fault.
//!
//! Imports `epoch`, `subject`. Always holds: what is returned was run and shows a fault of the same kind.

use super::SHORTEST_BYTES;
use super::epoch::{Fault, FaultKind, Setting, Trial};
use super::subject::Subject;
use anyhow::Result;

/// Most trials, each a reset and a run of what is left.
const TRIALS_MOST: u32 = 2_000;

/// A sequence of packets that shows a fault.
pub struct Shrunk {
    /// The packets.
    pub frames: Vec<Vec<u8>>,
    /// The fault that the last one shows.
    pub fault: Fault,
}

struct Shrinker<'t, 'a, S> {
    trial: &'t mut Trial<'a, S>,
    setting: Setting,
    kind: FaultKind,
    left: u32,
    best: Shrunk,
}

/// Shrinks a sequence, given from the reset on; none if it does not show the fault when it is run again.
///
/// # Errors
/// When a packet cannot be run.
pub fn shrink<S: Subject>(
    trial: &mut Trial<'_, S>,
    setting: Setting,
    frames: &[Vec<u8>],
) -> Result<Option<Shrunk>> {
    let Some((count, fault)) = trial.run(setting, frames)? else { return Ok(None) };
    let best = Shrunk { frames: frames[..count].to_vec(), fault };
    let kind = best.fault.kind;
    let mut shrinker = Shrinker { trial, setting, kind, left: TRIALS_MOST, best };
    shrinker.sequence()?;
    shrinker.bytes()?;
    Ok(Some(shrinker.best))
}

impl<S: Subject> Shrinker<'_, '_, S> {
    /// Takes a sequence if it shows the fault.
    fn is_better(&mut self, frames: &[Vec<u8>]) -> Result<bool> {
        if self.left == 0 || frames.is_empty() {
            return Ok(false);
        }
        self.left -= 1;
        match self.trial.run(self.setting, frames)? {
            Some((count, fault)) if fault.kind == self.kind => {
                self.best = Shrunk { frames: frames[..count].to_vec(), fault };
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Leaves packets out: all but the last, then ever smaller runs.
    fn sequence(&mut self) -> Result<()> {
        let last: Vec<Vec<u8>> = self.best.frames.last().cloned().into_iter().collect();
        if self.is_better(&last)? {
            return Ok(());
        }
        let mut run = self.best.frames.len() / 2;
        while run > 0 {
            let mut from = 0;
            while from < self.best.frames.len() {
                let mut frames = self.best.frames.clone();
                frames.drain(from..frames.len().min(from + run));
                if !self.is_better(&frames)? {
                    from += run;
                }
            }
            run /= 2;
        }
        Ok(())
    }

    /// Makes the packets shorter from their ends, then sets bytes to 0.
    fn bytes(&mut self) -> Result<()> {
        for number in (0..self.best.frames.len()).rev() {
            self.cut(number)?;
            self.blank(number)?;
        }
        Ok(())
    }

    fn frame(&self, number: usize) -> Vec<u8> {
        self.best.frames.get(number).cloned().unwrap_or_default()
    }

    fn try_frame(&mut self, number: usize, frame: Vec<u8>) -> Result<bool> {
        let mut frames = self.best.frames.clone();
        if let Some(place) = frames.get_mut(number) {
            *place = frame;
        }
        self.is_better(&frames)
    }

    fn cut(&mut self, number: usize) -> Result<()> {
        let mut run = self.frame(number).len() / 2;
        while run > 0 {
            let frame = self.frame(number);
            let keep = frame.len().saturating_sub(run).max(SHORTEST_BYTES);
            if keep == frame.len() || !self.try_frame(number, frame[..keep].to_vec())? {
                run /= 2;
            }
        }
        Ok(())
    }

    fn blank(&mut self, number: usize) -> Result<()> {
        for at in 0..self.frame(number).len() {
            let mut frame = self.frame(number);
            if frame.get(at).is_some_and(|byte| *byte != 0) {
                frame[at] = 0;
                self.try_frame(number, frame)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::world;
    use crate::fuzz::report::{fault_text, read_fault};
    use crate::fuzz::{Corpus, Host, Mirror};

    /// Types of frames that go to the stack as they are.
    const ARP: [u8; 2] = [0x08, 0x06];
    const OTHER: [u8; 2] = [0x12, 0x34];

    fn has_type(frame: &[u8], ether_type: [u8; 2]) -> bool {
        frame.get(12..14) == Some(&ether_type)
    }

    fn frames() -> Vec<Vec<u8>> {
        Corpus::new().unwrap().entries().iter().map(|entry| entry.frame.clone()).collect()
    }

    #[test]
    fn a_fault_of_one_packet_is_shown_by_that_packet_alone_and_reads_back() {
        let world = world();
        let mut subject = Mirror::new(&world, |frame, _| {
            if let (true, Some(first)) = (has_type(frame, ARP), frame.first_mut()) {
                *first ^= 0x55;
            }
        });
        let mut trial = Trial::new(Host::new(&world), &mut subject);
        let shrunk = shrink(&mut trial, Setting::default(), &frames()).unwrap().expect("the fault is seen");
        assert_eq!((shrunk.fault.kind, shrunk.frames.len()), (FaultKind::Frame, 1));
        let frame = &shrunk.frames[0];
        assert_eq!(*frame, [&[0; 12][..], &ARP].concat(), "nothing is left but what the fault looks at");
        let text = fault_text("test", Setting::default(), &shrunk.frames, &shrunk.fault);
        let (setting, entries) = read_fault(&text).unwrap();
        assert_eq!((setting, &entries[0].frame), (Setting::default(), frame));
    }

    #[test]
    fn a_fault_that_needs_a_packet_before_is_shown_by_two() {
        let (world, mut is_ready) = (world(), false);
        let mut subject = Mirror::new(&world, move |frame, reaction| {
            if is_ready && has_type(frame, ARP) {
                reaction.action = 1;
            }
            is_ready = has_type(frame, OTHER);
        });
        let of_type = |ether_type: [u8; 2]| [&[7; 12][..], &ether_type, &[7; 30]].concat();
        let mut sequence = frames()[..200].to_vec();
        sequence.extend([of_type(OTHER), of_type(ARP), of_type(OTHER)]);
        let mut trial = Trial::new(Host::new(&world), &mut subject);
        let shrunk = shrink(&mut trial, Setting::default(), &sequence).unwrap().expect("the fault is seen");
        let least = |ether_type: [u8; 2]| [&[0; 12][..], &ether_type].concat();
        assert_eq!(shrunk.fault.kind, FaultKind::Action);
        assert_eq!(shrunk.frames, [least(OTHER), least(ARP)]);
    }

    #[test]
    fn nothing_is_shrunk_where_nothing_is_wrong() {
        let world = world();
        let mut subject = Mirror::new(&world, |_, _| {});
        let mut trial = Trial::new(Host::new(&world), &mut subject);
        let shrunk = shrink(&mut trial, Setting::default(), &frames()).unwrap();
        let text = shrunk.map(|it| fault_text("none", Setting::default(), &it.frames, &it.fault));
        assert_eq!(text, None);
    }
}
