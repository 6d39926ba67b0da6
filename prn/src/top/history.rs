//! What was measured lately, as a line of small bars. Pure.

use std::collections::VecDeque;

use ratatui::symbols::bar::NINE_LEVELS;

/// Most samples that are kept: as many as the widest column of them shows.
const KEPT: usize = 60;

/// Samples, the newest last.
#[derive(Debug, Clone, Default)]
pub struct History(VecDeque<f64>);

impl History {
    /// Takes a sample.
    pub fn push(&mut self, value: f64) {
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// The largest of them.
    pub fn largest(&self) -> f64 {
        self.0.iter().copied().fold(0.0, f64::max)
    }

    /// The newest `width` of them as bars, of which the highest stands for `full` or more.
    pub fn bars(&self, width: usize, full: f64) -> String {
        let shown = self.0.len().min(width);
        let blank = " ".repeat(width - shown);
        let newest = self.0.iter().skip(self.0.len() - shown);
        let bars: String = newest.map(|value| bar(value / full)).collect();
        blank + &bars
    }
}

/// A bar for a part of what is full. All but nothing has one.
fn bar(part: f64) -> &'static str {
    let bars = NINE_LEVELS;
    let levels = [
        (0.9375, bars.full),
        (0.8125, bars.seven_eighths),
        (0.6875, bars.three_quarters),
        (0.5625, bars.five_eighths),
        (0.4375, bars.half),
        (0.3125, bars.three_eighths),
        (0.1875, bars.one_quarter),
        (0.01, bars.one_eighth),
    ];
    levels
        .into_iter()
        .find(|(least, _)| part >= *least)
        .map_or(bars.empty, |(_, bar)| bar)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_samples_are_on_the_right_and_none_is_above_full() {
        let mut history = History::default();
        assert_eq!(history.bars(3, 100.0), "   ");
        for value in [0.0, 5.0, 50.0, 100.0, 250.0] {
            history.push(value);
        }
        assert_eq!(history.bars(7, 100.0), "   ▁▄██");
        assert_eq!(history.bars(3, 100.0), "▄██");
        assert_eq!(history.bars(2, 1000.0), "▁▂");
        assert!((history.largest() - 250.0).abs() < f64::EPSILON);
    }

    #[test]
    fn it_is_bounded() {
        let mut history = History::default();
        for _ in 0..1000 {
            history.push(1.0);
        }
        assert_eq!(history.0.len(), KEPT);
    }
}
