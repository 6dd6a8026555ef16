//! The counts that ours are held to.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use sessile_benches::row::Row;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");

/// In percent: ten times of what two checks of the same program differ by.
const MAY_GROW: u64 = 5;

#[derive(Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Another compiler makes other instructions: its counts are not compared.
    rustc: String,
    counts: Vec<(String, u64)>,
}

impl Recorded {
    pub fn now(counts: Vec<(Row, u64)>) -> Self {
        Self {
            rustc: rustc(),
            counts: counts
                .into_iter()
                .map(|(row, count)| (row.name().into(), count))
                .collect(),
        }
    }

    pub fn write(&self) {
        let mut text = format!(
            "# Instructions that sessile adds to a request. `make callgrind` holds it to them, and\n\
             # `make callgrind ARGS=--record` writes this.\n{}\n",
            self.rustc
        );
        for (row, count) in &self.counts {
            let _ = writeln!(text, "{row}: {count}");
        }
        std::fs::write(Path::new(FILE), text).expect("the package's folder can be written to");
        println!("\nrecorded in {FILE}");
    }

    /// # Errors
    ///
    /// Why there is nothing to compare with.
    pub fn read() -> Result<Self, String> {
        let text = std::fs::read_to_string(FILE).map_err(|error| format!("{FILE}: {error}"))?;
        Self::parse(&text).ok_or_else(|| format!("{FILE} is not as `--record` writes it"))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        let rustc = lines.next()?.to_owned();
        let count = |line: &str| {
            let (row, count) = line.split_once(": ")?;
            Some((row.to_owned(), count.parse().ok()?))
        };
        let counts = lines.map(count).collect::<Option<Vec<_>>>()?;
        (!counts.is_empty()).then_some(Self { rustc, counts })
    }

    /// # Errors
    ///
    /// Which rows grew, or are not recorded.
    pub fn compare(&self, own: &[(Row, u64)]) -> Result<String, String> {
        self.compare_as(&rustc(), own)
    }

    fn compare_as(&self, rustc: &str, own: &[(Row, u64)]) -> Result<String, String> {
        if self.rustc != rustc {
            return Ok(format!(
                "Not compared: recorded by {}, and this is {rustc}.",
                self.rustc
            ));
        }
        let mut grown = String::new();
        for (row, count) in own {
            let Some((_, recorded)) = self.counts.iter().find(|(name, _)| name == row.name())
            else {
                let _ = writeln!(grown, "{}: not recorded", row.name());
                continue;
            };
            if count * 100 > recorded * (100 + MAY_GROW) {
                let _ = writeln!(grown, "{}: {count}, recorded {recorded}", row.name());
            }
        }
        if grown.is_empty() {
            Ok(format!("None grew by more than {MAY_GROW} %."))
        } else {
            Err(format!("Grown by more than {MAY_GROW} %:\n{grown}"))
        }
    }
}

/// The compiler by which this is built, in one line.
fn rustc() -> String {
    let output = Command::new("rustc")
        .arg("--version")
        .output()
        .expect("cargo has found it");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
