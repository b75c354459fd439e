//! Prometheus text, written by hand. Labels come from closed enums, so that the number of series is bounded.

#[derive(Debug, Default)]
pub(crate) struct Metrics {
    text: String,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Type {
    Counter,
    Gauge,
}

impl Metrics {
    pub(crate) fn one(&mut self, name: &str, kind: Type, help: &str, value: f64) {
        self.head(name, kind, help);
        self.text.push_str(&format!("{name} {value}\n"));
    }

    /// One value for each value of one label.
    pub(crate) fn by<'a>(
        &mut self,
        name: &str,
        kind: Type,
        help: &str,
        label: &str,
        samples: impl IntoIterator<Item = (&'a str, f64)>,
    ) {
        self.head(name, kind, help);
        for (value, sample) in samples {
            self.text.push_str(&format!("{name}{{{label}=\"{value}\"}} {sample}\n"));
        }
    }

    fn head(&mut self, name: &str, kind: Type, help: &str) {
        let kind = match kind {
            Type::Counter => "counter",
            Type::Gauge => "gauge",
        };
        self.text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    pub(crate) fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_written_as_prometheus_reads_them() {
        let mut metrics = Metrics::default();
        metrics.one("berth_up", Type::Gauge, "Whether it runs.", 1.0);
        metrics.by("berth_calls_total", Type::Counter, "Calls.", "kind", [("gang", 2.5)]);
        let expected = "# HELP berth_up Whether it runs.\n# TYPE berth_up gauge\nberth_up 1\n\
            # HELP berth_calls_total Calls.\n# TYPE berth_calls_total counter\nberth_calls_total{kind=\"gang\"} 2.5\n";
        assert_eq!(metrics.finish(), expected);
    }
}
