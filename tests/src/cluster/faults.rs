//! What may befall a machine, and how it comes back.

use std::fmt;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Cluster, SIZE, end, start_etcd, start_nats};

/// One misfortune, and the machine that it meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The broker is killed, and started again.
    KillBroker(usize),
    /// The broker stands still, and goes on.
    PauseBroker(usize),
    /// The NATS server is killed, and started again on its own store.
    KillNats(usize),
    /// The NATS server stands still.
    PauseNats(usize),
    /// The etcd member is killed, and started again on its own data.
    KillEtcd(usize),
    /// The etcd member stands still.
    PauseEtcd(usize),
    /// Nobody reaches the machine, and it reaches nobody.
    Cut(usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::KillBroker(at) => write!(formatter, "kill -9 of broker {at}"),
            Fault::PauseBroker(at) => write!(formatter, "broker {at} stopped"),
            Fault::KillNats(at) => write!(formatter, "kill -9 of NATS server {at}"),
            Fault::PauseNats(at) => write!(formatter, "NATS server {at} stopped"),
            Fault::KillEtcd(at) => write!(formatter, "kill -9 of etcd member {at}"),
            Fault::PauseEtcd(at) => write!(formatter, "etcd member {at} stopped"),
            Fault::Cut(at) => write!(formatter, "the cable of machine {at} pulled"),
        }
    }
}

impl Fault {
    /// The one of that number, of 7 on each machine.
    #[must_use]
    pub fn by_number(number: u64) -> Fault {
        let at = usize::try_from(number / 7).unwrap_or_default() % SIZE;
        match number % 7 {
            0 => Fault::KillBroker(at),
            1 => Fault::PauseBroker(at),
            2 => Fault::KillNats(at),
            3 => Fault::PauseNats(at),
            4 => Fault::KillEtcd(at),
            5 => Fault::PauseEtcd(at),
            _ => Fault::Cut(at),
        }
    }
}

impl Cluster {
    /// Has a fault last for so long, then mends it and waits until all is well again.
    ///
    /// # Panics
    /// When it does not become well again.
    pub fn suffer(&self, fault: Fault, length: Duration) {
        self.begin(fault);
        std::thread::sleep(length);
        self.mend(fault);
        self.wait_until_well();
    }

    /// Waits until every broker is ready and every member of etcd is well.
    ///
    /// # Panics
    /// When that never comes.
    pub fn wait_until_well(&self) {
        self.wait_for("etcd is well", |cluster| cluster.etcdctl(&["endpoint", "health"]).is_some());
        self.wait_for("all brokers are ready", |cluster| (0..SIZE).all(|at| cluster.is_ready(at)));
    }

    fn begin(&self, fault: Fault) {
        match fault {
            Fault::KillBroker(at) => {
                // Dropped, it is killed.
                drop(self.brokers[at].lock().expect("not poisoned").take());
            }
            Fault::PauseBroker(at) => self.signal_broker(at, Signal::SIGSTOP),
            Fault::KillNats(at) => end(&mut self.nats[at].lock().expect("not poisoned")),
            Fault::PauseNats(at) => signal(self.nats[at].lock().expect("not poisoned").id(), Signal::SIGSTOP),
            Fault::KillEtcd(at) => end(&mut self.etcd[at].lock().expect("not poisoned")),
            Fault::PauseEtcd(at) => signal(self.etcd[at].lock().expect("not poisoned").id(), Signal::SIGSTOP),
            Fault::Cut(at) => self.network.connect(at, false),
        }
    }

    fn mend(&self, fault: Fault) {
        match fault {
            Fault::KillBroker(at) => self.start_broker(at),
            Fault::PauseBroker(at) => self.signal_broker(at, Signal::SIGCONT),
            Fault::KillNats(at) => {
                *self.nats[at].lock().expect("not poisoned") = start_nats(&self.network, &self.folder, at);
            }
            Fault::PauseNats(at) => signal(self.nats[at].lock().expect("not poisoned").id(), Signal::SIGCONT),
            Fault::KillEtcd(at) => {
                *self.etcd[at].lock().expect("not poisoned") = start_etcd(&self.network, &self.folder, at);
            }
            Fault::PauseEtcd(at) => signal(self.etcd[at].lock().expect("not poisoned").id(), Signal::SIGCONT),
            Fault::Cut(at) => self.network.connect(at, true),
        }
    }

    fn signal_broker(&self, at: usize, signal: Signal) {
        if let Some(broker) = &*self.brokers[at].lock().expect("not poisoned") {
            broker.signal(signal);
        }
    }
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).expect("a process id");
    kill(Pid::from_raw(pid), signal).expect("it runs");
}
