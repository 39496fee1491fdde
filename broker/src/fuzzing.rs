//! Doors for the fuzz targets (`broker/fuzz`) into what is private otherwise. Not part of a usual build.

use std::path::Path;

use hyper::Request;
use url::Url;

use crate::config::Config;
use crate::host::files::{Act, Operation};
use crate::host::nats::Publish;
use crate::ingress::http::target_of;
use crate::policy::key::KeyUse;
use crate::policy::{Policies, Policy};

/// Subject and URL that a request's target names, if it names a function.
#[must_use]
pub fn http_target(bytes: &[u8]) -> Option<(String, String)> {
    let head = Request::builder().uri(bytes).body(()).ok()?.into_parts().0;
    target_of(&head)
}

/// A tenant with a few grants.
#[derive(Debug)]
pub struct Judge(std::rc::Rc<Policy>);

const CONFIG: &str = r#"
[[tenant]]
name = "acme"
subjects = ["acme.>"]
scripts = "acme"
[tenant.grants]
nats = ["acme.out.>"]
etcd = ["acme/"]
http = ["https://api.example.com", "https://*.example.org:8443"]
files = ["/srv/acme"]
"#;

impl Default for Judge {
    fn default() -> Judge {
        Judge::new()
    }
}

#[allow(clippy::missing_panics_doc, reason = "its configuration is above")]
impl Judge {
    /// The one there is.
    #[must_use]
    pub fn new() -> Judge {
        let config = Config::of_text(CONFIG).unwrap_or_else(|error| panic!("{error}"));
        Judge(Policies::new(&config).of("acme"))
    }

    /// Whether it may publish there.
    #[must_use]
    pub fn publishes(&self, subject: &str) -> bool {
        let publish = Publish { subject: subject.to_owned(), payload: bytes::Bytes::new(), hops: 1 };
        self.0.publish(publish).is_ok()
    }

    /// Whether it may use that key, or all that begin so.
    #[must_use]
    pub fn uses_key(&self, key: &[u8], prefix: bool) -> bool {
        self.0.key(KeyUse { key: key.to_vec(), prefix, act: "read" }).is_ok()
    }

    /// The host that it may send a request for this URL to.
    #[must_use]
    pub fn fetches(&self, url: &str) -> Option<String> {
        let target = self.0.fetch(&Url::parse(url).ok()?, "GET").ok()?;
        Some(target.get().host_text())
    }

    /// Whether it may write to that path.
    #[must_use]
    pub fn opens(&self, path: &str) -> bool {
        self.0.file(Operation { path: Path::new(path).to_owned(), act: Act::Remove }).is_ok()
    }
}
