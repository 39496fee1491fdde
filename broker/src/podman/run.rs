//! One invocation in a container: the steps in their order.
//!
//! 1 read the description, 2 have it judged, 3 wait for a place, 4 find the image, 5 run, 6 remove.

use std::rc::Rc;
use std::time::Instant;

use msgscript_proto::message::Limits;
use tokio::time::sleep_until;
use tracing::Level;

use super::Podman;
use super::client::Local;
use super::container::{Container, Output, Room};
use super::description::{Description, Pull};
use super::fault::Fault;
use super::gate::{Place, Share};
use super::spec::{self, Frame};
use crate::invocation::{Ending, Invocation, LogLine, Reason, format_id};
use crate::policy::{Permitted, Policy};
use crate::result::{self, Done};
use crate::telemetry;
use crate::units::{print_duration, print_size};

/// The exit status of a process that was killed.
const KILLED: i64 = 137;

/// One invocation.
pub(super) struct Run {
    pub(super) podman: Rc<Podman>,
    pub(super) invocation: Rc<Invocation>,
    pub(super) policy: Rc<Policy>,
    pub(super) limits: Limits,
}

impl Run {
    /// Runs it; the container's removal goes on behind the ending.
    pub(super) async fn conduct(self) -> Ending {
        let text = &self.invocation.script.source.text;
        let description = match Description::read(text) {
            Ok(description) => description,
            Err((line, error)) => return self.undescribed(line, &error.to_string()),
        };
        let (image, unknown) = (description.image.to_string(), description.unknown.clone());
        let mut ending = match self.steps(description).await {
            Ok(ending) => ending,
            Err(fault) => fault.ending(&self.invocation, &image),
        };
        if !unknown.is_empty() {
            let text = format!("the description has fields that mean nothing: {}", unknown.join(", "));
            ending.logs.insert(0, LogLine { level: Level::WARN, text });
        }
        for line in &ending.logs {
            telemetry::script_line(&self.invocation.script, self.invocation.id, line.level, &line.text);
        }
        ending
    }

    fn undescribed(&self, line: Option<usize>, error: &str) -> Ending {
        let script = &self.invocation.script;
        let line = line.map(|line| format!("{line}:")).unwrap_or_default();
        let text = format!("{}:{line} {error}", script.source.name);
        Ending::failed(self.invocation.id, script, Reason::ScriptError, text)
    }

    async fn steps(&self, description: Description) -> Result<Ending, Fault> {
        let permitted = self.judged(description).await?;
        let place = self.place().await?;
        let local = self.unless_stopped(self.image(&permitted)).await??;
        let began = Instant::now();
        if let Some(trace) = &self.invocation.trace {
            trace.began();
        }
        let image = permitted.get().image.clone();
        let mut container = self.begin(&permitted, &local, place);
        let payload = self.invocation.message.payload.clone();
        let output = self.unless_stopped(container.run(payload, self.room())).await;
        // Behind the ending: the caller need not wait for that. The place is given back when it is gone.
        tokio::task::spawn_local(self.podman.clone().removed(container));
        let output = output?.map_err(|error| {
            // It may have been removed since it was looked at: look again next time.
            self.podman.images.forget(&image);
            Fault::of_container(error, &self.limits)
        })?;
        Ok(self.ended(image.as_str(), output, began))
    }

    /// What may be run. An image may be granted by a digest that it has; then it is looked at.
    async fn judged(&self, description: Description) -> Result<Permitted<Description>, Fault> {
        let digests = match self.policy.looks_at_digests() {
            true => {
                let found = self.unless_stopped(self.podman.images.local(&description.image)).await?;
                found?.map(|local| local.digests).unwrap_or_default()
            }
            false => Vec::new(),
        };
        Ok(self.policy.container(description, &digests, |path| path.canonicalize())?)
    }

