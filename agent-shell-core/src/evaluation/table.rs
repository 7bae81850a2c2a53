//! A comparison as text.

use std::fmt;

use super::comparison::{Comparison, VariantRuns, shown};
use super::run::CaseRun;

/// Of how a case ended, so many characters are shown.
const END_SHOWN: usize = 40;

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["case", "variant", "end"].into_iter().map(str::to_owned);
        let numbers = || ["made", "tokens", "nano_usd", "ms"].into_iter().map(str::to_owned);
        let mut rows = vec![head.chain(self.scorers.iter().cloned()).chain(numbers()).collect()];
        for (place, run) in self.base().runs.iter().enumerate() {
            for (of, variant) in self.variants.iter().enumerate() {
                let name = if of == 0 { run.case.clone() } else { String::new() };
                if let Some(run) = variant.runs.get(place) {
                    rows.push(self.row(name, &variant.name, run));
                }
            }
        }
        write_table(f, &rows)?;
        let head = ["variant", "answered"].into_iter().map(str::to_owned);
        let means = self.scorers.iter().map(|scorer| format!("mean {scorer}"));
        let numbers = ["made", "tokens", "nano_usd", "median ms"].into_iter().map(str::to_owned);
        let mut rows = vec![head.chain(means).chain(numbers).collect()];
        rows.extend(self.variants.iter().map(|variant| self.sums(variant)));
        writeln!(f)?;
        write_table(f, &rows)?;
        self.candidates().iter().try_for_each(|candidate| self.write_changes(f, candidate))
    }
}

impl Comparison {
    fn row(&self, name: String, variant: &str, run: &CaseRun) -> Vec<String> {
        let end: String = run.how_it_ended().chars().take(END_SHOWN).collect();
        let scores = self.scorers.iter().map(|scorer| shown(run.score(scorer)));
        let numbers = [
            run.calls.len().to_string(),
            known(run.spent.tokens()),
            known(run.spent.cost_nano_usd),
            run.latency_ms.to_string(),
        ];
        [name, variant.to_owned(), end].into_iter().chain(scores).chain(numbers).collect()
    }

    fn sums(&self, variant: &VariantRuns) -> Vec<String> {
        let sums = variant.summary();
        let head = [variant.name.clone(), format!("{} of {}", sums.answered, sums.cases)];
        let means = self.scorers.iter().map(|scorer| shown(sums.means.get(scorer).copied().flatten()));
        let numbers = [
            sums.calls.to_string(),
            known(sums.tokens),
            known(sums.cost_nano_usd),
            sums.median_latency_ms.to_string(),
        ];
        head.into_iter().chain(means).chain(numbers).collect()
    }

    fn write_changes(&self, f: &mut fmt::Formatter<'_>, candidate: &VariantRuns) -> fmt::Result {
        let (changes, base) = (self.changes(candidate), &self.base().name);
        writeln!(f, "\n{} cases went otherwise with `{}` than with `{base}`", changes.len(), candidate.name)?;
        for change in changes {
            writeln!(f, "  {}: {}", change.case, change.what.join("; "))?;
        }
        Ok(())
    }
}

fn known(number: Option<u64>) -> String {
    number.map_or_else(|| "?".to_owned(), |number| number.to_string())
}

/// Columns as wide as their widest cell; line breaks and other control characters in a cell are shown as spaces.
fn write_table(f: &mut fmt::Formatter<'_>, rows: &[Vec<String>]) -> fmt::Result {
    let clean = |cell: &String| cell.replace(char::is_control, " ");
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(clean).collect()).collect();
    let columns = rows.first().map_or(0, Vec::len);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}
