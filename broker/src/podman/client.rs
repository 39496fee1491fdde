//! What Podman is asked for, one function each.
//!
//! Takes a [`Socket`], gives answers. The library podman-api does what it does well; `wire` does the rest.
//! Names of images and containers must be checked before: the library puts them into paths as they are.

use std::collections::HashMap;
use std::path::Path;

use futures_util::StreamExt;
use hyper_util::rt::TokioIo;
use podman_api::Podman;
use podman_api::opts::{ContainerDeleteOpts, ContainerListFilter, ContainerListOpts, PullOpts, PullPolicy};
use serde_json::Value;

use super::description::Image;
use super::socket::Socket;
use super::wire::{self, WireError};
use crate::policy::Permitted;

/// Talks to Podman.
#[derive(Debug, Clone)]
pub struct Client {
    socket: Socket,
}

/// An image that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// Its id, 64 hexadecimal digits.
    pub id: String,
    /// Its digests, each `sha256:…`: of the image and of its manifests.
    pub digests: Vec<String>,
    /// The user that it names, or nothing.
    pub user: String,
}

/// A container with our label.
#[derive(Debug, Clone)]
pub struct Labelled {
    /// Its id.
    pub id: String,
    /// Its labels.
    pub labels: HashMap<String, String>,
}

impl Client {
    /// Talks to this socket.
    #[must_use]
    pub fn new(socket: Socket) -> Client {
        Client { socket }
    }

    fn path(&self) -> Result<&Path, WireError> {
        let bad = |error| WireError::Absent { socket: String::new(), source: std::io::Error::other(error) };
        self.socket.path().map_err(bad)
    }

    fn library(&self) -> Result<Podman, WireError> {
        self.path().map(Podman::unix)
    }

    /// Why the library failed: it does not tell a socket without Podman from a broken connection.
    fn failed(&self, error: podman_api::Error) -> WireError {
        match error {
            podman_api::Error::Fault { code, message } => {
                WireError::Refused { status: code.as_u16(), cause: String::new(), message }
            }
            other => match self.path().map(std::os::unix::net::UnixStream::connect) {
                Ok(Ok(_)) => WireError::Broken(other.to_string()),
                Ok(Err(source)) => {
                    let socket = self.path().map(|path| path.display().to_string()).unwrap_or_default();
                    WireError::Absent { socket, source }
                }
                Err(error) => error,
            },
        }
    }

    /// Podman's version.
    ///
    /// # Errors
    /// When it is not there.
    pub async fn version(&self) -> Result<String, WireError> {
        let podman = self.library()?;
        podman.ping().await.map_err(|error| self.failed(error))?;
        let version = podman.version().await.map_err(|error| self.failed(error))?;
        let socket = self.path()?.display();
        Ok(format!("{} at {socket}", version.version.unwrap_or_else(|| "of an unknown version".to_owned())))
    }

    /// The image of that name, if it is there.
    ///
    /// # Errors
    /// When Podman cannot say.
    pub async fn image(&self, image: &Image) -> Result<Option<Local>, WireError> {
        let found = match self.library()?.images().get(image.as_str()).inspect().await {
            Ok(found) => found,
            Err(podman_api::Error::Fault { code, .. }) if code.as_u16() == 404 => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        let id = found.id.unwrap_or_default();
        let of_repository = found.repo_digests.unwrap_or_default();
        let of_repository =
            of_repository.iter().filter_map(|digest| Some(digest.split_once('@')?.1.to_owned()));
        let mut digests: Vec<String> = found.digest.into_iter().chain(of_repository).collect();
        digests.push(format!("sha256:{id}"));
        let user = found.user.unwrap_or_default();
        Ok(Some(Local { id, digests, user }))
    }

    /// Pulls an image.
    ///
    /// # Errors
    /// When it cannot be had.
    pub async fn pull(&self, image: Permitted<Image>) -> Result<(), WireError> {
        let image = image.into_inner();
        let options =
            PullOpts::builder().reference(image.as_str()).policy(PullPolicy::Always).quiet(true).build();
        let (podman, mut last) = (self.library()?, None);
        let images = podman.images();
        let mut reports = images.pull(&options);
        while let Some(report) = reports.next().await {
            let report = report.map_err(|error| self.failed(error))?;
            // Errors come as reports of a good answer.
            last = report.error.or(last);
        }
        match last {
            None => Ok(()),
            Some(message) => Err(WireError::Refused { status: 500, cause: String::new(), message }),
        }
    }

    /// The containers with this label, running or not.
    ///
    /// # Errors
    /// When Podman cannot say.
    pub async fn labelled(&self, label: &str) -> Result<Vec<Labelled>, WireError> {
        let filter = [ContainerListFilter::LabelKey(label.to_owned())];
        let options = ContainerListOpts::builder().all(true).filter(filter).build();
        let found = self.library()?.containers().list(&options).await.map_err(|error| self.failed(error))?;
        let own = |container: podman_api::models::ListContainer| {
            Some(Labelled { id: container.id?, labels: container.labels.unwrap_or_default() })
        };
        Ok(found.into_iter().filter_map(own).collect())
    }

    /// Kills a container and removes it with all that is its own. One that is gone is none of our concern.
    ///
    /// # Errors
    /// When it may still be there.
    pub async fn remove(&self, name: &str) -> Result<(), WireError> {
        let podman = self.library()?;
        let container = podman.containers().get(name);
        // One that does not run cannot be killed; it is removed all the same.
        let _ = container.kill().await;
        let options = ContainerDeleteOpts::builder().force(true).volumes(true).timeout(0).build();
        match container.delete(&options).await {
            Err(podman_api::Error::Fault { code, .. }) if code.as_u16() == 404 => Ok(()),
            result => result.map_err(|error| self.failed(error)),
        }
    }

    /// Makes a container.
    ///
    /// # Errors
    /// When Podman cannot or will not.
    pub async fn create(&self, body: &Value) -> Result<(), WireError> {
        wire::post(self.path()?, "/containers/create", body).await.map(drop)
    }

    /// The standard streams of a container that has been made. Podman prepares its process for that.
    ///
    /// # Errors
    /// When there can be no such process: no such command or user.
    pub async fn attach(&self, name: &str) -> Result<TokioIo<hyper::upgrade::Upgraded>, WireError> {
        let path = format!("/containers/{name}/attach?stream=true&stdin=true&stdout=true&stderr=true");
        wire::upgrade(self.path()?, &path).await
    }

    /// Starts it.
    ///
    /// # Errors
    /// When Podman cannot or will not.
    pub async fn start(&self, name: &str) -> Result<(), WireError> {
        wire::post(self.path()?, &format!("/containers/{name}/start"), &Value::Null).await.map(drop)
    }

    /// Waits for its end; gives its exit status.
    ///
    /// # Errors
    /// When Podman cannot say.
    pub async fn wait(&self, name: &str) -> Result<i64, WireError> {
        let path = format!("/containers/{name}/wait?condition=stopped&condition=exited&interval=10ms");
        let answer = wire::post(self.path()?, &path, &Value::Null).await?;
        let status = std::str::from_utf8(&answer).ok().and_then(|text| text.trim().parse().ok());
        status.ok_or_else(|| WireError::Broken("no exit status".to_owned()))
    }
}
