//! What the API answers (<https://prometheus.io/docs/prometheus/latest/querying/api/>).

use std::collections::BTreeMap;

use serde::Deserialize;

/// One series of an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Series {
    pub(super) labels: BTreeMap<String, String>,
    /// Unix time in seconds, and the value; finite ones only.
    pub(super) points: Vec<(f64, f64)>,
}

impl Series {
    /// A label's value; empty where it has none, which Prometheus does not tell apart.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// The value of an instant.
    pub(super) fn value(&self) -> f64 {
        self.points.last().map_or(0.0, |(_, value)| *value)
    }
}

/// What has come.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Series(Vec<Series>),
    /// It is the API, and it says no.
    Error(String),
    /// It is something else.
    Other,
}

#[derive(Deserialize)]
struct Document {
    status: String,
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    metric: BTreeMap<String, String>,
    /// Of an instant.
    value: Option<(f64, String)>,
    /// Of a range.
    #[serde(default)]
    values: Vec<(f64, String)>,
}

pub(super) fn parse(body: &[u8]) -> Answer {
    match serde_json::from_slice::<Document>(body) {
        Ok(Document {
            status,
            data: Some(data),
            ..
        }) if status == "success" => Answer::Series(data.result.into_iter().map(series).collect()),
        Ok(Document { status, error, .. }) if status == "error" => Answer::Error(error),
        Ok(_) | Err(_) => Answer::Other,
    }
}

fn series(row: Row) -> Series {
    let points = row.values.into_iter().chain(row.value);
    Series {
        labels: row.metric,
        points: points
            .filter_map(|(at, text)| Some((at, text.parse::<f64>().ok().filter(|value| value.is_finite())?)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_both_kinds() {
        let instant = br#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"le":"+Inf"},"value":[1.5,"7"]}]},"stats":{}}"#;
        let Answer::Series(series) = parse(instant) else {
            panic!()
        };
        assert_eq!(
            (series[0].label("le"), series[0].label("x"), series[0].value()),
            ("+Inf", "", 7.0)
        );
        let range = br#"{"status":"success","data":{"result":[{"metric":{},"values":[[1,"2"],[2,"NaN"],[3,"4"]]}]}}"#;
        let Answer::Series(series) = parse(range) else { panic!() };
        assert_eq!(series[0].points, [(1.0, 2.0), (3.0, 4.0)]);
    }

    #[test]
    fn refusals_and_strangers() {
        let refused = br#"{"status":"error","errorType":"bad_data","error":"unknown function"}"#;
        assert_eq!(parse(refused), Answer::Error("unknown function".to_owned()));
        for other in [&b"<html>"[..], b"", b"{}", b"[]", br#"{"status":"success"}"#] {
            assert_eq!(parse(other), Answer::Other);
        }
    }
}
