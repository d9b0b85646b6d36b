//! The page on flags is what the table says.

use std::fs;
use std::path::Path;

use super::*;

#[test]
fn the_page_is_not_stale() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/flags.md");
    let text = documentation();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == text,
        "docs/flags.md is not what the table says: run `UPDATE_DOCS=1 cargo test -p mcpsonar --lib flags::`"
    );
    for definition in definitions() {
        assert!(
            page.contains(&format!("### `{}`", definition.code)),
            "{}",
            definition.code
        );
    }
}
