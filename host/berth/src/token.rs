//! Tokens: what a client shows, and what the controller compares it with.
//!
//! They come from files and from the environment, never from arguments, which every user of a machine can list. No message
//! and no `Debug` shows one. The controller keeps digests alone, and looks at all of them, whatever it finds.

use std::fmt;
use std::path::Path;

use anyhow::anyhow;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::fail::hinted;
use crate::private::{self, What};

const SHORTEST: usize = 16;
const LONGEST: usize = 1024;

/// One token in the clear.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// `None` if `text` is too short to be safe, or cannot stand in a header.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let fits = (SHORTEST..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(text.to_owned()))
    }

    /// As the value of an `authorization` header.
    pub(crate) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

const MEND: &str =
    "write one token a line into it, of at least 16 letters and digits each, such as `openssl rand -hex 32` gives";

const TOKENS: What = What { kind: "token file", mend: MEND, leaked: "make new tokens" };

/// The tokens of a file: one a line; empty lines and lines that begin with `#` are left out.
///
/// # Errors
/// If the file cannot be read, others can read or change it, or it holds no token or a line that is none.
pub(crate) fn read_file(file: &Path) -> anyhow::Result<Vec<Token>> {
    let name = file.display();
    let text = private::read(file, TOKENS)?;
    let mut tokens = Vec::new();
    for (index, line) in text.lines().enumerate().map(|(index, line)| (index, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let token = Token::parse(line);
        tokens.push(token.ok_or_else(|| hinted(format!("line {} of {name} is no usable token", index + 1), MEND))?);
    }
    if tokens.is_empty() { Err(hinted(format!("{name} holds no token"), MEND).into()) } else { Ok(tokens) }
}

/// The token in an environment variable; `None` if it is not set or empty.
///
/// # Errors
/// If what it holds is no token.
pub(crate) fn from_env(variable: &str) -> anyhow::Result<Option<Token>> {
    match std::env::var(variable) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => match Token::parse(&text) {
            Some(token) => Ok(Some(token)),
            None => {
                let hint = "set it to at least 16 letters and digits, such as `openssl rand -hex 32` gives";
                Err(hinted(format!("{variable} holds no usable token"), hint).into())
            }
        },
        Err(std::env::VarError::NotPresent) => Ok(None),
        // The error would show what it holds.
        Err(std::env::VarError::NotUnicode(_)) => Err(anyhow!("{variable} holds no usable token")),
    }
}

/// What the holder of a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Everything but changes, and but reading Secrets.
    Read,
    Write,
}

/// Digests of the tokens that are let in.
#[derive(Clone, Default)]
pub(crate) struct Tokens(Vec<([u8; 32], Role)>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tokens").field(&self.0.len()).finish()
    }
}

impl Tokens {
    pub(crate) fn add(&mut self, token: &Token, role: Role) {
        self.0.push((Sha256::digest(&token.0).into(), role));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Which one `given` is: its place in the order in which they were added, and its role. A token that was added with
    /// both roles may write. How long it takes does not depend on what is given, but for its length.
    pub(crate) fn find(&self, given: &str) -> Option<(usize, Role)> {
        let given: [u8; 32] = Sha256::digest(given).into();
        let mut found = None;
        for (index, (known, role)) in self.0.iter().enumerate() {
            if bool::from(known.ct_eq(&given)) && found.is_none_or(|(_, role)| role == Role::Read) {
                found = Some((index, *role));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed test panics")]
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const ONE: &str = "0123456789abcdef";
    const TWO: &str = "fedcba9876543210";

    #[test]
    fn a_file_holds_one_token_a_line_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        let read = |text: &str, mode: u32| {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            read_file(&file).map_err(|error| format!("{error:#}"))
        };
        let tokens = [ONE, TWO].map(|text| Token::parse(text).unwrap());
        assert_eq!(read(&format!("# old and new\n{ONE}\n\n  {TWO}\r\n"), 0o600).unwrap(), tokens);
        assert!(read(ONE, 0o400).is_ok() && read(ONE, 0o440).is_ok());
        for mode in [0o644, 0o604, 0o620, 0o602, 0o601] {
            assert!(read(ONE, mode).unwrap_err().contains("is open to others"), "{mode:o}");
        }
        for bad in ["", "# nothing\n", "short", "0123456789 abcdef", "0123456789abcdéf", &"x".repeat(70_000)] {
            let error = read(bad, 0o600).unwrap_err();
            assert!(bad.len() < 3 || !error.contains(bad), "{error}");
        }
        assert!(read(&format!("{ONE}\nshort"), 0o600).unwrap_err().starts_with("line 2 of "));
    }

    #[test]
    fn the_token_that_is_given_is_found_and_no_other() {
        let mut tokens = Tokens::default();
        tokens.add(&Token::parse(ONE).unwrap(), Role::Read);
        tokens.add(&Token::parse(TWO).unwrap(), Role::Write);
        assert_eq!(tokens.find(ONE), Some((0, Role::Read)));
        assert_eq!(tokens.find(TWO), Some((1, Role::Write)));
        for wrong in ["", "0123456789abcde", "0123456789abcdeF", "0123456789abcdef "] {
            assert_eq!(tokens.find(wrong), None, "{wrong:?}");
        }
        tokens.add(&Token::parse(ONE).unwrap(), Role::Write);
        assert_eq!(tokens.find(ONE), Some((2, Role::Write)));
    }

    #[test]
    fn tokens_are_not_shown() {
        let token = Token::parse(ONE).unwrap();
        let mut tokens = Tokens::default();
        tokens.add(&token, Role::Write);
        assert_eq!(format!("{token:?} {tokens:?}"), "Token(..) Tokens(1)");
    }
}
