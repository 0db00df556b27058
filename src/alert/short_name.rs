//! The short name of a caller, for subjects.

use std::borrow::Cow;

use super::sanitize::{to_ascii, truncate};

/// With less room than this, a part of a name tells nothing.
const LEAST_ROOM: usize = 8;

/// A number or an ID in a session's name, of so many hexadecimal digits, comes from a program: a time has ten.
const MADE_UP: usize = 10;

/// `role/person (account)`, or `person (role, account)`.
pub(super) struct ShortName<'i> {
    pub(super) person: Cow<'i, str>,
    /// Empty for a caller who has none.
    pub(super) role: &'i str,
    pub(super) is_role_behind: bool,
    /// The account, if it is not the one in which the call happened.
    pub(super) account: Option<&'i str>,
}

impl ShortName<'_> {
    /// In ASCII, of at most `most` bytes, and with its role of at most `room`. The role gives way first, then the account as
    /// a whole, then the end of the person. A person whom a program has named gives way to the role, and keeps its start.
    pub(super) fn fit(&self, room: usize, most: usize) -> String {
        let (person, role) = (to_ascii(&self.person), to_ascii(self.role));
        let role_tells = !role.is_empty() && !self.is_role_behind && is_made_up(&person);
        let (first, second) = if role_tells { (role, person) } else { (person, role) };
        let least = if role_tells { second.len().min(LEAST_ROOM) } else { 0 };
        let most = most.saturating_sub(if least > 0 { least + "/".len() } else { 0 });
        let account = self.account.map(|id| ["account ", &to_ascii(id)].concat());
        let account = account.filter(|account| first.len() + " ()".len() + account.len() <= most).unwrap_or_default();
        let account_size = if account.is_empty() { 0 } else { " ()".len() + account.len() };
        let first = truncate(first, most.saturating_sub(account_size), "...");

        let between = match (self.is_role_behind, account.is_empty()) {
            (false, _) => "/",
            (true, false) => ", ",
            (true, true) => " ()",
        };
        let left = room.saturating_sub(first.len() + account_size + between.len()).max(least);
        let is_told = second.len() <= left || left >= LEAST_ROOM;
        let second = if is_told { truncate(second, left, "...") } else { Cow::Borrowed("") };
        let (role, person) = if role_tells { (first, second) } else { (second, first) };
        let (before, behind) = if self.is_role_behind { ("", &*role) } else { (&*role, "") };
        let slash = if before.is_empty() { "" } else { "/" };
        let [open, comma, close] = match (behind, &*account) {
            ("", "") => ["", "", ""],
            ("", _) | (_, "") => [" (", "", ")"],
            _ => [" (", ", ", ")"],
        };
        [before, slash, &person, open, behind, comma, &account, close].concat()
    }
}

/// Whether a program has made up the name of a session, a new one for each: a part of it is a time, a random number or a
/// UUID. Names with an `@` are people's. The name of an EC2 instance's session is the instance's ID.
pub(crate) fn is_made_up(name: &str) -> bool {
    let is_id = |part: &str| {
        let digits = part.bytes().filter(u8::is_ascii_digit).count();
        part.len() >= MADE_UP && digits > 0 && part.bytes().all(|b| b.is_ascii_hexdigit())
    };
    !name.contains('@') && !name.starts_with("i-") && name.split(|c: char| !c.is_ascii_alphanumeric()).any(is_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_programs_make_up() {
        for name in [
            "1763675310",
            "botocore-session-1763675310",
            "aws-go-sdk-1688990082523310002",
            "AWSCodeBuild-3f0e2a6c-9d7b-4f0e-8a53-abcdefabcde1",
            "0123456789abcdef0123456789abcdef",
        ] {
            assert!(is_made_up(name), "{name}");
        }
        for name in [
            "alice", "alice1234567890", "alice1234567890@example.com", "1234567890@example.com", "i-0abcdef1234567890",
            "release-42", "2026-11-20", "deadbeeffeed", "GitHubActions",
        ] {
            assert!(!is_made_up(name), "{name}");
        }
    }

    #[test]
    fn what_gives_way_first() {
        fn name<'i>(person: &'i str, role: &'i str, is_role_behind: bool, account: &'i str) -> ShortName<'i> {
            let account = Some(account).filter(|id| !id.is_empty());
            ShortName { person: person.into(), role, is_role_behind, account }
        }
        let user = name("alice@example.com", "", false, "");
        let session = name("release-42", "deployer", false, "111122223333");
        let person = name("alice", "Administrator", true, "111122223333");
        let program = name("sdk-1688990082523310002", "deployment", false, "");
        for (name, room, most, fitted) in [
            (&user, 99, 99, "alice@example.com"),
            (&user, 0, 17, "alice@example.com"),
            (&user, 10, 10, "alice@e..."),
            (&session, 99, 99, "deployer/release-42 (account 111122223333)"),
            (&session, 41, 99, "release-42 (account 111122223333)"),
            (&session, 0, 33, "release-42 (account 111122223333)"),
            (&session, 32, 32, "deployer/release-42"),
            (&session, 18, 32, "release-42"),
            (&person, 99, 99, "alice (Administrator, account 111122223333)"),
            (&person, 41, 99, "alice (Administ..., account 111122223333)"),
            (&person, 0, 99, "alice (account 111122223333)"),
            (&person, 27, 27, "alice (Administrator)"),
            (&program, 99, 99, "deployment/sdk-1688990082523310002"),
            (&program, 25, 25, "deployment/sdk-1688990..."),
            (&program, 0, 99, "deployment/sdk-1..."),
            (&program, 16, 16, "depl.../sdk-1..."),
        ] {
            assert_eq!(name.fit(room, most), fitted, "{room} {most}");
        }
    }
}
