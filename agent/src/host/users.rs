//! Names of users.

use std::fs;

/// The name of a user, from the host's /etc/passwd: users of a directory service have only their number there.
#[must_use]
pub fn user_name(id: u32) -> Option<String> {
    name_in(&fs::read_to_string("/etc/passwd").ok()?, id)
}

fn name_in(passwd: &str, id: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let its: u32 = fields.nth(1)?.parse().ok()?;
        (its == id).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_that_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\nbroken\n:x:7:7::/:\nmcp:x:7:7::/:\nalso:x:7:7::/:\n";
        assert_eq!(name_in(passwd, 0).as_deref(), Some("root"));
        assert_eq!(name_in(passwd, 7).as_deref(), Some("mcp"));
        assert_eq!(name_in(passwd, 8), None);
    }
}
