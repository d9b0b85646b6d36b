//! Command lines without their secrets, cut to a bounded size.

/// Arguments kept of a command line.
pub const MAX_ARGS: usize = 64;
/// Bytes kept of one argument.
pub const MAX_ARG_BYTES: usize = 256;

const MASK: &str = "***";

/// A word that makes the name of an option or variable that of a secret.
const SECRET_WORDS: [&str; 14] = [
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "apikey",
    "key",
    "credential",
    "credentials",
    "auth",
    "authorization",
    "bearer",
    "cookie",
];

/// Prefixes by which issuers mark their tokens, so that they show even as bare arguments.
const TOKEN_PREFIXES: [&str; 14] = [
    "sk-",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "AIza",
    "eyJ",
    "hf_",
];

/// The arguments with the values of secrets replaced by `***`, at most [`MAX_ARGS`] of at most
/// [`MAX_ARG_BYTES`] bytes each. What was left out shows as `…`.
#[must_use]
pub fn redact_args<S: AsRef<str>>(args: &[S]) -> Vec<String> {
    let mut out = Vec::with_capacity(args.len().min(MAX_ARGS + 1));
    let mut secret_follows = false;
    for (index, arg) in args.iter().enumerate() {
        if index == MAX_ARGS {
            out.push("…".to_owned());
            break;
        }
        let arg = arg.as_ref();
        // An option after an option that wants a secret: the first one was a switch.
        let is_value = secret_follows && !arg.starts_with("--");
        out.push(if is_value {
            MASK.to_owned()
        } else {
            cut(&redact_one(arg))
        });
        secret_follows = asks_for_secret(arg);
    }
    out
}

/// `--token`, `--api-key`, a bare `Bearer`, `Authorization:Bearer`: the next argument is the secret.
fn asks_for_secret(arg: &str) -> bool {
    let last = arg.rsplit([':', '=']).next().unwrap_or(arg);
    let scheme = last.eq_ignore_ascii_case("bearer") || (last.len() < arg.len() && last.eq_ignore_ascii_case("basic"));
    scheme || (arg.starts_with('-') && !arg.contains(['=', ' ']) && is_secret_name(arg))
}

fn redact_one(arg: &str) -> String {
    // NAME=VALUE, wherever the name is a secret's; the value may hold spaces.
    if let Some((name, value)) = arg.split_once('=')
        && !value.is_empty()
        && !name.contains([' ', '/'])
        && is_secret_name(name)
    {
        return format!("{name}={MASK}");
    }
    // JSON given as an argument is configuration, and configuration is where keys are.
    if arg.starts_with(['{', '[']) && arg.contains('"') {
        return MASK.to_owned();
    }
    if arg.contains(' ') {
        redact_words(arg)
    } else {
        redact_bare(arg)
    }
}

/// A shell line or a header: every word on its own, and what follows a word that asks for a secret.
fn redact_words(line: &str) -> String {
    let mut words = Vec::new();
    let mut secret_follows = false;
    let mut open_quote: Option<char> = None;
    for word in line.split(' ') {
        if let Some(quote) = open_quote {
            if word.contains(quote) {
                open_quote = None;
            }
            continue;
        }
        let scheme = ["bearer", "basic"].iter().any(|s| word.eq_ignore_ascii_case(s));
        let masked = if secret_follows && !scheme && !word.is_empty() {
            MASK.to_owned()
        } else {
            redact_one(word)
        };
        if masked.ends_with(MASK) {
            open_quote = unclosed_quote(word);
        }
        let header = word.strip_suffix(':').is_some_and(is_secret_name);
        secret_follows = header || asks_for_secret(word) || scheme || (secret_follows && word.is_empty());
        words.push(masked);
    }
    words.join(" ")
}

fn unclosed_quote(word: &str) -> Option<char> {
    let start = word.find(['"', '\''])?;
    let quote = word[start..].chars().next()?;
    (word.matches(quote).count() % 2 == 1).then_some(quote)
}

/// An argument that names nothing: a token by its looks, a `Name:value` header, or the user
/// information and query of a URL.
fn redact_bare(arg: &str) -> String {
    if TOKEN_PREFIXES.iter().any(|prefix| arg.starts_with(prefix)) && arg.len() >= 16 {
        return MASK.to_owned();
    }
    if let Some((scheme, rest)) = arg.split_once("://") {
        return redact_url(scheme, rest);
    }
    match arg.split_once(':') {
        Some((name, value)) if !value.is_empty() && is_secret_name(name) => format!("{name}:{MASK}"),
        _ => arg.to_owned(),
    }
}

