//! Every system call that carries messages, and messages cut at every kind of place.

use anyhow::{Result, bail, ensure};
use mcpsonar_tests::fixture::score::{Score, score};
use mcpsonar_tests::harness::{Run, Trace, check_lines, check_perfect};

fn exact(name: &str, client: &[&str], server: &[&str]) -> Result<Run> {
    let run = Trace::new(name)?.client(client, server)?;
    let score = check_perfect(&run)?;
    ensure!(score.bytes_accuracy >= 1.0, "lengths differ: {:?}", score.examples);
    Ok(run)
}

/// A test of both ends with one way to read or write, on one carrier.
macro_rules! way {
    ($($name:ident: $carrier:literal $option:literal $value:literal;)*) => {$(
        #[test]
        fn $name() -> Result<()> {
            let client = ["--script", "all", "--carrier", $carrier, $option, $value];
            exact(stringify!($name), &client, &[$option, $value]).map(drop)
        }
    )*};
}

way! {
    pipe_readv: "pipe" "--read" "readv";
    pipe_preadv2: "pipe" "--read" "preadv2";
    pipe_read_threads: "pipe" "--read" "threads";
    pipe_read_small: "pipe" "--read-size" "100";
    pipe_writev: "pipe" "--write" "writev";
    pipe_write_scattered: "pipe" "--write" "scattered";
    pipe_pwritev2: "pipe" "--write" "pwritev2";
    pipe_write_threads: "pipe" "--write" "threads";
    pair_read: "pair" "--read" "read";
    pair_readv: "pair" "--read" "readv";
    pair_preadv2: "pair" "--read" "preadv2";
    pair_recv: "pair" "--read" "recv";
    pair_recvmsg: "pair" "--read" "recvmsg";
    pair_read_threads: "pair" "--read" "threads";
    pair_writev: "pair" "--write" "writev";
    pair_write_scattered: "pair" "--write" "scattered";
    pair_pwritev2: "pair" "--write" "pwritev2";
    pair_send: "pair" "--write" "send";
    pair_sendmsg: "pair" "--write" "sendmsg";
    pair_write_threads: "pair" "--write" "threads";
    one_recv: "one" "--read" "recv";
    one_sendmsg: "one" "--write" "sendmsg";
}

#[test]
fn private_descriptors() -> Result<()> {
    exact("private_descriptors", &["--script", "all"], &["--dup-fds"]).map(drop)
}

#[test]
fn text_before_the_first_message() -> Result<()> {
    exact("text_before", &["--script", "basic"], &["--banner", "20"]).map(drop)
}

#[test]
fn chunks_of_7_bytes() -> Result<()> {
    exact("chunks_of_7", &["--script", "basic", "--chunk", "7"], &["--chunk", "7"]).map(drop)
}

#[test]
fn chunks_of_1_byte() -> Result<()> {
    exact("chunks_of_1", &["--script", "basic", "--chunk", "1"], &["--chunk", "1"]).map(drop)
}

#[test]
fn slow_chunks() -> Result<()> {
    let slow = ["--chunk", "40", "--chunk-delay-us", "300"];
    let client: Vec<&str> = ["--script", "concurrent"].into_iter().chain(slow).collect();
    exact("slow_chunks", &client, &slow).map(drop)
}

#[test]
fn seven_messages_in_one_read_and_in_one_write() -> Result<()> {
    exact("seven_in_one", &["--script", "burst"], &[])?;
    exact("seven_in_one_pair", &["--script", "burst", "--socketpair"], &[]).map(drop)
}

