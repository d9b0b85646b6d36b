//! The report on a fleet: the same questions, answered by what Prometheus has scraped from agents.
//!
//! What only whole calls can tell (single slow calls and their causes, bytes, the slowest of all) is
//! not there. A call that the agents of both its ends have seen counts at both.

mod answer;
mod buckets;
mod calls;
mod database;
mod gather;
mod promql;
mod url;

pub use database::{Database, Header};

use super::Report;
use crate::history::UnixMillis;

/// Why there is no report on a fleet.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// The address.
    #[error("not the address of a Prometheus: {url}: {reason}; give one like http://prometheus:9090")]
    Url {
        /// As it was given, without a password.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Nobody answers.
    #[error("cannot reach {url}: {reason}; check that the database runs there and that this host may connect")]
    Unreachable {
        /// Where.
        url: String,
        /// Why not.
        reason: String,
    },
    /// It wants to know who asks.
    #[error(
        "{url} refuses with HTTP {status}: put name and password into the URL, or what it asks for into --header 'NAME: VALUE'"
    )]
    Refused {
        /// Where.
        url: String,
        /// 401 or 403.
        status: u16,
    },
    /// Something else answers.
    #[error(
        "{url} is no Prometheus API: {reason}; give the base of the API, which Grafana calls the URL of the data source: \
         http://prometheus:9090, http://victoria-metrics:8428, http://mimir/prometheus"
    )]
    NotPrometheus {
        /// Where.
        url: String,
        /// What came.
        reason: String,
    },
    /// A question was not understood, or is too much.
    #[error("{url} does not answer `{query}`: {reason}; a shorter --since asks for less")]
    Query {
        /// Where.
        url: String,
        /// What was asked.
        query: String,
        /// What it says.
        reason: String,
    },
    /// Other metrics are there, ours are not.
    #[error(
        "{url} has no metrics of mcpsonar in this period: have it scrape the agents \
         (prometheus.address of each, by default 127.0.0.1:9464), or ask for a longer period with --since"
    )]
    NoData {
        /// Where.
        url: String,
    },
}

impl Report {
    /// The report on all agents that `database` has metrics of, on the period from `from` to `to`.
    ///
    /// # Errors
    /// When it cannot be asked, or has no such metrics.
    pub fn of_fleet(database: &Database, from: UnixMillis, to: UnixMillis) -> Result<Self, FleetError> {
        gather::report(database, database.url(), from, to)
    }
}
