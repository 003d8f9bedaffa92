//! The log of a member: what goes wrong is told once, in words that say where and why.

use std::collections::BTreeMap;
use std::time::Duration;

use super::directory::{Directory, Entry, Incarnation, MemberState, PROTOCOL};
use crate::config::units::HumanDuration;
use crate::store::redis::error::RedisError;
use crate::store::redis::outage_tracker::OutageTracker;
use crate::telemetry::escaped::Escaped;
use crate::telemetry::log;

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    outages: OutageTracker,
    /// The members that were live once, with their state when it was told last.
    told: BTreeMap<Incarnation, MemberState>,
}

impl Reporter {
    /// Notes that the fleet works.
    pub(super) fn up(&mut self, now_ns: u64, members: usize) {
        match self.outages.mark_up(now_ns) {
            Some(outage) if outage.duration.is_zero() => log::info!(members, "the fleet is up"),
            Some(outage) => {
                let (away, returns) = (shown(outage.duration), outage.returns);
                log::info!(members, %away, returns, "the fleet is up again");
            }
            None => {}
        }
    }

    /// Notes an error of Redis.
    pub(super) fn down(&mut self, now_ns: u64, error: &RedisError) {
        let RedisError { kind, server, message } = error;
        if let Some(outage) = self.outages.mark_down(now_ns, *kind) {
            log::warn!(
                at = %Escaped(server.as_bytes()),
                why = kind.name(),
                said = %Escaped(message.as_bytes()),
                away = %shown(outage.duration),
                "the fleet cannot be asked; this instance goes on alone"
            );
        }
    }

    /// Tells which members have come, lapsed, come back or left, and compares those that are new
    /// with this one. Who has not written since this one started may be gone for good, such as the
    /// former life of this very instance.
    pub(super) fn compare(&mut self, directory: &Directory, me: Incarnation, now_us: i64) {
        self.told.retain(|known, _| directory.entries.contains_key(known));
        let Some(own) = directory.entries.get(&me) else {
            return;
        };
        for (peer, entry) in directory.entries.iter().filter(|(peer, _)| **peer != me) {
            let state = entry.state(now_us);
            match self.told.get(peer) {
                None if state == MemberState::Live && entry.seen_us >= own.started_us => {
                    compare(own, entry);
                }
                Some(told) if *told != state => tell_state(entry, state),
                // Those who were gone before are none of the members.
                None | Some(_) => continue,
            }
            self.told.insert(*peer, state);
        }
    }
}

/// Tells what has become of a member.
fn tell_state(entry: &Entry, state: MemberState) {
    let instance = &Escaped(entry.instance.as_bytes());
    match state {
        MemberState::Live => log::info!(%instance, "a member of the fleet is back"),
        MemberState::Left => log::info!(%instance, "a member has left the fleet"),
        MemberState::Lapsed => log::warn!(
            %instance,
            "a member of the fleet has not been heard of for three seconds: it was killed, hangs, \
             or cannot reach redis"
        ),
    }
}

/// Tells in what a member differs from this one.
fn compare(own: &Entry, other: &Entry) {
    let instance = &Escaped(other.instance.as_bytes());
    log::info!(%instance, version = %Escaped(other.version.as_bytes()), "a member of the fleet");
    if other.instance == own.instance {
        log::warn!(%instance, "another live member of the fleet has the name of this instance");
    }
    if other.protocol != PROTOCOL {
        log::warn!(
            %instance,
            version = %Escaped(other.version.as_bytes()),
            "a member of the fleet has a version that this one cannot ask; it is missing in answers"
        );
    }
    for (flag, value) in &own.settings {
        let others = other.settings.get(flag).map(String::as_str).unwrap_or_default();
        if others != value {
            log::warn!(
                %instance,
                flag,
                here = value,
                there = %Escaped(others.as_bytes()),
                "a member of the fleet has another setting"
            );
        }
    }
}

/// Tells that Redis was emptied.
pub(super) fn memory_lost() {
    log::warn!("redis has lost what the fleet keeps there; what is known here is written again");
}

/// Tells that Redis evicts keys.
pub(super) fn evicts(policy: &str) {
    log::warn!(
        policy = %Escaped(policy.as_bytes()),
        "redis evicts keys when its memory is full, and with them what the fleet keeps there; \
         maxmemory-policy should be noeviction"
    );
}

/// Shortens a duration to milliseconds.
const fn shown(duration: Duration) -> HumanDuration {
    HumanDuration(Duration::from_millis(duration.as_millis() as u64))
}
