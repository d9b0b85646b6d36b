use proptest::prelude::*;

use super::*;

type Pairs = Vec<(Option<String>, Option<String>)>;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn read(hpack: &mut Hpack, block: &[u8]) -> Result<Pairs, Malformed> {
    let mut pairs = Pairs::new();
    let string = |known: Option<&[u8]>| known.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    hpack.decode(block, &Limits::default(), |name, value| {
        pairs.push((string(name), string(value)));
        true
    })?;
    Ok(pairs)
}

fn lines(hpack: &mut Hpack, block: &str) -> String {
    let pairs = read(hpack, &hex(block)).unwrap();
    let word = |known: Option<String>| known.unwrap_or_else(|| "?".into());
    let lines: Vec<_> = pairs
        .into_iter()
        .map(|(n, v)| format!("{}={}", word(n), word(v)))
        .collect();
    lines.join("|")
}

/// A literal field that becomes an entry.
fn entry(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut block = vec![0x40, name.len() as u8];
    block.extend_from_slice(name);
    block.push(value.len() as u8);
    block.extend_from_slice(value);
    block
}

#[test]
fn rfc_7541_c_1_integers() {
    let int = |bytes: &[u8], bits| {
        let mut rest = bytes;
        integer(&mut rest, bits).map(|value| (value, rest.len()))
    };
    assert_eq!(int(&[0b1110_1010], 5), Ok((10, 0)));
    assert_eq!(int(&[0b0001_1111, 0x9a, 0x0a], 5), Ok((1337, 0)));
    assert_eq!(int(&[42, 7], 8), Ok((42, 1)));
    assert_eq!(int(&[0x1f, 0x9a], 5), Err(Malformed), "it breaks off");
    assert_eq!(
        int(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0x0f], 7),
        Err(Malformed),
        "too large"
    );
    assert_eq!(
        int(&[0x7f, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00], 7),
        Err(Malformed),
        "too long"
    );
}

#[test]
fn rfc_7541_c_2_representations() {
    let of = |block| lines(&mut Hpack::default(), block);
    assert_eq!(
        of("400a637573746f6d2d6b65790d637573746f6d2d686561646572"),
        "custom-key=custom-header"
    );
    assert_eq!(of("040c2f73616d706c652f70617468"), ":path=/sample/path");
    assert_eq!(of("100870617373776f726406736563726574"), "password=secret");
    assert_eq!(of("82"), ":method=GET");
}

