//! Time series from CSV files: stock that is there or not, and requests as they came.
//!
//! Every fault names file, line and column, and how to mend it. Times count in milliseconds from the first row.

use crate::table::{Record, SeriesError, Table};

/// Longest that a series may last, and the time of a simulation that follows it: a year. Whoever follows a series looks at
/// each quarter of a minute of it.
pub const LONGEST_MS: u64 = 366 * 86_400_000;

/// Whether something is there, over time, by column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Availability {
    pub columns: Vec<String>,
    /// Milliseconds from the first row; ascending, none twice.
    pub times: Vec<u64>,
    /// By column, then by row.
    pub there: Vec<Vec<bool>>,
}

/// Requests over time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Milliseconds from the first row; ascending.
    pub times: Vec<u64>,
    /// Requests up to and including each row.
    pub sums: Vec<u64>,
}

impl Availability {
    /// Reads a time column and columns of 0 and 1.
    ///
    /// # Errors
    /// The first fault of the file.
    pub fn read(file: &str, text: &str) -> Result<Self, SeriesError> {
        let mut reader = Rows::open(file, text)?;
        let columns = reader.table.headings[1..].to_vec();
        if columns.is_empty() {
            return Err(reader
                .table
                .fault("there is no column beside the time", "add a column of 0 and 1 for each zone"));
        }
        let mut series = Self { there: vec![Vec::new(); columns.len()], times: Vec::new(), columns };
        while let Some(row) = reader.next()? {
            if series.times.last() == Some(&row.time) {
                let (heading, problem) = (&reader.table.headings[0], "it is the time of the row above it");
                return Err(reader.table.cell(&row.record, heading, problem.into(), "give each time one row"));
            }
            series.times.push(row.time);
            for (at, there) in series.there.iter_mut().enumerate() {
                there.push(match row.record.cell(at + 1) {
                    "1" => true,
                    "0" => false,
                    other => {
                        let problem = format!("{other:?} is neither 0 nor 1");
                        let mend = "write 1 for available, 0 for not";
                        return Err(reader.table.cell(&row.record, &series.columns[at], problem, mend));
                    }
                });
            }
        }
        reader.end(&series.times)?;
        Ok(series)
    }

    /// Changes of one column from `offset` on: (milliseconds after `offset`, whether it is there), the first at 0.
    pub fn changes(&self, column: usize, offset: u64) -> Vec<(u64, bool)> {
        let mut changes: Vec<(u64, bool)> = Vec::new();
        let there = self.there.get(column).map_or(&[][..], |there| there);
        for (time, there) in self.times.iter().zip(there) {
            let at = time.saturating_sub(offset);
            match changes.last_mut() {
                Some(last) if at == 0 => last.1 = *there,
                Some(last) if last.1 == *there => {}
                _ => changes.push((at, *there)),
            }
        }
        changes
    }

    /// Milliseconds from the first row to the last.
    pub fn length(&self) -> u64 {
        self.times.last().copied().unwrap_or(0)
    }
}

impl Requests {
    /// Reads one request a row, or as many as the column `requests` says. Columns other than the time and it are ignored.
    ///
    /// # Errors
    /// The first fault of the file.
    pub fn read(file: &str, text: &str) -> Result<Self, SeriesError> {
        let mut reader = Rows::open(file, text)?;
        let counted = reader.table.headings.iter().position(|heading| heading == "requests");
        let (mut series, mut sum) = (Self::default(), 0u64);
        while let Some(row) = reader.next()? {
            let count = counted.map_or(Ok(1), |at| reader.table.whole(&row.record, at))?;
            sum = sum.saturating_add(count);
            series.times.push(row.time);
            series.sums.push(sum);
        }
        reader.end(&series.times)?;
        Ok(series)
    }

    /// Requests before `time`.
    pub fn before(&self, time: u64) -> u64 {
        let rows = self.times.partition_point(|at| *at < time);
        rows.checked_sub(1).map_or(0, |last| self.sums[last])
    }

    /// Milliseconds that the series covers: from its first request to its last, and one mean gap more, so that a repetition
    /// begins where the last row's share of time ends.
    pub fn length(&self) -> u64 {
        let last = self.times.last().copied().unwrap_or(0);
        last + (last / (self.times.len().saturating_sub(1)).max(1) as u64).max(1)
    }
}

/// A table whose first column is a time that never goes back.
struct Rows<'a> {
    table: Table<'a>,
    first: Option<u64>,
    last: u64,
}

struct Row {
    record: Record,
    /// Milliseconds after the first row.
    time: u64,
}

impl<'a> Rows<'a> {
    fn open(file: &'a str, text: &'a str) -> Result<Self, SeriesError> {
        Ok(Self { table: Table::open(file, text)?, first: None, last: 0 })
    }

    fn next(&mut self) -> Result<Option<Row>, SeriesError> {
        let Some(record) = self.table.next()? else { return Ok(None) };
        let text = record.cell(0);
        let fault = |problem, mend| self.table.cell(&record, &self.table.headings[0], problem, mend);
        let Some(time) = parse_time(text) else {
            return Err(fault(format!("{text:?} is no time"), "write it as 2023-02-16T06:00:00, or in seconds"));
        };
        let since = time.checked_sub(self.first.unwrap_or(time)).filter(|since| *since >= self.last);
        let Some(since) = since else {
            return Err(fault(format!("{text} is before the row above it"), "sort the rows by time"));
        };
        if since > LONGEST_MS {
            let days = LONGEST_MS / 86_400_000;
            return Err(fault(format!("{text} is more than {days} days after the first row"), "cut the file there"));
        }
        self.first.get_or_insert(time);
        self.last = since;
        Ok(Some(Row { record, time: since }))
    }

    fn end(&self, times: &[u64]) -> Result<(), SeriesError> {
        match times {
            [] => Err(self.table.fault("there is no row", "give at least one row of data")),
            _ => Ok(()),
        }
    }
}

/// Milliseconds of `2023-02-16T06:00:00`, with a space for the T, fractions and a final Z if wanted, since the year 0; or of
/// plain seconds.
pub(crate) fn parse_time(text: &str) -> Option<u64> {
    if let Some(seconds) = text.parse::<f64>().ok().filter(|seconds| (0.0..1e14).contains(seconds)) {
        return Some((seconds * 1000.0).round() as u64);
    }
    let (date, time) = text.trim_end_matches('Z').split_once(['T', ' '])?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.splitn(3, ':');
    let (hour, minute) = (time.next()?.parse::<u64>().ok()?, time.next()?.parse::<u64>().ok()?);
    let second = time.next()?.parse::<f64>().ok()?;
    let valid = (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    if !valid || hour > 23 || minute > 59 || !(0.0..61.0).contains(&second) {
        return None;
    }
    // Days since 0000-03-01, counting years from March so that the leap day comes last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    Some(((days * 24 + hour) * 60 + minute) * 60_000 + (second * 1000.0).round() as u64)
}

#[cfg(test)]
mod tests;
