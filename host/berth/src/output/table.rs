//! Tables with aligned columns.

/// Rows of cells below upper-case headings. Columns are as wide as their widest cell; numbers stand to the right.
#[derive(Debug)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; missing cells are empty, and cells beyond the headings are dropped.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut cells: Vec<String> = cells.into_iter().collect();
        cells.resize(self.headings.len(), String::new());
        self.rows.push(cells);
    }

    pub(crate) fn render(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.headings[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        let right: Vec<bool> = (0..self.headings.len()).map(|column| self.is_numeric(column)).collect();
        let headings: Vec<String> = self.headings.iter().map(|heading| (*heading).to_owned()).collect();
        let mut text = String::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let gap = if column == 0 { "" } else { "  " };
                let pad = " ".repeat(widths[column] - cell.chars().count());
                let (before, after) = if right[column] { (pad.as_str(), "") } else { ("", pad.as_str()) };
                line.push_str(&format!("{gap}{before}{cell}{after}"));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn is_numeric(&self, column: usize) -> bool {
        let mut cells = self.rows.iter().map(|row| row[column].as_str()).filter(|cell| !matches!(*cell, "" | "-"));
        let numeric = |cell: &str| cell.starts_with(|first: char| first.is_ascii_digit() || first == '-');
        let plain = |cell: &str| cell.chars().all(|letter| letter.is_ascii_digit() || "+-.,/%".contains(letter));
        let mut any = false;
        let all = cells.all(|cell| {
            any = true;
            numeric(cell) && plain(cell)
        });
        any && all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_numbers_stand_to_the_right() {
        let mut table = Table::new(&["NAME", "NODES"]);
        table.row(["a".to_owned(), "10".to_owned()]);
        table.row(["longer".to_owned(), "-".to_owned()]);
        table.row(["b".to_owned()]);
        assert_eq!(table.render(), "NAME    NODES\na          10\nlonger      -\nb\n");
    }
}
