//! Collectors that misbehave: what is lost is counted, and when they are well again the rest arrives.

use std::{
    io::{self, Read},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use tonic_types::StatusExt as _;

use super::*;

/// How a collector takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Well,
    /// It takes longer than anybody waits.
    Slow,
    /// It answers with this status.
    Status(&'static str),
    /// It closes its side without an answer.
    HalfClosed,
    /// What it answers is not HTTP.
    Garbage,
    /// Its answer says that it is protobuf, and is not.
    Nonsense,
    /// Its answer has no end.
    Endless,
    /// It keeps less than it was given.
    Partial(u64),
}

/// A collector whose manner can change.
#[derive(Clone, Debug)]
pub(super) struct Collector {
    pub(super) manner: Arc<Mutex<Manner>>,
    /// Spans that it has taken.
    pub(super) spans: Arc<AtomicU64>,
    /// Requests that it has had, taken or not.
    pub(super) requests: Arc<AtomicU64>,
}

impl Collector {
    pub(super) fn new(manner: Manner) -> Self {
        Self {
            manner: Arc::new(Mutex::new(manner)),
            spans: Arc::default(),
            requests: Arc::default(),
        }
    }

    /// Takes connections until the test ends.
    pub(super) fn listen(&self, listener: TcpListener) {
        let collector = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let collector = collector.clone();
                thread::spawn(move || drop(collector.serve(stream)));
            }
        });
    }

    pub(super) fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// Requests of one connection.
    pub(super) fn serve(&self, stream: impl Read + Write) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head)? == 0 {
                    return Ok(());
                }
            }
            let lines = head.to_lowercase();
            let length = lines
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut body)?;
            self.requests.fetch_add(1, Ordering::AcqRel);
            let manner = *self.manner.lock().unwrap();
            let stream = reader.get_mut();
            match manner {
                Manner::Well | Manner::Partial(_) => {
                    if lines.contains("content-encoding: gzip") {
                        let mut plain = Vec::new();
                        flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain)?;
                        body = plain;
                    }
                    let request = ExportTraceServiceRequest::decode(&body[..]).unwrap();
                    let scopes = request.resource_spans.iter().flat_map(|of| &of.scope_spans);
                    let count: usize = scopes.map(|scope| scope.spans.len()).sum();
                    self.spans.fetch_add(count as u64, Ordering::AcqRel);
                    let answer = match manner {
                        Manner::Partial(refused) => partial(refused),
                        _ => partial(0),
                    };
                    let answer = answer.encode_to_vec();
                    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", answer.len())?;
                    stream.write_all(&answer)?;
                }
                Manner::Slow => thread::sleep(Duration::from_secs(60)),
                Manner::Status(status) => write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")?,
                Manner::HalfClosed => return Ok(()),
                Manner::Garbage => stream.write_all(&[0xff; 300])?,
                Manner::Nonsense => write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\u{7f}\u{7f}\u{7f}")?,
                Manner::Endless => {
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
                    loop {
                        stream.write_all(&[b'x'; 4096])?;
                    }
                }
            }
            stream.flush()?;
        }
    }
}

/// The answer of one that has refused so many spans.
fn partial(refused: u64) -> ExportTraceServiceResponse {
    let partial_success = ExportTracePartialSuccess {
        rejected_spans: refused.cast_signed(),
        error_message: "enough\u{1b}[31m".to_owned(),
    };
    ExportTraceServiceResponse {
        partial_success: (refused > 0).then_some(partial_success),
    }
}

/// Little room, and little patience.
pub(super) fn small(url: &str, protocol: OtlpProtocol) -> OtlpSettings {
    OtlpSettings {
        timeout: Duration::from_millis(500),
        queue: 20,
        batch: 10,
        delay: Duration::from_millis(1),
        ..to(url, protocol)
    }
}

pub(super) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < until, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn export(otlp: &mut Otlp, calls: u64) {
    for sequence in 0..calls {
        otlp.call(&with(|call| call.sequence = sequence)).unwrap();
    }
}

