//! CSV files as tables with headings; every fault names file, line and column, and how to mend it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use berth_api::issue::plain;

/// Where series come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// Files relative to this folder.
    Dir(PathBuf),
    /// Files that are part of the program, by name.
    Embedded(&'static [(&'static str, &'static str)]),
    /// Texts that were read already, by the name that the series has in its document.
    Texts(BTreeMap<String, String>),
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

/// What may quote the file, as part of a line.
fn text(quoted: &str) -> String {
    plain(quoted).into_owned()
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
            Self::Texts(texts) => texts.get(file).cloned().ok_or_else(|| SeriesError::Absent { file: file.to_owned() }),
        }
    }
}

pub(crate) struct Table<'a> {
    file: &'a str,
    pub(crate) headings: Vec<String>,
    records: csv::StringRecordsIntoIter<&'a [u8]>,
}

pub(crate) struct Record(csv::StringRecord);

impl Record {
    pub(crate) fn cell(&self, column: usize) -> &str {
        self.0.get(column).unwrap_or("")
    }
}

impl<'a> Table<'a> {
    /// Lines that begin with `#` are comments.
    pub(crate) fn open(file: &'a str, text: &'a str) -> Result<Self, SeriesError> {
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(text.as_bytes());
        let headings = reader.headers().map(|all| all.iter().map(str::to_owned).collect::<Vec<_>>());
        let mut table = Self { file, headings: Vec::new(), records: reader.into_records() };
        table.headings = headings.map_err(|error| table.unreadable(&error))?;
        if table.headings.is_empty() || table.headings[0].is_empty() {
            return Err(table.fault("there is no heading", "begin with a line of column names, the time first"));
        }
        Ok(table)
    }

    pub(crate) fn next(&mut self) -> Result<Option<Record>, SeriesError> {
        let record = self.records.next().transpose().map_err(|error| self.unreadable(&error))?;
        Ok(record.map(Record))
    }

    /// The place of a column that must be there.
    pub(crate) fn column(&self, heading: &str) -> Result<usize, SeriesError> {
        let found = self.headings.iter().position(|known| known == heading);
        let known = self.headings.join(", ");
        let missing =
            || self.fault(&format!("there is no column {heading}"), &format!("it has {known}; is it the right file?"));
        found.ok_or_else(missing)
    }

    /// A whole number of at most 32 bits.
    pub(crate) fn whole(&self, record: &Record, column: usize) -> Result<u64, SeriesError> {
        let text = record.cell(column);
        let fault =
            || self.cell(record, &self.headings[column], format!("{text:?} is no count"), "write a whole number");
        text.parse().ok().filter(|count| *count <= u64::from(u32::MAX)).ok_or_else(fault)
    }

    pub(crate) fn fault(&self, problem: &str, mend: &str) -> SeriesError {
        SeriesError::File { file: text(self.file), problem: text(problem), mend: text(mend) }
    }

    fn unreadable(&self, error: &csv::Error) -> SeriesError {
        self.fault(&error.to_string(), "give every row as many columns as the heading has")
    }

    pub(crate) fn cell(&self, record: &Record, column: &str, problem: String, mend: &str) -> SeriesError {
        let line = record.0.position().map_or(0, csv::Position::line);
        SeriesError::Cell {
            file: text(self.file),
            line,
            column: text(column),
            problem: text(&problem),
            mend: text(mend),
        }
    }
}