#[test]
fn rfc_7541_c_3_and_c_4_requests() {
    let first = ":method=GET|:scheme=http|:path=/|:authority=www.example.com";
    let plain = [
        "828684410f7777772e6578616d706c652e636f6d",
        "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ];
    let huffman = [
        "828684418cf1e3c2e5f23a6ba0ab90f4ff",
        "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ];
    for blocks in [plain, huffman] {
        let mut hpack = Hpack::default();
        assert_eq!(lines(&mut hpack, blocks[0]), first);
        assert_eq!(lines(&mut hpack, blocks[1]), format!("{first}|cache-control=no-cache"));
        assert_eq!(
            lines(&mut hpack, blocks[2]),
            ":method=GET|:scheme=https|:path=/index.html|:authority=www.example.com|custom-key=custom-value"
        );
        assert_eq!(hpack.held(), 164);
    }
}

/// Here the peers have agreed on a table of 256 bytes by SETTINGS. What they evict we may keep.
#[test]
fn rfc_7541_c_5_and_c_6_responses() {
    let plain = [
        "4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d54\
         6e1768747470733a2f2f7777772e6578616d706c652e636f6d",
        "4803333037c1c0bf",
        "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d\
         4153444a4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b207665\
         7273696f6e3d31",
    ];
    let huffman = [
        "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b\
         97c8e9ae82ae43d3",
        "4883640effc1c0bf",
        "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdf\
         cd5b3960d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ];
    let rest = "|cache-control=private|date=Mon, 21 Oct 2013 20:13:21 GMT|location=https://www.example.com";
    for blocks in [plain, huffman] {
        let mut hpack = Hpack::default();
        assert_eq!(lines(&mut hpack, blocks[0]), format!(":status=302{rest}"));
        assert_eq!(lines(&mut hpack, blocks[1]), format!(":status=307{rest}"));
        assert_eq!(
            lines(&mut hpack, blocks[2]),
            ":status=200|cache-control=private|date=Mon, 21 Oct 2013 20:13:22 GMT\
             |location=https://www.example.com|content-encoding=gzip\
             |set-cookie=foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"
        );
    }
}

#[test]
fn what_was_there_before_is_unknown_and_what_comes_is_known() {
    let mut hpack = Hpack::default();
    hpack.forget();
    // :method GET, an entry from before, a new one, that again, the one from before again.
    let mut block = vec![0x82, 0xbe];
    block.extend(entry(b"new", b"one"));
    block.extend([0xbe, 0xbf]);
    // A name from before with a new value: that is known at least.
    block.extend([0x40 | 0x3f, 0x00, 1, b'v']);
    let pairs = read(&mut hpack, &block).unwrap();
    let pair = |n: Option<&str>, v: Option<&str>| (n.map(String::from), v.map(String::from));
    let new = pair(Some("new"), Some("one"));
    assert_eq!(pairs[0], pair(Some(":method"), Some("GET")));
    assert_eq!(pairs[1..5], [pair(None, None), new.clone(), new, pair(None, None)]);
    assert_eq!(pairs[5], pair(None, Some("v")));
}

#[test]
fn values_that_do_not_matter_are_not_kept() {
    let mut hpack = Hpack::default();
    hpack
        .decode(&entry(b"cookie", b"secret"), &Limits::default(), |_, _| false)
        .unwrap();
    assert_eq!(read(&mut hpack, &[0xbe]).unwrap(), [(Some("cookie".into()), None)]);
}

#[test]
fn sizes_are_followed() {
    let mut hpack = Hpack::default();
    read(&mut hpack, &entry(b"a", b"1")).unwrap();
    // 0, then 64: what was there is gone.
    read(&mut hpack, &[0x20, 0x3f, 0x21]).unwrap();
    assert_eq!(read(&mut hpack, &[0xbe]).unwrap(), [(None, None)]);
    read(&mut hpack, &entry(b"a", b"1")).unwrap();
    read(&mut hpack, &entry(b"b", b"2")).unwrap();
    assert_eq!(hpack.held(), 34, "only one fits");
    // One that is larger than the table empties it.
    read(&mut hpack, &entry(b"c", &[b'3'; 40])).unwrap();
    assert_eq!(hpack.held(), 0);
}

#[test]
fn a_broken_string_is_unknown_and_a_broken_block_is_malformed() {
    let mut hpack = Hpack::default();
    let pairs = read(&mut hpack, &[0x00, 0x01, b'n', 0x84, 0xff, 0xff, 0xff, 0xff, 0x82]).unwrap();
    assert_eq!(pairs[0], (Some("n".into()), None));
    assert_eq!(pairs[1].1.as_deref(), Some("GET"));
    for block in [&[0x80][..], &[0x40], &[0x40, 5, b'x'], &[0x40, 1, b'x'], &[0xff]] {
        assert_eq!(read(&mut hpack, block), Err(Malformed), "{block:x?}");
    }
}

proptest! {
    #[test]
    fn huffman_survives(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut out = Vec::new();
        prop_assert!(huffman::decode(&huffman::encode(&text), &mut out).is_some());
        prop_assert_eq!(out, text);
    }

    #[test]
    fn garbage_stays_bounded(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20)) {
        let mut hpack = Hpack::default();
        for block in blocks {
            let _result = read(&mut hpack, &block);
            prop_assert!(hpack.held() <= Limits::default().hpack_table_bytes);
        }
    }

    /// One decoder sees all, one joins late: it knows less, and nothing else.
    #[test]
    fn a_late_decoder_is_never_wrong(
        fields in prop::collection::vec((0..6_usize, 0..4_usize, any::<bool>()), 1..60),
        join in 0..60_usize,
    ) {
        let names: [&[u8]; 6] = [b"a", b"bb", b"ccc", b"mcp-session-id", b"accept", b"x"];
        let (mut whole, mut late) = (Hpack::default(), Hpack::default());
        late.forget();
        let mut inserted = 0;
        let mut since = 0;
        for (n, (name, value, refer)) in fields.into_iter().enumerate() {
            let refers = refer && inserted > 0;
            let block = if refers {
                vec![0x80 | (62 + (name * 7 + value) % inserted) as u8]
            } else {
                inserted += 1;
                entry(names[name], &[b'0' + value as u8])
            };
            let all = read(&mut whole, &block).unwrap();
            prop_assert!(all[0].1.is_some());
            if n >= join {
                let some = read(&mut late, &block).unwrap();
                let fresh = !refers || usize::from(block[0] & 0x7f) - 62 < since;
                prop_assert_eq!(some == all, fresh);
                prop_assert!(fresh || some[0] == (None, None));
                since += usize::from(!refers);
            }
        }
    }
}