/// Every span has arrived, or was refused, or was dropped; and who asks is told.
pub(super) fn account(otlp: &mut Otlp, calls: u64) -> [u64; 2] {
    drop(otlp.finish(&Losses::default()));
    let [(dropped_name, dropped), (refused_name, refused), _points] = otlp.losses();
    assert_eq!(
        (dropped_name, refused_name),
        ("otlp_spans_dropped", "otlp_spans_refused")
    );
    let delivered = otlp.fate.delivered.load(Ordering::Acquire);
    assert_eq!(
        delivered + refused + dropped,
        2 * calls,
        "{delivered} {refused} {dropped}"
    );
    [refused, dropped]
}

/// While it misbehaves more comes than there is room for; then it is well again.
fn recovers(manner: Manner) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let collector = Collector::new(manner);
    collector.listen(listener);
    let mut otlp = Otlp::start(&small(&url, OtlpProtocol::Http), WhenFull::Drop, None).unwrap();
    let start = Instant::now();
    export(&mut otlp, 100);
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "it cost {:?}",
        start.elapsed()
    );
    wait_until("a second attempt", || collector.requests.load(Ordering::Acquire) >= 2);
    collector.behave(Manner::Well);
    // What has waited arrives, and so does what comes from now on.
    wait_until("the rest", || collector.spans.load(Ordering::Acquire) >= 20);
    export(&mut otlp, 1);
    wait_until("what comes then", || otlp.fate.delivered.load(Ordering::Acquire) >= 22);
    let [refused, dropped] = account(&mut otlp, 101);
    assert_eq!(refused, 0, "{manner:?}");
    assert!(
        dropped >= 2 * 100 - 30,
        "{dropped} dropped: the queue holds 20, and a batch 10"
    );
}

#[test]
fn one_that_is_slow() {
    recovers(Manner::Slow);
}

#[test]
fn one_that_is_busy() {
    recovers(Manner::Status("503 Service Unavailable\r\nretry-after: 1"));
}

#[test]
fn one_that_limits_rates() {
    recovers(Manner::Status("429 Too Many Requests"));
}

#[test]
fn one_that_closes_its_side() {
    recovers(Manner::HalfClosed);
}

#[test]
fn one_that_answers_garbage() {
    recovers(Manner::Garbage);
}

#[test]
fn one_that_answers_nonsense() {
    recovers(Manner::Nonsense);
}

#[test]
fn one_whose_answer_has_no_end() {
    recovers(Manner::Endless);
}

#[test]
fn one_that_refuses_gets_the_next_all_the_same() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let collector = Collector::new(Manner::Status("400 Bad Request"));
    collector.listen(listener);
    let settings = OtlpSettings {
        gzip: true,
        ..small(&url, OtlpProtocol::Http)
    };
    let mut otlp = Otlp::start(&settings, WhenFull::Wait, None).unwrap();
    export(&mut otlp, 5);
    wait_until("the refusal", || otlp.losses()[1].1 == 10);
    collector.behave(Manner::Partial(1));
    export(&mut otlp, 1);
    wait_until("half a success", || otlp.losses()[1].1 == 11);
    collector.behave(Manner::Well);
    export(&mut otlp, 1);
    assert_eq!(account(&mut otlp, 7), [11, 0]);
    assert_eq!(collector.spans.load(Ordering::Acquire), 4, "it was sent once each");
}

#[test]
fn one_that_comes_late() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let mut otlp = Otlp::start(
        &small(&format!("http://{address}"), OtlpProtocol::Http),
        WhenFull::Drop,
        None,
    )
    .unwrap();
    export(&mut otlp, 5);
    wait_until("a failure", || otlp.fate.spans_error.lock().unwrap().is_some());
    let collector = Collector::new(Manner::Well);
    collector.listen(TcpListener::bind(address).unwrap());
    wait_until("all of it", || otlp.fate.delivered.load(Ordering::Acquire) == 10);
    assert_eq!(account(&mut otlp, 5), [0, 0]);
}

