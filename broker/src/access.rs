//! Who may come in: bearer tokens and webhook signatures over HTTP, users of the embedded NATS server.
//!
//! Takes what a client shows, says yes or no. Pure: no clock, no file. Everything is compared in constant
//! time, and a refusal does not tell what was wrong.

pub mod digest;
pub mod users;
pub mod webhook;

use digest::Digest;
use webhook::Webhook;

/// Who may call a tenant's functions over HTTP. Without a token and a webhook, anyone may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpAccess {
    /// Bearer tokens.
    pub tokens: Vec<Digest>,
    /// Subjects that are called with signatures instead.
    pub webhooks: Vec<Webhook>,
}

/// What a request must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand<'a> {
    /// Nothing.
    Nothing,
    /// One of these bearer tokens.
    Token(&'a [Digest]),
    /// A signature over its body.
    Signature(&'a Webhook),
}

impl HttpAccess {
    /// Whether anyone may call.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.tokens.is_empty() && self.webhooks.is_empty()
    }

    /// What a request for a subject must show.
    #[must_use]
    pub fn demand(&self, subject: &str) -> Demand<'_> {
        if let Some(webhook) = self.webhooks.iter().find(|webhook| webhook.covers(subject)) {
            return Demand::Signature(webhook);
        }
        if self.is_open() {
            return Demand::Nothing;
        }
        Demand::Token(&self.tokens)
    }
}

/// Whether an `Authorization` header shows one of these tokens.
#[must_use]
pub fn shows_token(tokens: &[Digest], authorization: Option<&[u8]>) -> bool {
    let Some(value) = authorization else { return false };
    let Some((scheme, token)) = value.split_at_checked(7) else { return false };
    if !scheme.eq_ignore_ascii_case(b"bearer ") {
        return false;
    }
    let shown = Digest::of(token.trim_ascii());
    // All are looked at, so that the time does not tell which one it was.
    tokens.iter().fold(false, |any, token| token.same(&shown) | any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_shown_as_rfc_6750_says() {
        let tokens = [Digest::of(b"one"), Digest::of(b"two")];
        for good in ["Bearer one", "bearer two", "BEARER  two "] {
            assert!(shows_token(&tokens, Some(good.as_bytes())), "{good}");
        }
        for bad in ["", "Bearer", "Bearer ", "Bearer three", "Basic one", "one", "Bearer one two"] {
            assert!(!shows_token(&tokens, Some(bad.as_bytes())), "{bad}");
        }
        assert!(!shows_token(&tokens, None) && !shows_token(&[], Some(b"Bearer ")));
    }

    #[test]
    fn a_tenant_with_a_token_or_a_webhook_is_closed() {
        assert_eq!(HttpAccess::default().demand("a"), Demand::Nothing);
        let webhook = Webhook::for_test(webhook::Form::GitHub, "a.hook");
        let access = HttpAccess { tokens: Vec::new(), webhooks: vec![webhook] };
        assert!(matches!(access.demand("a.hook"), Demand::Signature(_)));
        assert_eq!(access.demand("a.other"), Demand::Token(&[]), "nobody has such a token");
    }
}
