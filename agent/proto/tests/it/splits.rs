//! Whatever the messages and however they are split, merged, polluted or lost: no wrong pairing,
//! no panic, every byte accounted for, and without loss every call.

use std::collections::HashMap;

use crate::host::{CLIENT, Host, SERVER, STDIN, STDOUT};
use mcp_proto::{
    Carrier, Content, Direction, Event, Limits, Loss, Outcome, ProcessId, ResultType, Side, StreamId, Tracker, Transfer,
};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Request {
        from_client: bool,
        string_id: bool,
        order: u8,
        padding: usize,
    },
    /// The index picks one of the requests that are not answered.
    Answer {
        index: usize,
        error: bool,
        order: u8,
        padding: usize,
    },
    Cancel {
        index: usize,
    },
    Progress {
        index: usize,
    },
    Pollution,
    Blank,
    /// The answers to two requests in one line.
    Batch,
}

#[derive(Clone, Debug)]
struct Cut {
    /// Lengths of writes; a message may take several, a write may take several messages.
    writes: Vec<usize>,
    reads: Vec<usize>,
    pieces: Vec<usize>,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), any::<bool>(), 0..4_u8, 0..300_usize).prop_map(
            |(server, string_id, order, padding)| Step::Request { from_client: !server || string_id, string_id, order, padding }
        ),
        4 => (any::<usize>(), any::<bool>(), 0..3_u8, 0..300_usize)
            .prop_map(|(index, error, order, padding)| Step::Answer { index, error, order, padding }),
        1 => any::<usize>().prop_map(|index| Step::Cancel { index }),
        1 => any::<usize>().prop_map(|index| Step::Progress { index }),
        1 => Just(Step::Pollution),
        1 => Just(Step::Blank),
        1 => Just(Step::Batch),
    ]
}

fn cut() -> impl Strategy<Value = Cut> {
    (
        vec(1..400_usize, 1..20),
        vec(1..600_usize, 1..20),
        vec(1..200_usize, 1..10),
    )
        .prop_map(|(writes, reads, pieces)| Cut { writes, reads, pieces })
}

#[derive(Clone, Debug, PartialEq)]
enum Expected {
    Result,
    Error,
    Cancelled,
    Pending,
}

#[derive(Clone, Debug)]
struct Asked {
    number: usize,
    from_client: bool,
    id: String,
}

#[derive(Default)]
struct Script {
    /// Lines in order: true is from the client.
    lines: Vec<(bool, String)>,
    expected: Vec<Expected>,
}

fn padding(len: usize) -> String {
    r#"a\"b{}[]:,\\é "#.chars().cycle().take(len / 14 * 14).collect()
}

