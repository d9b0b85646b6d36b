//! Attributes of OTLP's messages.

use std::net::SocketAddr;

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};

use crate::semconv::AddressNames;

/// Attributes of a span, an event, a link or a resource. What is not known is left out.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes(pub(super) Vec<KeyValue>);

impl Attributes {
    pub(super) fn text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.named_text(name.to_owned(), value);
        }
    }

    pub(super) fn named_text(&mut self, name: String, value: &str) {
        self.0.push(KeyValue {
            key: name,
            value: Some(string(value)),
            ..KeyValue::default()
        });
    }

    /// A list; none where there is nothing in it.
    pub(super) fn texts<S: AsRef<str>>(&mut self, name: &str, values: &[S]) {
        if !values.is_empty() {
            let values = values.iter().map(|value| string(value.as_ref())).collect();
            self.push(name, Value::ArrayValue(ArrayValue { values }));
        }
    }

    pub(super) fn number(&mut self, name: &str, value: u64) {
        self.push(name, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    pub(super) fn flag(&mut self, name: &str, value: bool) {
        self.push(name, Value::BoolValue(value));
    }

    /// Microseconds as seconds.
    pub(super) fn seconds(&mut self, name: &str, micros: Option<f64>) {
        if let Some(micros) = micros {
            self.push(name, Value::DoubleValue(micros / 1e6));
        }
    }

    pub(super) fn address(&mut self, [address, port]: AddressNames, value: Option<SocketAddr>) {
        if let Some(value) = value {
            self.text(address, Some(&value.ip().to_string()));
            self.number(port, u64::from(value.port()));
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|it| it.key == name)
    }

    pub(super) fn push(&mut self, name: &str, value: Value) {
        self.0.push(KeyValue {
            key: name.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        });
    }
}

fn string(text: &str) -> AnyValue {
    AnyValue {
        value: Some(Value::StringValue(text.to_owned())),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn text<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a str> {
        let value = attributes.iter().find(|it| it.key == name)?.value.as_ref()?;
        match value.value.as_ref()? {
            Value::StringValue(text) => Some(text),
            _ => None,
        }
    }
}
