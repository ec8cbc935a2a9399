//! Inputs: packets of the corpus and of late, mutated.
//!
//! Imports `corpus`, `mutate` and `values`. Always holds: what comes out follows from the seed, the epoch and what was
//! reported back, and every frame is of a size that a test run takes.

use super::corpus::Corpus;
use super::mutate::{Tools, answer, fit, gently, pieces, repair, roughly, splice};
use super::values::Values;
use fastrand::Rng;
use std::collections::VecDeque;

/// Forwarded packets that are kept to go on from: later packets of the same flow.
const RECENT: usize = 32;
/// Most mutations of one input.
const MUTATIONS_MOST: usize = 8;
/// Spreads epochs over seeds.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Makes the inputs of one epoch.
pub struct Generator<'a> {
    rng: Rng,
    corpus: &'a Corpus,
    values: &'a Values,
    /// What was forwarded of late: the frame that came in, and the one that went out.
    recent: VecDeque<(Vec<u8>, Vec<u8>)>,
    /// Made already.
    waiting: VecDeque<Vec<u8>>,
}

impl<'a> Generator<'a> {
    /// That of an epoch. The first one begins with the corpus as it is.
    pub fn new(seed: u64, epoch: u64, corpus: &'a Corpus, values: &'a Values) -> Self {
        let whole = corpus.entries().iter().filter(|_| epoch == 0).map(|entry| entry.frame.clone());
        Self {
            rng: Rng::with_seed(seed ^ (epoch + 1).wrapping_mul(MULTIPLIER)),
            corpus,
            values,
            recent: VecDeque::new(),
            waiting: whole.collect(),
        }
    }

    /// The next input.
    pub fn input(&mut self) -> Vec<u8> {
        if let Some(frame) = self.waiting.pop_front() {
            return frame;
        }
        let mut frame = self.start();
        let is_gentle = self.rng.bool();
        // Rarely many.
        let count =
            (self.rng.u32(..).trailing_zeros() as usize + usize::from(!is_gentle)).min(MUTATIONS_MOST);
        let mut tools = Tools { rng: &mut self.rng, values: self.values };
        for _ in 0..count {
            if is_gentle {
                gently(&mut frame, &mut tools);
            } else {
                roughly(&mut frame, &mut tools);
            }
        }
        fit(&mut frame);
        if is_gentle || self.rng.bool() {
            repair(&mut frame, &mut self.rng);
        }
        match self.rng.u8(..32) {
            0..3 => self.cut(&frame),
            3 => self.waiting.extend(self.rng.choice(self.corpus.sequences()).into_iter().flatten().cloned()),
            _ => {}
        }
        frame
    }

    /// Makes fragments of a packet wait, one of them mutated now and then.
    fn cut(&mut self, frame: &[u8]) {
        let mut all = pieces(frame, &mut self.rng);
        if self.rng.u8(..4) == 0 {
            let mut tools = Tools { rng: &mut self.rng, values: self.values };
            let number = tools.rng.usize(..all.len().max(1));
            if let Some(piece) = all.get_mut(number) {
                gently(piece, &mut tools);
                repair(piece, tools.rng);
            }
        }
        all.iter_mut().for_each(fit);
        self.waiting.extend(all);
    }

    /// A packet to mutate.
    fn start(&mut self) -> Vec<u8> {
        let recent = self.rng.choice(&self.recent);
        match (self.rng.u8(..16), recent) {
            (0..4, Some((input, _))) => input.clone(),
            (4..6, Some((_, output))) => {
                let mut frame = output.clone();
                answer(&mut frame);
                frame
            }
            (6, _) => {
                let (mut frame, other) = (self.of_corpus(), self.of_corpus());
                splice(&mut frame, &other, &mut self.rng);
                frame
            }
            _ => self.of_corpus(),
        }
    }

    fn of_corpus(&mut self) -> Vec<u8> {
        self.rng.choice(self.corpus.entries()).map(|entry| entry.frame.clone()).unwrap_or_default()
    }

    /// Reports a packet that was forwarded.
    pub fn forwarded(&mut self, input: &[u8], output: &[u8]) {
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((input.to_vec(), output.to_vec()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::world;
    use crate::fuzz::{LONGEST_BYTES, SHORTEST_BYTES};

    fn inputs(seed: u64, epoch: u64, count: usize) -> Vec<Vec<u8>> {
        let (corpus, values) = (Corpus::new().unwrap(), Values::of(&world()));
        let mut generator = Generator::new(seed, epoch, &corpus, &values);
        (0..count).map(|_| generator.input()).collect()
    }

    #[test]
    fn a_seed_and_an_epoch_give_the_same_inputs_again_and_no_other_does() {
        let first = inputs(7, 3, 2_000);
        assert_eq!(first, inputs(7, 3, 2_000));
        assert_ne!(first, inputs(8, 3, 2_000));
        assert_ne!(first, inputs(7, 4, 2_000));
    }

    #[test]
    fn every_input_is_of_a_size_that_a_test_run_takes() {
        let sizes: Vec<usize> = inputs(1, 1, 20_000).iter().map(Vec::len).collect();
        assert!(sizes.iter().all(|size| (SHORTEST_BYTES..=LONGEST_BYTES).contains(size)));
        assert!(sizes.contains(&SHORTEST_BYTES) && sizes.iter().any(|size| *size > 2_000));
    }

    #[test]
    fn the_first_epoch_begins_with_the_corpus_as_it_is() {
        let corpus = Corpus::new().unwrap();
        let first = inputs(5, 0, corpus.entries().len());
        assert!(corpus.entries().iter().map(|entry| &entry.frame).eq(&first));
    }
}
