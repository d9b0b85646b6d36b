//! Reading the history beside its writer.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row, params_from_iter, types::Value};
use serde::Serialize;
use serde_json::value::RawValue;

use super::entry::FlagRow;
use super::limits::MAX_RECORD;
use super::state::UnixMillis;
use super::{HistoryError, schema};

const MILLIS_A_MINUTE: u64 = 60_000;

/// Reads a history. Sees what was written before each question.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    db: Connection,
}

/// One minute of one series.
#[derive(Debug)]
pub struct MinuteRow<'a> {
    /// Minutes since the Unix epoch.
    pub minute: u64,
    /// Number of the series, see [`Reader::series`].
    pub series: i64,
    /// Calls that ended in it.
    pub calls: u64,
    /// Those that the responder failed.
    pub errors: u64,
    /// Those whose time was up.
    pub timeouts: u64,
    /// Bytes of their requests and responses.
    pub bytes: u64,
    /// Encoded [`super::Sketch`].
    pub sketch: &'a [u8],
}

/// A call that was kept whole.
#[derive(Clone, Debug)]
pub struct KeptCall {
    /// When it ended.
    pub at_unix_ms: UnixMillis,
    /// Its id.
    pub call: String,
    /// Number of its series.
    pub series: i64,
    /// What it took, in microseconds.
    pub latency_us: Option<f64>,
    /// How it ended.
    pub outcome: String,
    /// Why it was kept.
    pub reason: String,
    /// What holds most of its time.
    pub cause: Option<String>,
    /// The record itself; `None` unless it was asked for.
    pub json: Option<Box<RawValue>>,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "named as in the record of a call")]
pub struct SessionRow {
    pub session: String,
    pub server: String,
    pub client: String,
    pub transport: String,
    pub protocol_version: Option<String>,
    pub first_unix_ms: UnixMillis,
    pub last_unix_ms: UnixMillis,
    pub calls: u64,
    pub errors: u64,
}

/// A process that spoke MCP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "named as in the record of a call")]
pub struct EndpointRow {
    pub pid: u32,
    pub role: String,
    pub name: String,
    pub version: Option<String>,
    pub exe: Option<String>,
    pub transport: String,
    pub first_unix_ms: UnixMillis,
    pub last_unix_ms: UnixMillis,
    pub calls: u64,
}

/// What the processes of a server used over a period.
#[derive(Clone, Debug, PartialEq)]
pub struct ResourceRow {
    /// The server.
    pub server: String,
    /// Most processes in one moment.
    pub processes: u64,
    /// Processors kept busy, mean and most.
    pub cores: (f64, f64),
    /// Physical memory in bytes, mean and most.
    pub memory: (f64, f64),
}

/// A run of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RunRow {
    /// When it began.
    pub began_unix_ms: UnixMillis,
    /// When it was last known to run.
    pub last_unix_ms: UnixMillis,
}

/// Number of a series, why its calls were kept, what dominates them, and how many they are.
pub type CauseRow = (i64, String, Option<String>, u64);

/// Which calls are wanted. All conditions have to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallFilter {
    /// Ended at or after.
    pub since: UnixMillis,
    /// Only slow ones.
    pub slow: bool,
    /// Only failed ones.
    pub errors: bool,
    /// Of this tool.
    pub tool: Option<String>,
    /// Of this server.
    pub server: Option<String>,
    /// At most so many, the newest.
    pub limit: usize,
}