fn redact_url(scheme: &str, rest: &str) -> String {
    let (address, query) = rest.split_once('?').map_or((rest, None), |(a, q)| (a, Some(q)));
    let authority_end = address.find('/').unwrap_or(address.len());
    let (authority, path) = address.split_at(authority_end);
    let authority = match authority.rsplit_once('@') {
        Some((_, host)) => format!("{MASK}@{host}"),
        None => authority.to_owned(),
    };
    let query = query.map_or_else(String::new, |_| format!("?{MASK}"));
    format!("{scheme}://{authority}{path}{query}")
}

/// Whether one of the words of a name (split at `-`, `_`, `.`, and at camelCase humps) is a secret's.
fn is_secret_name(name: &str) -> bool {
    let mut word = String::new();
    let mut previous_lower = false;
    for c in name.chars().chain(['-']) {
        let hump = c.is_ascii_uppercase() && previous_lower;
        if !c.is_ascii_alphanumeric() || hump {
            if is_secret_word(&word) {
                return true;
            }
            word.clear();
        }
        if c.is_ascii_alphanumeric() {
            word.push(c.to_ascii_lowercase());
        }
        previous_lower = c.is_ascii_lowercase();
    }
    false
}

fn is_secret_word(word: &str) -> bool {
    SECRET_WORDS.contains(&word)
        || ["token", "secret", "password", "apikey"]
            .iter()
            .any(|s| word.ends_with(s))
}

fn cut(arg: &str) -> String {
    if arg.len() <= MAX_ARG_BYTES {
        return arg.to_owned();
    }
    let end = arg.floor_char_boundary(MAX_ARG_BYTES);
    format!("{}…", &arg[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(input: &[&str], expected: &[&str]) {
        assert_eq!(redact_args(input), expected);
    }

    #[test]
    fn options_with_secrets() {
        check(&["x", "--token=abc"], &["x", "--token=***"]);
        check(
            &["x", "--api-key", "abc", "--port", "1"],
            &["x", "--api-key", "***", "--port", "1"],
        );
        check(&["x", "--apiKey", "abc"], &["x", "--apiKey", "***"]);
        check(&["x", "--accessToken=abc"], &["x", "--accessToken=***"]);
        check(&["x", "-password", "-abc"], &["x", "-password", "***"]);
        check(&["x", "--use-auth", "--verbose"], &["x", "--use-auth", "--verbose"]);
    }

    #[test]
    fn variables_and_headers() {
        check(
            &["env", "GITHUB_TOKEN=ghp_1", "HOME=/root"],
            &["env", "GITHUB_TOKEN=***", "HOME=/root"],
        );
        check(&["-e", "OPENAI_API_KEY=x"], &["-e", "OPENAI_API_KEY=***"]);
        check(
            &["--header", "Authorization: Bearer abc"],
            &["--header", "Authorization: Bearer ***"],
        );
        check(&["--header", "X-Api-Key: abc"], &["--header", "X-Api-Key: ***"]);
        check(
            &["--header", "Authorization:Bearer abc"],
            &["--header", "Authorization:*** ***"],
        );
        check(
            &["--header", "Authorization:Bearer", "abc"],
            &["--header", "Authorization:***", "***"],
        );
        check(
            &["sh", "-c", "x --token 'a b' --port 1"],
            &["sh", "-c", "x --token *** --port 1"],
        );
        check(&["--password=a b c"], &["--password=***"]);
        check(&[r#"{"env":{"API_KEY":"abc"}}"#], &["***"]);
        check(&["Bearer", "abc"], &["Bearer", "***"]);
        check(
            &["sh", "-c", "A=1 MY_KEY=zz node s.js --token t"],
            &["sh", "-c", "A=1 MY_KEY=*** node s.js --token ***"],
        );
    }

    #[test]
    fn tokens_by_their_looks_and_urls() {
        check(&["ghp_0123456789abcdef"], &["***"]);
        check(
            &["DATABASE_URL=postgres://u:p@db.local/x", "https://u:p@h/mcp?api_key=1"],
            &["DATABASE_URL=postgres://***@db.local/x", "https://***@h/mcp?***"],
        );
    }

    #[test]
    fn ordinary_arguments_stay() {
        let args = [
            "node",
            "/srv/key-value/server.js",
            "--monkey=1",
            "--keyboard",
            "us",
            "C:\\x",
            "a:b",
            "--port=80",
        ];
        check(&args, &args);
    }

    #[test]
    fn bounded() {
        let long = "é".repeat(300);
        let many = vec![long; 100];
        let out = redact_args(&many);
        assert_eq!(out.len(), MAX_ARGS + 1);
        assert!(out.iter().all(|arg| arg.len() <= MAX_ARG_BYTES + '…'.len_utf8()));
    }
}
