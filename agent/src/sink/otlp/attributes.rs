//! Attributes of spans, events, links and resources.

use std::net::SocketAddr;

use opentelemetry::{Array, KeyValue, StringValue, Value};

use crate::semconv::AddressNames;

/// What an allocator takes for a text beside its bytes, on average: its own account, and rounding.
const ALLOCATION: usize = 16;

/// Attributes of one of them. What is not known is left out.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes(pub(super) Vec<KeyValue>);

impl Attributes {
    pub(super) fn text(&mut self, name: &'static str, value: Option<&str>) {
        self.0.extend(value.map(|value| KeyValue::new(name, value.to_owned())));
    }

    /// A list; none where there is nothing in it.
    pub(super) fn texts<S: AsRef<str>>(&mut self, name: &'static str, values: &[S]) {
        if !values.is_empty() {
            let values = values.iter().map(|value| StringValue::from(value.as_ref().to_owned()));
            let values = Value::Array(Array::String(values.collect()));
            self.0.push(KeyValue::new(name, values));
        }
    }

    pub(super) fn number(&mut self, name: &'static str, value: u64) {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        self.0.push(KeyValue::new(name, value));
    }

    pub(super) fn flag(&mut self, name: &'static str, value: bool) {
        self.0.push(KeyValue::new(name, value));
    }

    /// Microseconds as seconds.
    pub(super) fn seconds(&mut self, name: &'static str, micros: Option<f64>) {
        self.0.extend(micros.map(|micros| KeyValue::new(name, micros / 1e6)));
    }

    pub(super) fn address(&mut self, [address, port]: AddressNames, value: Option<SocketAddr>) {
        if let Some(value) = value {
            self.text(address, Some(&value.ip().to_string()));
            self.number(port, u64::from(value.port()));
        }
    }

    /// As they are kept while they wait: without the room that was left for more, which is as much again.
    pub(super) fn fitted(mut self) -> Vec<KeyValue> {
        self.0.shrink_to_fit();
        self.0
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|it| it.key.as_str() == name)
    }
}

/// Bytes that they take in memory.
pub(super) fn size(attributes: &[KeyValue]) -> usize {
    let text = |value: &Value| match value {
        Value::String(text) => ALLOCATION + text.as_str().len(),
        Value::Array(Array::String(texts)) => texts
            .iter()
            .map(|text| size_of::<StringValue>() + ALLOCATION + text.as_str().len())
            .sum(),
        _ => 0,
    };
    size_of_val(attributes) + attributes.iter().map(|it| text(&it.value)).sum::<usize>()
}
