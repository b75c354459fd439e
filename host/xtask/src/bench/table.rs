//! Figures as tables for people: a map of numbers is a row, a map of such maps a table with a column a name.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::Figures;

/// All figures, under their names.
pub(super) fn render(figures: &Figures) -> String {
    let mut out = String::new();
    for (name, value) in figures {
        section(&mut out, name, value);
    }
    out
}

fn section(out: &mut String, name: &str, value: &Value) {
    let Value::Object(map) = value else {
        _ = writeln!(out, "{name}: {}\n", cell(value));
        return;
    };
    if depth(map) > 2 {
        map.iter().for_each(|(inner, value)| section(out, &format!("{name} {inner}"), value));
        return;
    }
    _ = writeln!(out, "{name}");
    if depth(map) < 2 {
        let width = map.keys().map(String::len).max().unwrap_or(0);
        for (name, value) in map {
            _ = writeln!(out, "  {name:<width$}  {}", cell(value));
        }
    } else {
        matrix(out, map);
    }
    out.push('\n');
}

fn matrix(out: &mut String, rows: &Map<String, Value>) {
    let mut columns: Vec<&str> = Vec::new();
    for name in rows.values().filter_map(Value::as_object).flat_map(Map::keys) {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    let text = |row: &Value, column: &str| row.get(column).map_or(String::new(), cell);
    let width =
        |column: &&str| rows.values().map(|row| text(row, column).len()).chain([column.len()]).max().unwrap_or(0);
    let widths: Vec<usize> = columns.iter().map(width).collect();
    let first = rows.keys().map(String::len).max().unwrap_or(0);
    let mut line = |name: &str, cells: Vec<String>| {
        _ = write!(out, "  {name:<first$}");
        for (cell, width) in cells.iter().zip(&widths) {
            _ = write!(out, "  {cell:>width$}");
        }
        out.push('\n');
    };
    line("", columns.iter().map(|column| (*column).to_owned()).collect());
    for (name, row) in rows {
        line(name, columns.iter().map(|column| text(row, column)).collect());
    }
}

fn depth(map: &Map<String, Value>) -> usize {
    1 + map.values().filter_map(Value::as_object).map(depth).max().unwrap_or(0)
}

fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn maps_of_maps_are_tables() {
        let figures = json!({"a": {"x": {"10": 1.5, "100": 22}, "long": {"10": 3}}, "b": {"p50": 1}, "c": 7});
        let text = render(figures.as_object().expect("an object"));
        assert_eq!(text, "a\n         10  100\n  x     1.5   22\n  long    3     \n\nb\n  p50  1\n\nc: 7\n\n");
    }
}
