use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::balancer::{ActiveConfig, Serving};
use crate::service::{Protocol, State};

#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    pub failures: u32,
    pub successes: u32,
}

#[derive(Debug, Eq, PartialEq)]
pub struct Change {
    pub address: IpAddr,
    pub state: State,
    pub reason: String,
}

#[derive(Debug, Default)]
pub struct Health {
    against: HashMap<IpAddr, u32>,
}

/// Connects to backends that are up or down at each TCP port; UDP ports and draining backends are not checked.
pub fn ask(now: &ActiveConfig, timeout: Duration) -> BTreeMap<IpAddr, Result<(), String>> {
    let mut questions: BTreeMap<IpAddr, Vec<u16>> = BTreeMap::new();
    for Serving { service, weights, .. } in now.services.values() {
        for backend in weights.keys().map(|number| now.backends[number]) {
            if service.protocol == Protocol::Tcp && matches!(backend.state, State::Up | State::Down) {
                questions.entry(backend.address).or_default().push(service.port);
            }
        }
    }
    let connect = |address: IpAddr, port: u16| {
        let place = SocketAddr::new(address, port);
        let answer = TcpStream::connect_timeout(&place, timeout);
        answer.map(drop).map_err(|error| format!("port {port}: {error}"))
    };
    std::thread::scope(|threads| {
        let asked: Vec<_> = questions
            .into_iter()
            .map(|(address, ports)| {
                let answer = move || ports.into_iter().try_for_each(|port| connect(address, port));
                (address, threads.spawn(answer))
            })
            .collect();
        asked
            .into_iter()
            .map(|(address, thread)| {
                (address, thread.join().unwrap_or_else(|_| Err("the check broke off".to_owned())))
            })
            .collect()
    })
}

impl Health {
    /// Returns the changes. Each is returned again until it is passed to [`made`](Self::made).
    pub fn evaluate(
        &mut self,
        now: &ActiveConfig,
        answers: BTreeMap<IpAddr, Result<(), String>>,
        thresholds: Thresholds,
    ) -> Vec<Change> {
        let states: HashMap<IpAddr, State> =
            now.backends.values().map(|backend| (backend.address, backend.state)).collect();
        self.against.retain(|address, _| answers.contains_key(address));
        let mut changes = Vec::new();
        for (address, answer) in answers {
            let (state, needed, reason) = match (states.get(&address), answer) {
                (Some(State::Up), Err(reason)) => (State::Down, thresholds.failures, reason),
                (Some(State::Down), Ok(())) => (State::Up, thresholds.successes, "it answers".to_owned()),
                _ => {
                    self.against.remove(&address);
                    continue;
                }
            };
            let count = self.against.entry(address).or_default();
            *count += 1;
            if *count >= needed {
                changes.push(Change { address, state, reason });
            }
        }
        changes
    }

    pub fn made(&mut self, changes: &[Change]) {
        for change in changes {
            self.against.remove(&change.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::service::Backend;

    #[test]
    fn only_answers_in_a_row_change_a_state() {
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let mut now = ActiveConfig {
            settings: Settings::default(),
            identities: 0,
            services: BTreeMap::new(),
            backends: BTreeMap::from([(0, Backend { address, state: State::Up, epoch: 1 })]),
        };
        let mut health = Health::default();
        let thresholds = Thresholds { failures: 3, successes: 2 };
        let evaluate = |health: &mut Health, now: &ActiveConfig, good: bool| {
            let answer = if good { Ok(()) } else { Err("refused".to_owned()) };
            health.evaluate(now, BTreeMap::from([(address, answer)]), thresholds)
        };
        let state = |changes: &[Change]| changes.first().map(|change| change.state);
        for (good, expected) in [
            (false, None),
            (false, None),
            (true, None),
            (false, None),
            (false, None),
            (false, Some(State::Down)),
            // The change was not made because another writer was active: it is returned again.
            (false, Some(State::Down)),
        ] {
            let changes = evaluate(&mut health, &now, good);
            assert_eq!(state(&changes), expected);
        }
        let changes = evaluate(&mut health, &now, false);
        health.made(&changes);
        now.backends.insert(0, Backend { address, state: State::Down, epoch: 1 });
        for (good, expected) in [(true, None), (false, None), (true, None), (true, Some(State::Up))] {
            assert_eq!(state(&evaluate(&mut health, &now, good)), expected);
        }
    }
}