/// Sizes around every bound, up to 10 MB, in one write or many. What is within the budget of 256 KiB a system call is
/// exact; what is more may be lost when the ring is full, and then the call says so.
fn sizes(name: &str, client: &[&str], server: &[&str]) -> Result<()> {
    /// An agent that gets no CPU for long loses the beginnings of calls too, and says so. Then there is
    /// nothing to be checked but that.
    const ATTEMPTS: u32 = 5;
    let client: Vec<&str> = ["--script", "big"].iter().chain(client).copied().collect();
    for _ in 0..ATTEMPTS {
        let run = Trace::new(name)?.client(&client, server)?;
        let dropped = run.stats["counters"]["ring_dropped"].as_u64().unwrap_or(0);
        let score = whole(&run, dropped)?;
        if score.matched == score.truth {
            return Ok(());
        }
        ensure!(dropped > 0, "the ring lost nothing, but: {score:?}");
        println!("{dropped} records were dropped, and calls with them: again");
    }
    bail!("records were dropped in each of {ATTEMPTS} runs: is this machine too busy?")
}

/// Whether what was seen of a run is right, or says that it is not.
fn whole(run: &Run, dropped: u64) -> Result<Score> {
    check_lines(&run.calls)?;
    let score = score(&run.truth, &run.calls);
    ensure!(score.extra == 0, "{score:?}");
    ensure!(
        score.silently_wrong == 0,
        "calls are wrong and do not say that they were touched by a loss: {score:?}"
    );
    ensure!(
        dropped > 0 || (score.perfect() && score.bytes_accuracy >= 1.0),
        "the ring lost nothing, but: {score:?}"
    );
    for call in &run.calls {
        let lossy = call["loss"].as_array().is_some_and(|loss| !loss.is_empty());
        let largest = call["request_bytes"]
            .as_u64()
            .max(call["response_bytes"].as_u64())
            .unwrap_or(0);
        ensure!(
            !lossy || largest > 256 * 1024 || dropped > 0,
            "a call within the budget is touched by a loss: {call}"
        );
    }
    Ok(score)
}

#[test]
fn sizes_over_pipes() -> Result<()> {
    sizes("sizes_over_pipes", &[], &[])
}

#[test]
fn sizes_in_typescript_order() -> Result<()> {
    sizes("sizes_ts", &["--key-order", "ts"], &["--key-order", "ts"])
}

#[test]
fn sizes_over_socketpairs() -> Result<()> {
    sizes(
        "sizes_pair",
        &["--socketpair", "--key-order", "ts"],
        &["--key-order", "ts"],
    )
}

#[test]
fn sizes_in_writes_that_do_not_wait() -> Result<()> {
    sizes(
        "sizes_nowait",
        &["--write", "pwritev2", "--read", "preadv2"],
        &["--write", "pwritev2", "--read", "preadv2"],
    )
}

#[test]
fn sizes_in_two_parts() -> Result<()> {
    sizes(
        "sizes_writev",
        &["--write", "writev", "--read", "readv"],
        &["--write", "writev", "--read", "readv"],
    )
}

#[test]
fn sizes_in_chunks_of_65536() -> Result<()> {
    sizes("sizes_64k", &["--chunk", "65536"], &["--chunk", "65536"])
}

#[test]
fn sizes_in_odd_chunks() -> Result<()> {
    sizes(
        "sizes_odd",
        &["--chunk", "9973", "--max-bytes", "1048576"],
        &["--chunk", "4099"],
    )
}

#[test]
fn answers_that_wait_for_the_reader() -> Result<()> {
    let run = exact("slow_reader", &["--script", "slowread"], &[])?;
    // The client read nothing for 300 ms while 800 kB were on their way through 64 KiB.
    let waited = |call: &&serde_json::Value| {
        let parts = &call["parts_us"];
        let after = ["response_queue", "transfer"]
            .iter()
            .filter_map(|part| parts[part].as_f64())
            .sum::<f64>();
        call["tool"] == "big" && after + parts["request_queue"].as_f64().unwrap_or(0.0) > 100_000.0
    };
    ensure!(
        run.calls.iter().any(|call| waited(&call)),
        "no call shows that its reader was slow"
    );
    Ok(())
}
