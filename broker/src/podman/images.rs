//! Which image a name stands for, and pulling.
//!
//! Takes names, gives images that are there. What was found counts for a moment, so that a busy script does
//! not ask Podman each time; requests for one image at a time are one request.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared};

use super::client::{Client, Local};
use super::description::Image;
use super::wire::WireError;
use crate::policy::Permitted;
use crate::progress;

/// How long what was found counts: an image that is made anew is seen within this time.
const FRESH: Duration = Duration::from_secs(1);

/// How many names are remembered.
const MOST: usize = 256;

type Found = Result<Option<Local>, Rc<WireError>>;
type Lookup = Shared<LocalBoxFuture<'static, Found>>;

/// The images of a Podman.
#[derive(Debug)]
pub struct Images {
    client: Client,
    looked: RefCell<HashMap<Image, (Instant, Lookup)>>,
    pulled: RefCell<HashMap<Image, Lookup>>,
}

impl Images {
    /// Those of this Podman.
    #[must_use]
    pub fn new(client: Client) -> Images {
        Images { client, looked: RefCell::default(), pulled: RefCell::default() }
    }

    /// The image of that name, if it is there.
    ///
    /// # Errors
    /// When Podman cannot say.
    pub async fn local(&self, image: &Image) -> Found {
        let lookup = {
            let mut looked = self.looked.borrow_mut();
            if looked.len() >= MOST {
                looked.retain(|_, (_, lookup)| awaited(lookup));
            }
            let known = looked.get(image).filter(|(at, lookup)| at.elapsed() < FRESH || awaited(lookup));
            match known {
                Some((_, lookup)) => lookup.clone(),
                None => {
                    let (client, name) = (self.client.clone(), image.clone());
                    let ask = async move { client.image(&name).await.map_err(Rc::new) };
                    let lookup = ask.boxed_local().shared();
                    looked.insert(image.clone(), (Instant::now(), lookup.clone()));
                    lookup
                }
            }
        };
        let found = lookup.await;
        if found.is_err() {
            self.forget(image);
        }
        found
    }

    /// Pulls an image, once for all who want it at the time; gives what is there then.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn pull(&self, image: Permitted<Image>) -> Found {
        let name = image.get().clone();
        let lookup = {
            let mut pulled = self.pulled.borrow_mut();
            pulled.retain(|_, lookup| awaited(lookup));
            let (client, own) = (self.client.clone(), name.clone());
            let pull = async move {
                progress::during(&format!("pulling {own}"), client.pull(image)).await?;
                client.image(&own).await
            };
            let fresh = || pull.map(|found| found.map_err(Rc::new)).boxed_local().shared();
            pulled.entry(name.clone()).or_insert_with(fresh).clone()
        };
        let found = lookup.await;
        self.forget(&name);
        found
    }

    /// What was found counts no more.
    pub fn forget(&self, image: &Image) {
        self.looked.borrow_mut().remove(image);
    }
}

/// Whether a request is under way and somebody waits for it.
fn awaited(lookup: &Lookup) -> bool {
    lookup.peek().is_none() && lookup.strong_count().is_some_and(|count| count > 1)
}