fn reply(asked: &Asked, error: bool, order: u8, len: usize) -> String {
    let (number, id, text) = (asked.number, &asked.id, padding(len));
    let body = if error {
        format!(r#""error":{{"message":"{text}","code":{}}}"#, 1000 + number)
    } else {
        format!(r#""result":{{"content":[{{"text":"{text}","id":1}}],"resultType":"x{number}"}}"#)
    };
    match order {
        0 => format!(r#"{{"jsonrpc":"2.0","id":{id},{body}}}"#),
        1 => format!(r#"{{{body},"jsonrpc":"2.0","id":{id}}}"#),
        _ => format!(r#"  {{ "id" : {id} , {body} , "jsonrpc" : "2.0" }} "#),
    }
}

fn script(steps: &[Step]) -> Script {
    let mut script = Script::default();
    script.lines.push((
        true,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_owned(),
    ));
    let mut open: Vec<Asked> = Vec::new();
    let mut next = 0;
    for step in steps {
        match step {
            Step::Request {
                from_client,
                string_id,
                order,
                padding: len,
            } => {
                let number = next;
                next += 1;
                let id = if *string_id {
                    format!(r#""id:{number}""#)
                } else {
                    number.to_string()
                };
                let text = padding(*len);
                let method = if *from_client {
                    "tools/call"
                } else {
                    "elicitation/create"
                };
                let params = format!(
                    r#""params":{{"arguments":{{"name":"wrong","text":"{text}"}},"name":"t{number}","_meta":{{"progressToken":{id}}}}}"#
                );
                let line = match order {
                    0 => format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}",{params}}}"#),
                    1 => format!(r#"{{"method":"{method}",{params},"jsonrpc":"2.0","id":{id}}}"#),
                    2 => format!(r#"{{{params},"id":{id},"\u006dethod":"{method}","jsonrpc":"2.0"}}"#),
                    _ => format!("{{ {params} , \"id\" : {id},\t\"method\": \"{method}\", \"jsonrpc\":\"2.0\" }}\r"),
                };
                open.push(Asked {
                    number,
                    from_client: *from_client,
                    id,
                });
                script.lines.push((*from_client, line));
                script.expected.push(Expected::Pending);
            }
            Step::Answer {
                index,
                error,
                order,
                padding,
            } if !open.is_empty() => {
                let asked = open.swap_remove(index % open.len());
                script.expected[asked.number] = if *error { Expected::Error } else { Expected::Result };
                script
                    .lines
                    .push((!asked.from_client, reply(&asked, *error, *order, *padding)));
            }
            Step::Cancel { index } if !open.is_empty() => {
                let asked = open.swap_remove(index % open.len());
                script.expected[asked.number] = Expected::Cancelled;
                let id = &asked.id;
                let line =
                    format!(r#"{{"method":"notifications/cancelled","params":{{"requestId":{id}}},"jsonrpc":"2.0"}}"#);
                script.lines.push((asked.from_client, line));
            }
            Step::Progress { index } if !open.is_empty() => {
                let asked = &open[index % open.len()];
                let id = &asked.id;
                let line = format!(
                    r#"{{"method":"notifications/progress","params":{{"progressToken":{id},"progress":0.5}},"jsonrpc":"2.0"}}"#
                );
                script.lines.push((!asked.from_client, line));
            }
            Step::Pollution => script.lines.push((false, "[INFO] {not json} \"quote".to_owned())),
            Step::Blank => script.lines.push((false, "\r".to_owned())),
            Step::Batch => {
                let (now, later): (Vec<_>, Vec<_>) = open.drain(..).partition(|asked| asked.from_client);
                open = later;
                for asked in &now {
                    script.expected[asked.number] = Expected::Result;
                }
                if !now.is_empty() {
                    let all: Vec<_> = now.iter().map(|asked| reply(asked, false, 0, 0)).collect();
                    script.lines.push((false, format!("[{}]", all.join(" , "))));
                }
            }
            _ => {}
        }
    }
    script
}

/// Plays a script; `lose(n)` says whether the n-th write's record is lost. Without `merge`, each
/// line is a write of its own.
fn play(script: &Script, cut: &Cut, merge: bool, lose: &dyn Fn(usize) -> bool, hole: &dyn Fn(usize) -> bool) -> Host {
    let mut host = Host::new();
    let mut writes = cut.writes.iter().cycle();
    let mut reads = cut.reads.iter().cycle();
    let mut number = 0;
    let mut index = 0;
    while index < script.lines.len() {
        // A run of lines of one direction reaches the stream in any portions.
        let from_client = script.lines[index].0;
        let mut run = String::new();
        while let Some((direction, line)) = script.lines.get(index)
            && *direction == from_client
            && (merge || run.is_empty())
        {
            run += line;
            run += "\n";
            index += 1;
        }
        let (stream, writer, reader) = if from_client {
            (STDIN, CLIENT, SERVER)
        } else {
            (STDOUT, SERVER, CLIENT)
        };
        let mut rest = run.as_bytes();
        while !rest.is_empty() {
            let len = if merge {
                (*writes.next().unwrap()).min(rest.len())
            } else {
                rest.len()
            };
            let (bytes, after) = rest.split_at(len);
            rest = after;
            number += 1;
            if lose(number) {
                host.lost_syscall(stream, Side::Writer, len as u64);
                continue;
            }
            let mut pieces = Vec::new();
            let mut at = 0;
            for size in cut.pieces.iter().cycle() {
                let end = (at + size).min(len);
                pieces.push((at as u64, &bytes[at..end]));
                at = end;
                if at == len {
                    break;
                }
            }
            if !merge && hole(number) && pieces.len() > 2 {
                pieces.drain(1..pieces.len() - 1);
            }
            host.syscall(stream, Side::Writer, writer, len as u64, &pieces);
        }
        let mut left = run.len();
        while left > 0 {
            let len = (*reads.next().unwrap()).min(left);
            left -= len;
            host.read(stream, reader, len as u64);
        }
    }
    host
}

/// Every call that was answered was answered by its own answer.
fn check_pairing(host: &Host, script: &Script) -> Result<HashMap<usize, Outcome>, TestCaseError> {
    let mut outcomes = HashMap::new();
    for call in &host.calls {
        let id = call.request_id.0.trim_matches('"').trim_start_matches("id:").to_owned();
        let number: usize = id.parse().unwrap();
        if let Some(tool) = &call.tool {
            prop_assert_eq!(&**tool, &format!("t{number}"));
        }
        match call.outcome {
            Outcome::Ok => {
                let own = Some(ResultType::Other(format!("x{number}").into()));
                let unknown =
                    call.loss.contains(&Loss::ResponseTruncated) && call.result_type == Some(ResultType::Complete);
                prop_assert!(call.result_type == own || unknown, "{:?}", call);
                prop_assert_eq!(&script.expected[number], &Expected::Result);
            }
            Outcome::RpcError => {
                let unknown = call.loss.contains(&Loss::ResponseTruncated) && call.error_code.is_none();
                prop_assert!(call.error_code == Some(1000 + number as i64) || unknown, "{:?}", call);
                prop_assert_eq!(&script.expected[number], &Expected::Error);
            }
            Outcome::Cancelled => prop_assert_eq!(&script.expected[number], &Expected::Cancelled),
            _ => {}
        }
        prop_assert!(outcomes.insert(number, call.outcome).is_none(), "{number} twice");
    }
    Ok(outcomes)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn without_loss_every_call_comes_out(steps in vec(step(), 1..60), cut in cut()) {
        let script = script(&steps);
        let mut host = play(&script, &cut, true, &|_| false, &|_| false);
        let stats = host.finish();
        let total: usize = script.lines.iter().map(|(_, line)| line.len() + 1).sum();
        prop_assert_eq!(stats.bytes, total as u64);
        prop_assert_eq!((stats.bytes_missing, stats.bytes_pending), (0, 0));
        let outcomes = check_pairing(&host, &script)?;
        prop_assert_eq!(outcomes.len(), script.expected.len());
        for (number, expected) in script.expected.iter().enumerate() {
            let outcome = match expected {
                Expected::Result => Outcome::Ok,
                Expected::Error => Outcome::RpcError,
                Expected::Cancelled => Outcome::Cancelled,
                Expected::Pending => Outcome::Pending,
            };
            prop_assert_eq!(outcomes[&number], outcome);
        }
        // Whoever is answered was read first, and nothing is read before it is written.
        for call in &host.calls {
            prop_assert!(call.loss.is_empty(), "{:?}", call);
            if call.outcome == Outcome::Cancelled {
                // Ends when the cancellation is written, maybe before anything is read.
                continue;
            }
            let half = call.request;
            prop_assert!(half.first_written <= half.last_written && half.first_written < half.first_read);
            prop_assert!(half.first_read.is_some() && half.first_read <= half.last_read);
            if let Some(half) = call.response {
                prop_assert!(half.first_written.is_some() && half.first_written <= half.last_written);
                prop_assert!(half.first_written < half.first_read && half.first_read <= half.last_read);
            }
        }
    }

    #[test]
    fn lost_records_never_pair_wrongly(
        steps in vec(step(), 1..60),
        cut in cut(),
        merge in any::<bool>(),
        lost in vec(any::<bool>(), 1..30),
        rarely in 1..6_usize,
    ) {
        let script = script(&steps);
        let lose = |n: usize| n > 1 && n.is_multiple_of(rarely) && lost[n % lost.len()];
        let mut host = play(&script, &cut, merge, &lose, &|_| false);
        let stats = host.finish();
        let outcomes = check_pairing(&host, &script)?;
        prop_assert!(outcomes.len() <= script.expected.len());
        let total: usize = script.lines.iter().map(|(_, line)| line.len() + 1).sum();
        prop_assert!(stats.bytes <= total as u64);
    }

    #[test]
    fn holes_in_the_middle_are_bridged(steps in vec(step(), 1..40), cut in cut(), holes in vec(any::<bool>(), 1..30)) {
        let script = script(&steps);
        let hole = |n: usize| n > 1 && holes[n % holes.len()];
        let mut host = play(&script, &cut, false, &|_| false, &hole);
        let stats = host.finish();
        check_pairing(&host, &script)?;
        let total: usize = script.lines.iter().map(|(_, line)| line.len() + 1).sum();
        prop_assert_eq!(stats.bytes, total as u64);
    }

    #[test]
    fn anything_at_all(
        transfers in vec(
            (
                (0..4_u64, any::<bool>(), 0..3_u64, any::<bool>(), any::<bool>()),
                (0..5000_u64, 0..3000_u64, 0..3000_u64, vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'{'), Just(b'}'), Just(b'\n'), Just(b'\\')], 0..60)),
                (0..1000_u64, 0..50_u64, 0..8_u8),
            ),
            0..80,
        ),
    ) {
        let mut tracker = Tracker::new(Limits { streams: 3, ..Limits::default() });
        for ((stream, writer, process, fresh, last), (offset, len, at, mut bytes), (entered, took, then)) in transfers {
            let messages: [&[u8]; 4] = [
                b"",
                b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}\n",
                b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n",
                b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":1}}\n",
            ];
            if then % 2 == 0 {
                bytes.splice(0..0, messages[then as usize / 2].iter().copied());
            }
            tracker.transfer(&Transfer {
                stream: StreamId(stream),
                pair: None,
                carrier: Carrier::Pipe,
                fresh,
                absolute: false,
                ends: None,
                side: if writer { Side::Writer } else { Side::Reader },
                process: ProcessId(process),
                entered,
                exited: entered + took,
                offset: if then == 7 { u64::MAX - offset } else { offset },
                len,
                content: Content { at: if then == 6 { u64::MAX - at } else { at % 64 }, bytes: &bytes },
                last,
            });
            match then {
                1 => tracker.process_exited(ProcessId(process), entered),
                3 => tracker.handle_timeout(entered * 1_000_000_000),
                _ => {}
            }
            while tracker.poll_event().is_some() {}
        }
        tracker.finish(u64::MAX);
        while let Some(event) = tracker.poll_event() {
            if let Event::Call(call) = event {
                prop_assert!(matches!(call.direction, Direction::ClientToServer | Direction::ServerToClient));
            }
        }
        let stats = tracker.stats();
        prop_assert_eq!(stats.bytes_pending, 0);
    }
}
