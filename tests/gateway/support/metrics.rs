//! Prometheus text, read back.

/// The samples of one scrape.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(Vec<Sample>);

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Metrics {
    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter(|line| !line.is_empty()).map(sample).collect())
    }

    /// The sum over the samples of `name` that carry all of `labels`.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.0
            .iter()
            .filter(|sample| sample.name == name)
            .filter(|sample| labels.iter().all(|label| sample.has(*label)))
            .map(|sample| sample.value)
            .sum()
    }
}

impl Sample {
    fn has(&self, (name, value): (&str, &str)) -> bool {
        self.labels
            .iter()
            .any(|(label, own)| label == name && own == value)
    }
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}').unwrap()),
        None => (series, ""),
    };
    let labels = labels.split("\",").filter(|label| !label.is_empty());
    Sample {
        name: name.to_owned(),
        labels: labels
            .map(|label| {
                let (name, value) = label.split_once("=\"").unwrap();
                (name.to_owned(), value.trim_end_matches('"').to_owned())
            })
            .collect(),
        value: value.parse().unwrap(),
    }
}
