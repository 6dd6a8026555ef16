//! Numbers as people read them.

use std::fmt::Display;

/// What several rounds gave.
#[derive(Debug, Clone)]
pub struct Rounds(Vec<f64>);

impl Rounds {
    pub fn new(mut rounds: Vec<f64>) -> Self {
        assert!(!rounds.is_empty());
        rounds.sort_by(f64::total_cmp);
        Self(rounds)
    }

    pub fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }

    /// The least and the most.
    pub fn spread(&self) -> (f64, f64) {
        (self.0[0], self.0[self.0.len() - 1])
    }

    /// The least and the most, as people read them.
    pub fn least_to_most(&self, digits: usize) -> String {
        let (least, most) = self.spread();
        format!("{least:.digits$}–{most:.digits$}")
    }
}

/// A table in Markdown.
pub fn table<C: Display>(title: &str, head: &[&str], rows: &[Vec<C>]) {
    println!("\n{title}\n");
    println!("| {} |", head.join(" | "));
    println!("|{}", "---|".repeat(head.len()));
    for row in rows {
        let cells: Vec<String> = row.iter().map(ToString::to_string).collect();
        println!("| {} |", cells.join(" | "));
    }
}
