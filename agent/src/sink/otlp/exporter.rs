//! The exporter of spans, and whose they are.

use opentelemetry::{Array, KeyValue, StringValue, Value};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;

use super::{
    OtlpError, OtlpProtocol,
    connection::{TIMEOUT, channel, failed, http_client, traces_url},
};
use crate::{calls::Party, semconv};

/// Builds the exporter. Within a tokio runtime.
pub(super) fn build(url: &str, protocol: OtlpProtocol) -> Result<SpanExporter, OtlpError> {
    let built = match protocol {
        OtlpProtocol::Grpc => SpanExporter::builder()
            .with_tonic()
            .with_channel(channel(url)?)
            .with_timeout(TIMEOUT)
            .build(),
        OtlpProtocol::Http => SpanExporter::builder()
            .with_http()
            .with_http_client(http_client(url)?)
            .with_endpoint(traces_url(url))
            .with_timeout(TIMEOUT)
            .build(),
    };
    built.map_err(|error| failed(url, &error))
}

/// The process that a span belongs to, as a resource.
pub(super) fn resource(owner: &Party, host_name: Option<&str>) -> Resource {
    let mut attributes = vec![KeyValue::new(
        semconv::SERVICE_NAME,
        owner.label().unwrap_or(semconv::UNKNOWN_SERVICE).to_owned(),
    )];
    let mut text = |name: &'static str, value: Option<&str>| {
        attributes.extend(value.map(|value| KeyValue::new(name, value.to_owned())));
    };
    text("service.version", owner.version.as_deref());
    text("host.name", host_name);
    if let Some(facts) = owner.facts.as_deref() {
        text(semconv::PROCESS_EXECUTABLE_NAME, facts.comm.as_deref());
        text("process.executable.path", facts.exe.as_deref());
        text("container.id", facts.container.as_deref());
        text("process.linux.cgroup", facts.cgroup.as_deref());
        attributes.push(KeyValue::new(semconv::PROCESS_PID, i64::from(facts.pid)));
        if !facts.cmdline.is_empty() {
            let args: Vec<StringValue> = facts.cmdline.iter().cloned().map(Into::into).collect();
            attributes.push(KeyValue::new("process.command_args", Value::Array(Array::String(args))));
        }
    }
    Resource::builder_empty().with_attributes(attributes).build()
}
