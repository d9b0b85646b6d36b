//! What a cause means to whoever has to do something about it.

/// The cause in words.
pub(super) fn words(cause: Option<&str>) -> &str {
    match cause {
        Some("on_cpu") => "its own computing",
        Some("run_queue") => "waiting for a processor",
        Some("disk") => "the disk",
        Some("upstream") => "waiting for others",
        Some("lock_or_timer") => "locks or timers",
        Some("memory") => "page faults and reclaim",
        Some("throttled") => "its CPU limit",
        Some("blocked_write") => "a reader that does not read",
        Some("unknown") | None => "no single cause",
        Some(other) => other,
    }
}

/// What to do about a cause.
pub(super) fn advice(cause: &str) -> Option<&'static str> {
    Some(match cause {
        "on_cpu" => "profile the tool: it computes most of the time",
        "run_queue" => "give it a processor of its own, or move neighbours away: it is ready to run and waits",
        "disk" => "keep what it reads in memory or on a faster disk",
        "upstream" => "look at what it asks over the network: answers from there take most of the time",
        "lock_or_timer" => "look for locks, sleeps and polling in the tool: it waits on itself",
        "memory" => "raise its memory limit, or make it use less: it waits for memory",
        "throttled" => "raise its CPU limit: the limit stops it",
        "blocked_write" => "look at the client: it does not read what the server writes",
        _ => return None,
    })
}
