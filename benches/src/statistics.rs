//! Medians and spreads of rounds.

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// A figure over all rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) lowest: f64,
    pub(crate) highest: f64,
}

impl Figure {
    /// Of at least one value.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { at(middle) } else { f64::midpoint(at(middle.wrapping_sub(1)), at(middle)) };
        Self { median, lowest: at(0), highest: at(values.len().wrapping_sub(1)) }
    }

    /// Of the quotients of two sides, round by round: what disturbs a round disturbs both of its sides.
    pub(crate) fn ratio(ours: &[f64], theirs: &[f64]) -> Self {
        Self::of(ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs))
    }
}

/// Measures one side.
pub(crate) type Measure<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

/// Runs the sides by turns, A B A B …, and gives each one's values.
pub(crate) fn interleaved(rounds: usize, mut sides: Vec<Measure<'_>>) -> Result<Vec<Vec<f64>>> {
    let mut values = vec![Vec::with_capacity(rounds); sides.len()];
    for _ in 0..rounds {
        for (side, values) in sides.iter_mut().zip(&mut values) {
            values.push(side()?);
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_the_middle_and_both_ends() {
        assert_eq!(Figure::of([3.0, 1.0, 2.0]), Figure { median: 2.0, lowest: 1.0, highest: 3.0 });
        assert_eq!(Figure::of([4.0, 1.0, 2.0, 3.0]), Figure { median: 2.5, lowest: 1.0, highest: 4.0 });
        assert_eq!(Figure::ratio(&[1.0, 3.0], &[2.0, 2.0]), Figure { median: 1.0, lowest: 0.5, highest: 1.5 });
    }

    #[test]
    fn sides_take_turns() {
        let turns = std::cell::RefCell::new(String::new());
        let turns = &turns;
        let side = |name: char| -> Measure<'_> {
            Box::new(move || {
                turns.borrow_mut().push(name);
                Ok(1.0)
            })
        };
        interleaved(2, vec![side('a'), side('b')]).unwrap();
        assert_eq!(*turns.borrow(), "abab");
    }
}