#[test]
fn the_end_does_not_wait_for_one_that_is_not_there() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for protocol in [OtlpProtocol::Http, OtlpProtocol::Grpc] {
        let mut otlp = Otlp::start(&small(&url, protocol), WhenFull::Drop, None).unwrap();
        export(&mut otlp, 5);
        let start = Instant::now();
        let error = otlp.finish(&Losses::default()).unwrap_err().to_string();
        assert!(error.contains("10 of 10 spans were not delivered"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    }
}

#[test]
fn a_file_does_not_wait_for_ever() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut otlp = Otlp::start(&small(&url, OtlpProtocol::Http), WhenFull::Wait, None).unwrap();
    let start = Instant::now();
    export(&mut otlp, 100);
    assert!(start.elapsed() > STALLED, "it has given up at once");
    let [refused, dropped] = account(&mut otlp, 100);
    assert!(dropped >= 170 && refused + dropped == 200, "{refused} {dropped}");
}

/// gRPC that answers with the status of the moment.
struct Grpc {
    status: Arc<Mutex<Option<tonic::Status>>>,
    /// Spans that it refuses of those that it takes.
    refuses: Arc<AtomicU64>,
    spans: Arc<AtomicU64>,
}

#[tonic::async_trait]
impl TraceService for Grpc {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        if let Some(status) = self.status.lock().unwrap().clone() {
            return Err(status);
        }
        let request = request.into_inner();
        let scopes = request.resource_spans.iter().flat_map(|of| &of.scope_spans);
        let count: usize = scopes.map(|scope| scope.spans.len()).sum();
        self.spans.fetch_add(count as u64, Ordering::AcqRel);
        Ok(tonic::Response::new(partial(self.refuses.load(Ordering::Acquire))))
    }
}

#[test]
fn those_of_grpc() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let status = Arc::new(Mutex::new(None));
    let [refuses, spans] = [Arc::default(), Arc::default()];
    let service = Grpc {
        status: Arc::clone(&status),
        refuses: Arc::clone(&refuses),
        spans: Arc::clone(&spans),
    };
    let mut otlp = Otlp::start(
        &small(&format!("http://{address}"), OtlpProtocol::Grpc),
        WhenFull::Wait,
        None,
    )
    .unwrap();
    let failing = |otlp: &Otlp, part: &str| {
        let error = otlp.fate.spans_error.lock().unwrap();
        error.as_ref().is_some_and(|error| error.contains(part))
    };
    let delivered = |otlp: &Otlp| otlp.fate.delivered.load(Ordering::Acquire);
    // It is not there yet.
    export(&mut otlp, 2);
    wait_until("it is missed", || failing(&otlp, "refused"));
    let later = tonic_types::ErrorDetails::with_retry_info(Some(Duration::from_millis(10)));
    let full = tonic::Status::with_error_details(tonic::Code::ResourceExhausted, "full", later);
    *status.lock().unwrap() = Some(full);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(service));
        runtime.block_on(server.serve(address)).unwrap();
    });
    wait_until("it asks for patience", || failing(&otlp, "full"));
    *status.lock().unwrap() = Some(tonic::Status::unavailable("busy"));
    wait_until("it is busy", || failing(&otlp, "busy"));
    *status.lock().unwrap() = None;
    wait_until("it takes them", || delivered(&otlp) == 4);
    *status.lock().unwrap() = Some(tonic::Status::invalid_argument("no"));
    export(&mut otlp, 1);
    wait_until("it refuses", || otlp.losses()[1].1 == 2);
    *status.lock().unwrap() = None;
    export(&mut otlp, 1);
    wait_until("it takes the next", || delivered(&otlp) == 6);
    refuses.store(1, Ordering::Release);
    export(&mut otlp, 1);
    wait_until("it takes one of two", || {
        otlp.losses()[1].1 == 3 && delivered(&otlp) == 7
    });
    assert_eq!(account(&mut otlp, 5), [3, 0]);
    assert_eq!(spans.load(Ordering::Acquire), 8);
}

#[test]
fn garbage_for_grpc() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream: TcpStream = stream;
            drop(stream.write_all(&[0xff; 300]));
        }
    });
    let mut otlp = Otlp::start(&small(&url, OtlpProtocol::Grpc), WhenFull::Drop, None).unwrap();
    export(&mut otlp, 100);
    wait_until("a failure", || otlp.fate.spans_error.lock().unwrap().is_some());
    let [refused, dropped] = account(&mut otlp, 100);
    assert!(refused <= 30 && refused + dropped == 200, "{refused} {dropped}");
}