impl Reader {
    /// A reader of the file.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let db = schema::open_to_read(path).map_err(|source| HistoryError::Database {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            db,
        })
    }

    fn all<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, HistoryError> {
        let rows = || -> rusqlite::Result<Vec<T>> { self.db.prepare_cached(sql)?.query_map(params, read)?.collect() };
        rows().map_err(|source| self.error(source))
    }

    fn error(&self, source: rusqlite::Error) -> HistoryError {
        HistoryError::Database {
            path: self.path.clone(),
            source,
        }
    }

    /// Numbers of series and their server, client, method and tool (empty where there is none).
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn series(&self) -> Result<Vec<(i64, [String; 4])>, HistoryError> {
        super::store::series(&self.db).map_err(|source| self.error(source))
    }

    /// Hands every minute that begins in `from..to` to `take`, oldest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn minutes(
        &self,
        from: UnixMillis,
        to: UnixMillis,
        mut take: impl FnMut(&MinuteRow<'_>),
    ) -> Result<(), HistoryError> {
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = self.db.prepare_cached(
                "SELECT minute, series, calls, errors, timeouts, request_bytes + response_bytes, sketch
                 FROM minutes WHERE minute >= ?1 AND minute < ?2",
            )?;
            let mut rows = statement.query([from.div_ceil(MILLIS_A_MINUTE), to.div_ceil(MILLIS_A_MINUTE)])?;
            while let Some(row) = rows.next()? {
                take(&MinuteRow {
                    minute: row.get(0)?,
                    series: row.get(1)?,
                    calls: row.get(2)?,
                    errors: row.get(3)?,
                    timeouts: row.get(4)?,
                    bytes: row.get(5)?,
                    sketch: row.get_ref(6)?.as_blob()?,
                });
            }
            Ok(())
        };
        read().map_err(|source| self.error(source))
    }

    /// How many calls were kept whole, by series, reason and dominant cause.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn causes(&self, from: UnixMillis, to: UnixMillis) -> Result<Vec<CauseRow>, HistoryError> {
        self.all(
            "SELECT series, reason, cause, count(*) FROM calls WHERE at_ms >= ?1 AND at_ms < ?2 GROUP BY 1, 2, 3",
            [from, to],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
    }

    /// The slowest calls that were kept whole, without their JSON.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn slowest(&self, from: UnixMillis, to: UnixMillis, limit: usize) -> Result<Vec<KeptCall>, HistoryError> {
        self.all(
            "SELECT at_ms, call, series, latency_us, outcome, reason, cause FROM calls
             WHERE at_ms >= ?1 AND at_ms < ?2 AND latency_us IS NOT NULL ORDER BY latency_us DESC LIMIT ?3",
            rusqlite::params![from, to, limit],
            kept,
        )
    }

    /// Calls that were kept whole, with their JSON, the newest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn calls(&self, filter: &CallFilter) -> Result<Vec<KeptCall>, HistoryError> {
        let mut sql = String::from(
            "SELECT c.at_ms, c.call, c.series, c.latency_us, c.outcome, c.reason, c.cause, b.json
             FROM calls c JOIN bodies b USING (id) JOIN series s ON s.id = c.series WHERE c.at_ms >= ?",
        );
        let since = i64::try_from(filter.since).unwrap_or(i64::MAX);
        let mut values = vec![Value::Integer(since)];
        match (filter.slow, filter.errors) {
            (true, true) => sql.push_str(" AND c.reason IN ('slow', 'failed')"),
            (true, false) => sql.push_str(" AND c.reason = 'slow'"),
            (false, true) => sql.push_str(" AND c.reason = 'failed'"),
            (false, false) => {}
        }
        for (column, wanted) in [("s.tool", &filter.tool), ("s.server", &filter.server)] {
            if let Some(wanted) = wanted {
                sql.push_str(&format!(" AND {column} = ?"));
                values.push(Value::Text(wanted.clone()));
            }
        }
        sql.push_str(" ORDER BY c.at_ms DESC, c.id DESC LIMIT ?");
        values.push(Value::Integer(i64::try_from(filter.limit).unwrap_or(i64::MAX)));
        let rows = self.all(&sql, params_from_iter(values), |row| {
            Ok((kept(row)?, row.get::<_, Vec<u8>>(7)?))
        })?;
        rows.into_iter()
            .map(|(call, body)| {
                let json = Some(inflate(&body)?);
                Ok(KeptCall { json, ..call })
            })
            .collect()
    }

    /// Calls that were kept whole and whose id begins so, with their JSON; at most a few.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn calls_by_id(&self, beginning: &str) -> Result<Vec<(String, Box<RawValue>)>, HistoryError> {
        // Ids are hex digits: all that begin so are below the beginning with a `g`.
        let rows = self.all(
            "SELECT c.call, b.json FROM calls c JOIN bodies b USING (id) WHERE c.call >= ?1 AND c.call < ?1 || 'g' LIMIT 8",
            [beginning],
            |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)),
        )?;
        rows.into_iter()
            .map(|(call, body)| Ok((call, inflate(&body)?)))
            .collect()
    }

    /// Faults by kind and by whose they were.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn faults(&self, from: UnixMillis, to: UnixMillis) -> Result<Vec<(String, String, u64)>, HistoryError> {
        self.all(
            "SELECT fault, target, sum(count) FROM faults WHERE minute >= ?1 AND minute < ?2 GROUP BY 1, 2 ORDER BY 3 DESC",
            [from.div_ceil(MILLIS_A_MINUTE), to.div_ceil(MILLIS_A_MINUTE)],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
    }

    /// Flags that were up at some time of `from..to`, the newest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn flags(&self, from: UnixMillis, to: UnixMillis) -> Result<Vec<FlagRow>, HistoryError> {
        self.all(
            "SELECT code, target, severity, since_ms, cleared_ms, evidence FROM flags
             WHERE since_ms < ?2 AND coalesce(cleared_ms, ?2) >= ?1 ORDER BY since_ms DESC",
            [from, to],
            |row| {
                Ok(FlagRow {
                    code: row.get(0)?,
                    target: row.get(1)?,
                    severity: row.get(2)?,
                    since_unix_ms: row.get(3)?,
                    cleared_unix_ms: row.get(4)?,
                    // It was written as JSON.
                    evidence: serde_json::from_str(&row.get::<_, String>(5)?).unwrap_or_default(),
                })
            },
        )
    }

    /// What servers used in `from..to`, by name.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn resources(&self, from: UnixMillis, to: UnixMillis) -> Result<Vec<ResourceRow>, HistoryError> {
        self.all(
            "SELECT server, max(processes), sum(cores_sum) / sum(looks), max(cores_peak), sum(memory_sum) / sum(looks),
             CAST(max(memory_peak) AS REAL) FROM resources WHERE minute >= ?1 AND minute < ?2 GROUP BY server",
            [from.div_ceil(MILLIS_A_MINUTE), to.div_ceil(MILLIS_A_MINUTE)],
            |row| {
                Ok(ResourceRow {
                    server: row.get(0)?,
                    processes: row.get(1)?,
                    cores: (row.get(2)?, row.get(3)?),
                    memory: (row.get(4)?, row.get(5)?),
                })
            },
        )
    }

    /// Sessions with a call in `from..to`, as they are at the end; the newest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn sessions(&self, from: UnixMillis, to: UnixMillis) -> Result<Vec<SessionRow>, HistoryError> {
        self.all(
            "SELECT session, server, client, transport, version, first_ms, last_ms, calls, errors FROM sessions
             WHERE last_ms >= ?1 AND first_ms < ?2 ORDER BY last_ms DESC",
            [from, to],
            |row| {
                Ok(SessionRow {
                    session: row.get(0)?,
                    server: row.get(1)?,
                    client: row.get(2)?,
                    transport: row.get(3)?,
                    protocol_version: row.get(4)?,
                    first_unix_ms: row.get(5)?,
                    last_unix_ms: row.get(6)?,
                    calls: row.get(7)?,
                    errors: row.get(8)?,
                })
            },
        )
    }

    /// Processes that spoke MCP in `from..to`, the newest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn endpoints(&self, from: UnixMillis, to: UnixMillis) -> Result<Vec<EndpointRow>, HistoryError> {
        self.all(
            "SELECT pid, role, name, version, exe, transport, first_ms, last_ms, calls FROM endpoints
             WHERE last_ms >= ?1 AND first_ms < ?2 ORDER BY last_ms DESC",
            [from, to],
            |row| {
                Ok(EndpointRow {
                    pid: row.get(0)?,
                    role: row.get(1)?,
                    name: row.get(2)?,
                    version: row.get(3)?,
                    exe: row.get(4)?,
                    transport: row.get(5)?,
                    first_unix_ms: row.get(6)?,
                    last_unix_ms: row.get(7)?,
                    calls: row.get(8)?,
                })
            },
        )
    }

    /// When the agent ran, as far as it is remembered.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn runs(&self, from: UnixMillis, to: UnixMillis) -> Result<Vec<RunRow>, HistoryError> {
        self.all(
            "SELECT began_ms, last_ms FROM runs WHERE last_ms >= ?1 AND began_ms < ?2 ORDER BY began_ms",
            [from, to],
            |row| {
                Ok(RunRow {
                    began_unix_ms: row.get(0)?,
                    last_unix_ms: row.get(1)?,
                })
            },
        )
    }
}

fn kept(row: &Row<'_>) -> rusqlite::Result<KeptCall> {
    Ok(KeptCall {
        at_unix_ms: row.get(0)?,
        call: row.get(1)?,
        series: row.get(2)?,
        latency_us: row.get(3)?,
        outcome: row.get(4)?,
        reason: row.get(5)?,
        cause: row.get(6)?,
        json: None,
    })
}

fn inflate(body: &[u8]) -> Result<Box<RawValue>, HistoryError> {
    let mut text = String::new();
    flate2::read::DeflateDecoder::new(body)
        .take(MAX_RECORD)
        .read_to_string(&mut text)
        .and_then(|_| RawValue::from_string(text).map_err(std::io::Error::from))
        .map_err(HistoryError::Record)
}
