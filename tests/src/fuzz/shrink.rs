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
    fn is_better(&mut self, frames: Vec<Vec<u8>>) -> Result<bool> {
        if self.left == 0 || frames.is_empty() {
            return Ok(false);
        }
        self.left -= 1;
        match self.trial.run(self.setting, &frames)? {
            Some((count, fault)) if fault.kind == self.kind => {
                self.best = Shrunk { frames: frames[..count].to_vec(), fault };
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Leaves packets out: all but the last, then ever smaller runs.
    fn sequence(&mut self) -> Result<()> {
        let last = self.best.frames.last().cloned();
        if self.is_better(last.into_iter().collect())? {
            return Ok(());
        }
        let mut run = self.best.frames.len() / 2;
        while run > 0 {
            let mut from = 0;
            while from < self.best.frames.len() {
                let mut frames = self.best.frames.clone();
                frames.drain(from..frames.len().min(from + run));
                if !self.is_better(frames)? {
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
        self.is_better(frames)
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