    async fn place(&self) -> Result<Place, Fault> {
        let limits = &self.policy.limits;
        let running = limits.concurrency.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
        let share = Share { running, waiting: limits.queue };
        let entered = self.podman.gate.enter(&self.policy.tenant, share);
        match self.unless_stopped(entered).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(Fault::Full(limits.queue)),
            Err(Fault::Late(_)) => Err(Fault::NoPlace(self.invocation.message.arrived)),
            Err(fault) => Err(fault),
        }
    }

    /// The image, pulled if it must be and may be.
    async fn image(&self, permitted: &Permitted<Description>) -> Result<Local, Fault> {
        let (wanted, images) = (permitted.get(), &self.podman.images);
        let pull = || self.policy.pull(wanted.image.clone());
        if wanted.pull == Pull::Always {
            return pulled(images.pull(pull()?).await);
        }
        match (images.local(&wanted.image).await?, wanted.pull) {
            (Some(local), _) => Ok(local),
            (None, Pull::Never) => Err(Fault::NoImage("it is not here, and `pull` is \"never\"".to_owned())),
            (None, _) => match pull() {
                Ok(permitted) => pulled(images.pull(permitted).await),
                Err(_) => Err(Fault::NoImage(format!(
                    "it is not here, and {} may run local images only (pull or build it first)",
                    self.policy.tenant
                ))),
            },
        }
    }

    fn begin(&self, permitted: &Permitted<Description>, local: &Local, place: Place) -> Container {
        let invocation = &self.invocation;
        let (script, id) = (&invocation.script, format_id(invocation.id));
        let mut labels = self.podman.owner.labels(invocation.wall);
        labels.insert("msgscript.tenant".to_owned(), script.tenant.to_string());
        labels.insert("msgscript.script".to_owned(), format!("{}/{}", script.subject, script.name));
        labels.insert("msgscript.invocation".to_owned(), id.clone());
        let frame = Frame {
            name: format!("msgscript-{id}"),
            labels,
            memory: self.limits.memory,
            cpu: self.policy.limits.cpu,
            wall: invocation.wall,
            network: self.policy.grants.containers.network,
        };
        let env = spec::environment(&invocation.message);
        let body = spec::body(permitted, local, &frame, &env);
        Container::begin(&self.podman.client, frame.name, body, place)
    }

    fn room(&self) -> Room {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Room { stdout: size(self.limits.output), stderr: size(self.limits.log) }
    }

    /// What a container that ended by itself came to.
    fn ended(&self, image: &str, output: Output, began: Instant) -> Ending {
        let (id, script) = (self.invocation.id, &self.invocation.script);
        let Output { status, stdout, stderr, cut } = output;
        let failure = (status != 0).then(|| format!("exit status {status}"));
        let done = Done { what: image, failure, stdout, stderr: &stderr };
        let mut ending = result::ending(id, script, done);
        if status == 0 {
            ending.logs = result::log_lines(&stderr);
        }
        if cut {
            let text = format!("standard error past {} is left out", print_size(self.limits.log));
            ending.logs.push(LogLine { level: Level::WARN, text });
        }
        // Podman does not always tell what killed it. What the kernel kills is over a limit.
        let cpu = self.policy.limits.cpu.filter(|cpu| began.elapsed() >= *cpu);
        match (status, cpu) {
            (KILLED, Some(cpu)) => {
                let measured = format!("over {}", print_duration(cpu));
                Ending { reason: Reason::CpuTime, limit: print_duration(cpu), measured, ..ending }
            }
            (KILLED, None) => {
                let limit = print_size(self.limits.memory);
                let error = format!("{} (killed: most likely by the memory limit)", ending.error);
                Ending { reason: Reason::Memory, measured: format!("over {limit}"), limit, error, ..ending }
            }
            _ => ending,
        }
    }

    /// The same, unless its deadline or the end of the server comes first.
    async fn unless_stopped<T>(&self, work: impl Future<Output = T>) -> Result<T, Fault> {
        tokio::select! {
            biased;
            () = self.podman.closed() => Err(Fault::Cancelled),
            () = self.invocation.lock_lost() => Err(Fault::Cancelled),
            done = work => Ok(done),
            () = sleep_until(self.invocation.deadline.into()) => Err(Fault::Late(self.invocation.message.arrived)),
        }
    }
}

/// What a pull came to.
fn pulled(found: Result<Option<Local>, Rc<super::wire::WireError>>) -> Result<Local, Fault> {
    match found {
        Ok(Some(local)) => Ok(local),
        Ok(None) => Err(Fault::NoImage("it is not here, though it was pulled".to_owned())),
        Err(error) => Err(Fault::of_pull(error)),
    }
}
