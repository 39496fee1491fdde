//! Users of the embedded NATS server: who they are, and what they may publish and subscribe to. Pure but
//! for the time that a password's hash takes.

use std::rc::Rc;

use super::digest::Digest;
use crate::route::{covers, overlap};

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name that comes with a password; with a token, only for logs.
    pub name: String,
    /// What it must show.
    pub login: Login,
    /// What it may do.
    pub permissions: Rc<Permissions>,
}

/// What a user must show.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    /// A password with this bcrypt hash.
    Password(String),
    /// A token with this hash.
    Token(Digest),
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Login::Password(_) => "Password",
            Login::Token(_) => "Token",
        })
    }
}

/// What a user may do. The names are patterns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Subjects to publish to.
    pub publish: Vec<String>,
    /// Subjects to subscribe to. Replies come to inboxes, which need not be listed.
    pub subscribe: Vec<String>,
}

/// The least length of an inbox's own token: clients make it by chance, so that it cannot be guessed.
const INBOX_TOKEN: usize = 16;

impl Permissions {
    /// Whether the user may publish to this: what is granted, and inboxes whose name it knows.
    #[must_use]
    pub fn may_publish(&self, subject: &str) -> bool {
        is_known_inbox(subject) || self.publish.iter().any(|pattern| covers(pattern, subject))
    }

    /// Whether replies may go there: the server sends them with rights of its own.
    #[must_use]
    pub fn may_reply_to(&self, subject: &str) -> bool {
        self.may_publish(subject) || self.may_subscribe(subject)
    }

    /// Whether the user may subscribe to this: all of it must be granted. An inbox is its own whose name it
    /// knows: one with a wildcard in place of that name would be other users' replies.
    #[must_use]
    pub fn may_subscribe(&self, pattern: &str) -> bool {
        if pattern.starts_with("_INBOX.") {
            return is_known_inbox(pattern);
        }
        // `>` would be inboxes, too.
        let inboxes = overlap(pattern, "_INBOX.>");
        !inboxes && self.subscribe.iter().any(|own| covers(own, pattern))
    }
}

/// Whether this is an inbox under a name that was made by chance.
fn is_known_inbox(subject: &str) -> bool {
    let name = subject.strip_prefix("_INBOX.").and_then(|inbox| inbox.split('.').next());
    name.is_some_and(|name| name.len() >= INBOX_TOKEN)
}

/// All users. Without one, everybody may do everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users {
    /// Each, by its login.
    pub all: Vec<User>,
}

/// What a client showed in `CONNECT`.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// The user's name.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// The token.
    pub token: Option<String>,
}

/// Who a client may be: settled by comparing a password with this hash, off the broker's thread.
#[derive(Debug, Clone)]
pub enum Candidate {
    /// It is this user.
    Known(User),
    /// It is this user if the password has this hash.
    IfPassword {
        /// The password as shown.
        password: String,
        /// The hash.
        hash: String,
        /// The user; none if nobody has that name.
        user: Option<User>,
    },
    /// It is nobody.
    Nobody,
}

/// A hash that nobody knows the password of: an unknown name takes as long as a known one.
const NOBODYS: &str = "$2b$10$abcdefghijklmnopqrstuuFyKDKzq7xKYBUmbNnJYGuj6tFrnRcoa";

impl Users {
    /// Who the client may be.
    #[must_use]
    pub fn find(&self, shown: Shown) -> Candidate {
        if let Some(token) = shown.token {
            let shown = Digest::of(token.as_bytes());
            let found = self.all.iter().fold(None, |found, user| match &user.login {
                Login::Token(token) if token.same(&shown) => Some(user),
                _ => found,
            });
            return found.map_or(Candidate::Nobody, |user| Candidate::Known(user.clone()));
        }
        let (Some(name), Some(password)) = (shown.user, shown.password) else { return Candidate::Nobody };
        let found = self.all.iter().find_map(|user| match &user.login {
            Login::Password(hash) if user.name == name => Some((hash.clone(), user.clone())),
            _ => None,
        });
        let (hash, user) = match found {
            Some((hash, user)) => (hash, Some(user)),
            None => (NOBODYS.to_owned(), None),
        };
        Candidate::IfPassword { password, hash, user }
    }
}

/// Whether a password has a hash. Takes tens of milliseconds: not on the broker's thread.
#[must_use]
pub fn has_hash(password: &str, hash: &str) -> bool {
    bcrypt::verify(password, hash).unwrap_or(false)
}

/// Whether a text is a bcrypt hash.
#[must_use]
pub fn is_hash(text: &str) -> bool {
    text.parse::<bcrypt::HashParts>().is_ok_and(|parts| (4..=16).contains(&parts.get_cost()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permissions(publish: &[&str], subscribe: &[&str]) -> Permissions {
        let own = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Permissions { publish: own(publish), subscribe: own(subscribe) }
    }

    #[test]
    fn only_what_is_granted_as_a_whole() {
        let acme = permissions(&["acme.>"], &["acme.out.*", "_INBOX_acme.>"]);
        assert!(acme.may_publish("acme.x.y"));
        for subject in ["acme", "other.x", "$SYS.x", "$JS.API.x", "_INBOX.abc"] {
            assert!(!acme.may_publish(subject), "{subject}");
        }
        for pattern in ["acme.out.x", "acme.out.*", "_INBOX_acme.>", "_INBOX.aaaaaaaaaaaaaaaaaaaaaa.*"] {
            assert!(acme.may_subscribe(pattern), "{pattern}");
        }
        for pattern in
            [">", "*", "acme.>", "acme.out.>", "_INBOX.>", "_INBOX.*", "_INBOX.*.*", "_INBOX.short", "$SYS.>"]
        {
            assert!(!acme.may_subscribe(pattern), "{pattern}");
        }
        assert!(!permissions(&[], &[">"]).may_subscribe(">"), "it would be everybody's inboxes");
    }

    #[test]
    fn users_are_told_apart() {
        let all = permissions(&[">"], &[">"]);
        let hash = bcrypt::hash("secret", 4).unwrap();
        let user = |name: &str, login| User { name: name.into(), login, permissions: all.clone().into() };
        let users = Users {
            all: vec![user("a", Login::Password(hash.clone())), user("t", Login::Token(Digest::of(b"tok")))],
        };
        let shown = |user: &str, password: &str| Shown {
            user: Some(user.into()),
            password: Some(password.into()),
            token: None,
        };
        let is = |candidate| match candidate {
            Candidate::Known(_) => true,
            Candidate::IfPassword { password, hash, user } => has_hash(&password, &hash) && user.is_some(),
            Candidate::Nobody => false,
        };
        assert!(is(users.find(shown("a", "secret"))));
        assert!(!is(users.find(shown("a", "Secret"))) && !is(users.find(shown("t", "tok"))));
        assert!(!is(users.find(shown("b", "secret"))));
        let token = |text: &str| Shown { token: Some(text.into()), ..Shown::default() };
        assert!(is(users.find(token("tok"))) && !is(users.find(token("secret"))));
        assert!(!is(users.find(Shown::default())));
        assert!(is_hash(&hash) && !is_hash("secret") && is_hash(NOBODYS));
    }
}
