#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use super::*;
use crate::table::Source;

const STOCK: &str = "time_utc,a,b\n2023-02-28T23:55:00,0,1\n2023-03-01T00:00:00,1,1\n2023-03-01T00:05:00,1,0\n";

#[test]
fn stock_is_read_as_changes_from_an_offset() {
    let series = Availability::read("stock.csv", STOCK).unwrap();
    assert_eq!(series.times, [0, 300_000, 600_000]);
    assert_eq!(series.changes(0, 0), [(0, false), (300_000, true)]);
    assert_eq!(series.changes(1, 0), [(0, true), (600_000, false)]);
    assert_eq!(series.changes(0, 280_000), [(0, false), (20_000, true)]);
    assert_eq!(series.changes(0, 300_000), [(0, true)]);
}

#[test]
fn requests_are_counted_by_row_or_by_column() {
    let trace = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n";
    let requests = Requests::read("load.csv", trace).unwrap();
    assert_eq!((requests.times.as_slice(), requests.sums.as_slice()), (&[0, 4314][..], &[1, 2][..]));
    let requests = Requests::read("load.csv", "# where it is from\nseconds,requests\n0,5\n10,7\n").unwrap();
    assert_eq!((requests.before(10_000), requests.before(10_001), requests.length()), (5, 12, 20_000));
}

#[test]
fn a_fault_names_file_line_column_and_mend() {
    let stock = |text: &str| Availability::read("s.csv", text).unwrap_err().to_string();
    let load = |text: &str| Requests::read("l.csv", text).unwrap_err().to_string();
    let cases = [
        (
            stock("time,a\n0,1\n300,x\n"),
            "s.csv, line 3, column a: \"x\" is neither 0 nor 1; write 1 for available, 0 for not",
        ),
        (
            stock("time,a\nsoon,1\n"),
            "s.csv, line 2, column time: \"soon\" is no time; write it as 2023-02-16T06:00:00, or in seconds",
        ),
        (
            stock("time,a\n300,1\n0,1\n"),
            "s.csv, line 3, column time: 0 is before the row above it; sort the rows by time",
        ),
        (
            stock("time,a\n0,1\n300,1\n300,0\n"),
            "s.csv, line 4, column time: it is the time of the row above it; give each time one row",
        ),
        (stock("time\n0\n"), "s.csv: there is no column beside the time; add a column of 0 and 1 for each zone"),
        (stock("time,a\n"), "s.csv: there is no row; give at least one row of data"),
        (stock(""), "s.csv: there is no heading; begin with a line of column names, the time first"),
        (load("time,requests\n0,-1\n"), "l.csv, line 2, column requests: \"-1\" is no count; write a whole number"),
    ];
    for (found, wanted) in cases {
        assert_eq!(found, wanted);
    }
    assert!(stock("time,a\n0,1,1\n").starts_with("s.csv: CSV error"), "{}", stock("time,a\n0,1,1\n"));
}

#[test]
fn a_series_of_more_than_a_year_is_refused() {
    let year = LONGEST_MS / 1000;
    assert_eq!(
        Requests::read("l.csv", &format!("time\n5\n{}\n", year + 5)).map(|series| series.times.len()).ok(),
        Some(2)
    );
    let found = Requests::read("l.csv", "time\n0\n99999999999999\n").unwrap_err().to_string();
    assert_eq!(
        found,
        "l.csv, line 3, column time: 99999999999999 is more than 366 days after the first row; cut the file there"
    );
}

#[test]
fn times_are_days_of_the_calendar() {
    let day = |text: &str| parse_time(text).unwrap() / 86_400_000;
    assert_eq!(day("2024-03-01T00:00:00") - day("2024-02-28T00:00:00"), 2);
    assert_eq!(day("2023-03-01T00:00:00Z") - day("2023-02-28T23:59:59"), 1);
    assert_eq!(day("2001-01-01 00:00:00") - day("2000-01-01 00:00:00"), 366);
    assert_eq!(parse_time("12.5"), Some(12_500));
    for bad in ["", "-1", "2023-13-01T00:00:00", "2023-01-01", "2023-01-01T25:00:00", "2023-01-01T00:00", "nan"] {
        assert_eq!(parse_time(bad), None, "{bad}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let missing = Source::Dir("/nowhere".into()).read("x.csv").unwrap_err();
    assert_eq!(missing.to_string(), "/nowhere/x.csv cannot be read");
    let missing = Source::Embedded(&[("a.csv", "")]).read("b.csv").unwrap_err();
    assert!(missing.to_string().starts_with("b.csv is not among the bundled files"));
}
