//! Time series from CSV files: stock that is there or not, and requests as they came.
//!
//! Every fault names file, line and column, and how to mend it. Times count in milliseconds from the first row.

use std::path::PathBuf;

/// Where series come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Files relative to this folder.
    Dir(PathBuf),
    /// Files that are part of the program, by name.
    Embedded(&'static [(&'static str, &'static str)]),
}

#[derive(Debug, thiserror::Error)]
pub enum SeriesError {
    #[error("{file} cannot be read")]
    Read { file: String, source: std::io::Error },
    #[error("{file} is not among the bundled files; give a path in the fleet file that exists")]
    Absent { file: String },
    #[error("{file}, line {line}, column {column}: {problem}; {mend}")]
    Cell { file: String, line: u64, column: String, problem: String, mend: String },
    #[error("{file}: {problem}; {mend}")]
    File { file: String, problem: String, mend: String },
}

impl Source {
    /// The text of a file.
    ///
    /// # Errors
    /// It is not there, or is no UTF-8 text.
    pub fn read(&self, file: &str) -> Result<String, SeriesError> {
        match self {
            Self::Dir(dir) => std::fs::read_to_string(dir.join(file))
                .map_err(|source| SeriesError::Read { file: dir.join(file).display().to_string(), source }),
            Self::Embedded(files) => {
                let found = files.iter().find(|(name, _)| *name == file);
                found.map(|(_, text)| (*text).to_owned()).ok_or_else(|| SeriesError::Absent { file: file.to_owned() })
            }
        }
    }
}

/// Whether something is there, over time, by column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Availability {
    pub columns: Vec<String>,
    /// Milliseconds from the first row; ascending.
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
        let columns = reader.headings.split_off(1);
        if columns.is_empty() {
            return Err(reader.fault("there is no column beside the time", "add a column of 0 and 1 for each zone"));
        }
        let mut series = Self { there: vec![Vec::new(); columns.len()], times: Vec::new(), columns };
        while let Some(row) = reader.next()? {
            series.times.push(row.time);
            for (at, there) in series.there.iter_mut().enumerate() {
                there.push(match row.cell(at + 1) {
                    "1" => true,
                    "0" => false,
                    other => {
                        let problem = format!("{other:?} is neither 0 nor 1");
                        return Err(reader.cell(
                            row.line,
                            &series.columns[at],
                            problem,
                            "write 1 for available, 0 for not",
                        ));
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
        let counted = reader.headings.iter().position(|heading| heading == "requests");
        let (mut series, mut sum) = (Self::default(), 0u64);
        while let Some(row) = reader.next()? {
            let count = match counted {
                None => 1,
                Some(at) => row.cell(at).parse::<u32>().map_err(|_| {
                    let problem = format!("{:?} is no count", row.cell(at));
                    reader.cell(row.line, "requests", problem, "write a whole number")
                })?,
            };
            sum = sum.saturating_add(u64::from(count));
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

struct Rows<'a> {
    file: &'a str,
    headings: Vec<String>,
    records: csv::StringRecordsIntoIter<&'a [u8]>,
    first: Option<u64>,
    last: u64,
}

struct Row {
    line: u64,
    time: u64,
    record: csv::StringRecord,
}

impl Row {
    fn cell(&self, column: usize) -> &str {
        self.record.get(column).unwrap_or("")
    }
}

impl<'a> Rows<'a> {
    fn open(file: &'a str, text: &'a str) -> Result<Self, SeriesError> {
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(text.as_bytes());
        let headings = reader.headers().map(|all| all.iter().map(str::to_owned).collect::<Vec<_>>());
        let mut rows = Self { file, headings: Vec::new(), records: reader.into_records(), first: None, last: 0 };
        rows.headings = headings.map_err(|error| rows.unreadable(&error))?;
        if rows.headings.is_empty() || rows.headings[0].is_empty() {
            return Err(rows.fault("there is no heading", "begin with a line of column names, the time first"));
        }
        Ok(rows)
    }

    fn next(&mut self) -> Result<Option<Row>, SeriesError> {
        let Some(record) = self.records.next() else { return Ok(None) };
        let record = record.map_err(|error| self.unreadable(&error))?;
        let line = record.position().map_or(0, csv::Position::line);
        let text = record.get(0).unwrap_or("");
        let Some(time) = parse_time(text) else {
            let mend = "write it as 2023-02-16T06:00:00, or in seconds";
            return Err(self.cell(line, &self.headings[0], format!("{text:?} is no time"), mend));
        };
        let first = *self.first.get_or_insert(time);
        let since = time.checked_sub(first).filter(|since| *since >= self.last);
        let Some(since) = since else {
            let problem = format!("{text} is before the row above it");
            return Err(self.cell(line, &self.headings[0], problem, "sort the rows by time"));
        };
        self.last = since;
        Ok(Some(Row { line, time: since, record }))
    }

    fn end(&self, times: &[u64]) -> Result<(), SeriesError> {
        if times.is_empty() { Err(self.fault("there is no row", "give at least one row of data")) } else { Ok(()) }
    }

    fn fault(&self, problem: &str, mend: &str) -> SeriesError {
        SeriesError::File { file: self.file.to_owned(), problem: problem.to_owned(), mend: mend.to_owned() }
    }

    fn unreadable(&self, error: &csv::Error) -> SeriesError {
        self.fault(&error.to_string(), "give every row as many columns as the heading has")
    }

    fn cell(&self, line: u64, column: &str, problem: String, mend: &str) -> SeriesError {
        let (file, column) = (self.file.to_owned(), column.to_owned());
        SeriesError::Cell { file, line, column, problem, mend: mend.to_owned() }
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
