//! From the options to the sinks.

use std::{
    fs::File,
    io::{self, IsTerminal, Write},
};

use super::{
    Failure,
    args::{ColorArg, FormatArgs, HistogramsArg, MetricsArgs, OtlpArgs, OtlpProtocolArg, TemporalityArg},
};
use crate::{
    config::otlp_environment,
    metrics::{Options, Temporality},
    sink::{
        Colour, Human, JsonLines, LineWriter, Metering, Otlp, OtlpProtocol, OtlpSettings, Outputs, Prometheus, WhenFull,
    },
};

/// Where calls go when no file is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// Standard output.
    Stdout,
    /// Standard error: a traced command owns the standard output.
    Stderr,
}

/// The sinks that were asked for.
///
/// # Errors
/// When a file cannot be created, the collector's URL makes no sense or the address of metrics is taken.
pub fn outputs(
    format: &FormatArgs,
    otlp: &OtlpArgs,
    metrics: MetricsArgs,
    console: Console,
    when_full: WhenFull,
) -> Result<Outputs, Failure> {
    let mut outputs = Outputs::default();
    let (name, out, terminal) = open(format, console)?;
    let writer = LineWriter::spawn(name, out, when_full).map_err(|source| Failure::Io {
        what: "cannot start a thread: for the output".to_owned(),
        source,
    })?;
    if format.json {
        outputs.add(JsonLines::new(writer));
    } else {
        outputs.add(Human::new(writer, colour(format.color, terminal, no_color())));
    }
    let wanted = metrics;
    let metered = match metrics {
        MetricsArgs {
            prometheus: None,
            otlp_metrics: None,
            ..
        } => None,
        wanted => Some(metering(wanted)?),
    };
    let metrics = metered
        .as_ref()
        .and_then(|metering| metrics.otlp_metrics.map(|_| metering.source()));
    // Before the exporter, so that what it sends last is complete.
    if let Some(metering) = metered {
        outputs.add(metering);
    }
    if let Some(url) = &otlp.url {
        let settings = settings(url, otlp, wanted)?;
        outputs.add(Otlp::start(&settings, when_full, metrics)?);
    }
    Ok(outputs)
}

/// What the environment says, below what the command line does.
fn settings(url: &str, otlp: &OtlpArgs, metrics: MetricsArgs) -> Result<OtlpSettings, Failure> {
    let mut environment = otlp_environment(|name| std::env::var(name).ok())?;
    for signal in [&mut environment.traces_only, &mut environment.metrics_only] {
        (signal.endpoint, signal.protocol) = (None, None);
    }
    Ok(OtlpSettings {
        endpoint: Some(url.to_owned()),
        protocol: match otlp.protocol {
            OtlpProtocolArg::Grpc => OtlpProtocol::Grpc,
            OtlpProtocolArg::Http => OtlpProtocol::Http,
        },
        traces: true,
        metrics: metrics.otlp_metrics.is_some(),
        temporality: match metrics.otlp_metrics {
            Some(TemporalityArg::Delta) => Temporality::Delta,
            Some(TemporalityArg::Cumulative) | None => Temporality::Cumulative,
        },
        ..environment
    })
}

fn metering(wanted: MetricsArgs) -> Result<Metering, Failure> {
    let mut metering = Metering::new(Options {
        exponential: wanted.otlp_histograms == HistogramsArg::Exponential,
    });
    if let Some(address) = wanted.prometheus {
        let endpoint = Prometheus::start(address, metering.source())?;
        log::info!("metrics are at http://{}/metrics", endpoint.address());
        metering.serve(endpoint);
    }
    Ok(metering)
}

type Opened = (String, Box<dyn Write + Send>, bool);

fn open(format: &FormatArgs, console: Console) -> Result<Opened, Failure> {
    let Some(path) = &format.output else {
        return Ok(match console {
            Console::Stdout => (
                "standard output".to_owned(),
                Box::new(io::stdout()),
                io::stdout().is_terminal(),
            ),
            Console::Stderr => (
                "standard error".to_owned(),
                Box::new(io::stderr()),
                io::stderr().is_terminal(),
            ),
        });
    };
    match File::create(path) {
        Ok(file) => {
            let terminal = file.is_terminal();
            Ok((path.display().to_string(), Box::new(file), terminal))
        }
        Err(source) => Err(Failure::File {
            action: "create the output",
            path: path.clone(),
            source,
        }),
    }
}

/// NO_COLOR counts when it is set and not empty (no-color.org).
pub(super) fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

pub(super) fn colour(choice: ColorArg, terminal: bool, no_color: bool) -> Colour {
    match choice {
        ColorArg::Always => Colour::On,
        ColorArg::Auto if terminal && !no_color => Colour::On,
        ColorArg::Auto | ColorArg::Never => Colour::Off,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_only_on_a_terminal() {
        assert_eq!(colour(ColorArg::Auto, true, false), Colour::On);
        assert_eq!(colour(ColorArg::Auto, true, true), Colour::Off);
        assert_eq!(colour(ColorArg::Auto, false, false), Colour::Off);
        assert_eq!(colour(ColorArg::Always, false, true), Colour::On);
        assert_eq!(colour(ColorArg::Never, true, false), Colour::Off);
    }
}
