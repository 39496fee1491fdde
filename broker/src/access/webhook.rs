//! Signatures of webhooks, as GitHub, Stripe, Slack and Standard Webhooks make them.
//!
//! Takes headers, the raw body, the secret and the time; says whether the sender knew the secret and, where
//! the form has a time, whether it is recent. Pure. Headers are hostile.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::digest::from_hex;
use crate::route::covers;

/// How a sender signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// `X-Hub-Signature-256: sha256=HEX` over the body. It has no time, so nothing stops a replay.
    GitHub,
    /// `Stripe-Signature: t=SECONDS,v1=HEX` over `SECONDS.BODY`.
    Stripe,
    /// `X-Slack-Request-Timestamp` and `X-Slack-Signature: v0=HEX` over `v0:SECONDS:BODY`.
    Slack,
    /// `webhook-id`, `webhook-timestamp`, `webhook-signature: v1,BASE64` over `ID.SECONDS.BODY`
    /// (standardwebhooks.com). The secret is base64 behind `whsec_`.
    Standard,
}

/// Signed calls of some subjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// The subject patterns.
    pub subjects: Vec<String>,
    /// How they are signed.
    pub form: Form,
    /// The name of the secret.
    pub secret: String,
    /// How far the sender's time may be from ours, either way.
    pub window: Duration,
}

/// Signatures that one header may hold: senders give two while they change secrets.
const MOST_SIGNATURES: usize = 16;

impl Webhook {
    /// Whether a subject is called with it.
    #[must_use]
    pub fn covers(&self, subject: &str) -> bool {
        self.subjects.iter().any(|pattern| covers(pattern, subject))
    }

    /// Whether a request is the sender's. `now` is in seconds since 1970.
    #[must_use]
    pub fn admits(&self, secret: &[u8], headers: &[(String, Bytes)], body: &[u8], now: u64) -> bool {
        self.check(secret, headers, body, now).unwrap_or(false)
    }

    fn check(&self, secret: &[u8], headers: &[(String, Bytes)], body: &[u8], now: u64) -> Option<bool> {
        let header = |name: &str| {
            let found = headers.iter().find(|(known, _)| known == name);
            found.and_then(|(_, value)| std::str::from_utf8(value).ok())
        };
        match self.form {
            Form::GitHub => {
                let shown = header("x-hub-signature-256")?.strip_prefix("sha256=")?;
                Some(is_signed(secret, &[body], &from_hex(shown.as_bytes())?))
            }
            Form::Stripe => {
                let fields: Vec<_> = header("stripe-signature")?
                    .split(',')
                    .filter_map(|field| field.split_once('='))
                    .collect();
                let time = fields.iter().find(|(key, _)| key.trim() == "t")?.1;
                self.recent(time, now)?;
                let parts = [time.as_bytes(), b".", body];
                let shown = fields.iter().filter(|(key, _)| key.trim() == "v1").take(MOST_SIGNATURES);
                let mut shown = shown.filter_map(|(_, value)| from_hex(value.as_bytes()));
                Some(shown.any(|shown| is_signed(secret, &parts, &shown)))
            }
            Form::Slack => {
                let time = header("x-slack-request-timestamp")?;
                self.recent(time, now)?;
                let shown = header("x-slack-signature")?.strip_prefix("v0=")?;
                let parts = [b"v0:", time.as_bytes(), b":", body];
                Some(is_signed(secret, &parts, &from_hex(shown.as_bytes())?))
            }
            Form::Standard => {
                let (id, time) = (header("webhook-id")?, header("webhook-timestamp")?);
                self.recent(time, now)?;
                let secret = secret.strip_prefix(b"whsec_").unwrap_or(secret);
                let secret = STANDARD.decode(secret).ok()?;
                let parts = [id.as_bytes(), b".", time.as_bytes(), b".", body];
                let shown = header("webhook-signature")?.split(' ').take(MOST_SIGNATURES);
                let mut shown = shown.filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok());
                Some(shown.any(|shown| is_signed(&secret, &parts, &shown)))
            }
        }
    }

    /// Whether a time, in seconds since 1970, is within the window.
    fn recent(&self, time: &str, now: u64) -> Option<()> {
        let digits = time.bytes().all(|byte| byte.is_ascii_digit());
        let time: u64 = time.parse().ok().filter(|_| digits)?;
        (time.abs_diff(now) <= self.window.as_secs()).then_some(())
    }
}

/// Whether this is the HMAC-SHA256 of the parts, in constant time.
fn is_signed(secret: &[u8], parts: &[&[u8]], shown: &[u8]) -> bool {
    // An HMAC takes a key of any length; an empty one is nobody's secret.
    let Some(mut mac) = Hmac::<Sha256>::new_from_slice(secret).ok().filter(|_| !secret.is_empty()) else {
        return false;
    };
    for part in parts {
        mac.update(part);
    }
    mac.verify_slice(shown).is_ok()
}

#[cfg(test)]
impl Webhook {
    pub(crate) fn for_test(form: Form, subject: &str) -> Webhook {
        let window = Duration::from_secs(300);
        Webhook { subjects: vec![subject.to_owned()], form, secret: "s".into(), window }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn admits(form: Form, secret: &str, headers: &[(&str, &str)], body: &str, now: u64) -> bool {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), Bytes::copy_from_slice(value.as_bytes())))
            .collect();
        Webhook::for_test(form, "a").admits(secret.as_bytes(), &headers, body.as_bytes(), now)
    }

    /// The examples of the senders' own documentation.
    #[test]
    fn documented_signatures() {
        let github = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let headers = [("x-hub-signature-256", github)];
        assert!(admits(Form::GitHub, "It's a Secret to Everybody", &headers, "Hello, World!", 0));
        assert!(!admits(Form::GitHub, "It's a Secret to Everybody", &headers, "Hello, World?", 0));
        assert!(!admits(Form::GitHub, "", &headers, "Hello, World!", 0));

        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=\
            G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&\
            text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%\
            2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let headers = [
            ("x-slack-request-timestamp", "1531420618"),
            ("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
        ];
        let secret = "8f742231b10e8888abcd99yyyzzz85a5";
        assert!(admits(Form::Slack, secret, &headers, body, 1_531_420_618 + 299));
        assert!(!admits(Form::Slack, secret, &headers, body, 1_531_420_618 + 301), "a replay");
        assert!(!admits(Form::Slack, secret, &headers, body, 1_531_420_618 - 301), "from the future");

        let headers = [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,bm9ldHU= v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ];
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        assert!(admits(Form::Standard, secret, &headers, r#"{"test": 2432232314}"#, 1_614_265_330));
        assert!(!admits(Form::Standard, secret, &headers, r#"{"test": 2432232315}"#, 1_614_265_330));
    }

    #[test]
    fn stripe_signs_time_and_body() {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"whsec_x").unwrap();
        mac.update(b"1000.{}");
        let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let header = format!("t=1000,v1=00,v1={hex},v0=11");
        let headers = [("stripe-signature", header.as_str())];
        assert!(admits(Form::Stripe, "whsec_x", &headers, "{}", 1000));
        assert!(!admits(Form::Stripe, "whsec_x", &headers, "{}", 2000));
        assert!(!admits(Form::Stripe, "whsec_y", &headers, "{}", 1000));
        let forged = header.replace("t=1000", "t=1001");
        assert!(!admits(Form::Stripe, "whsec_x", &[("stripe-signature", &forged)], "{}", 1000));
    }

    proptest! {
        #[test]
        fn any_header_is_survived(value in "\\PC{0,80}", time in "[-+]?[0-9]{0,25}") {
            for form in [Form::GitHub, Form::Stripe, Form::Slack, Form::Standard] {
                let stripe = format!("t={time},v1={value}");
                let headers = [
                    ("x-hub-signature-256", value.as_str()), ("stripe-signature", &stripe),
                    ("x-slack-request-timestamp", &time), ("x-slack-signature", &value),
                    ("webhook-id", "1"), ("webhook-timestamp", &time), ("webhook-signature", &value),
                ];
                prop_assert!(!admits(form, "c2VjcmV0", &headers, "body", 1000));
            }
        }
    }
}
