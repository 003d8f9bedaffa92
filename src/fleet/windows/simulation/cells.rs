//! Modelled cells: a window is the list of all events of its device, so that what is lost, doubled
//! or judged against others is seen.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::super::cells::{Base, Cells, Copy, Save};
use super::super::note::DeviceId;
use super::coverage::Coverage;
use super::{WINDOW, trace};
use crate::analytics::lineage::{Counted, Fork, Line, Relation, Side, relate};
use crate::analytics::shared_windows::{Cell, Standing};
use percore::clock::Now;

/// An event that was judged: those before it in its window, and its standing.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) event: u32,
    pub(super) before: Vec<u32>,
    pub(super) in_doubt: bool,
    pub(super) at_ns: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Device {
    /// The events of the window, in order; `None` while it waits.
    pub(super) events: Option<Vec<u32>>,
    forks: Vec<Fork>,
    /// The events that came while it waits.
    pub(super) queue: Vec<u32>,
    pub(super) is_confirmed: bool,
    ticket: u64,
    tenure: u32,
    is_unsaved: bool,
    is_listed: bool,
}

/// The cells of a process.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) me: u64,
    branches: u64,
    tenure: u32,
    lapse_tenure: u32,
    sure_until_ns: u64,
    /// The times that a device was confirmed.
    pub(super) confirmed: u64,
    pub(super) devices: BTreeMap<DeviceId, Device>,
    wanted: Vec<DeviceId>,
    dirty: Vec<DeviceId>,
    round: VecDeque<DeviceId>,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) coverage: Coverage,
}

impl State {
    pub(super) fn new(me: u64) -> Self {
        Self { me, tenure: 1, ..Self::default() }
    }

    /// Returns true if a device is held here and confirmed, and the lease is sure.
    pub(super) fn is_held_for_sure(&self, id: &[u8], now_ns: u64) -> bool {
        let is_sure = now_ns < self.sure_until_ns;
        is_sure && self.devices.get(id).is_some_and(|it| it.tenure == self.tenure)
    }

    /// Returns a device as it is now.
    pub(super) fn device(&self, id: &[u8]) -> Option<Device> {
        let device = self.devices.get(id)?.clone();
        Some(Device { is_confirmed: device.tenure == self.tenure, ..device })
    }

    /// Confirms the lease.
    pub(super) fn renew_lease(&mut self, sent_ns: u64, until_ns: u64, now_ns: u64) {
        if sent_ns.min(now_ns) >= self.sure_until_ns || now_ns >= self.sure_until_ns {
            self.lapse();
        }
        self.sure_until_ns = self.sure_until_ns.max(until_ns);
    }

    /// Notices, by the own clock, that the lease has run out.
    fn lapse_if_due(&mut self, now_ns: u64) {
        if now_ns >= self.sure_until_ns && self.sure_until_ns > 0 {
            self.lapse();
            self.sure_until_ns = 0;
        }
    }

    fn lapse(&mut self) {
        trace::tell(None, || format!("{} LAPSES", trace::name(self.me)));
        self.doubt();
        self.lapse_tenure = self.tenure;
    }

    fn doubt(&mut self) {
        self.tenure += 1;
        for (id, device) in &mut self.devices {
            // Those that wait are asked for already.
            device.is_listed = device.events.is_none() && self.wanted.contains(id);
        }
    }

    fn list(&mut self, id: &[u8]) {
        let device = self.devices.get_mut(id).unwrap();
        if !device.is_listed {
            device.is_listed = true;
            self.wanted.push(id.into());
        }
    }

    fn touch(&mut self, id: &[u8]) {
        let device = self.devices.get_mut(id).unwrap();
        if !device.is_unsaved {
            device.is_unsaved = true;
            self.dirty.push(id.into());
        }
    }

    /// Takes an event of a device.
    pub(super) fn event(&mut self, id: &[u8], event: u32, now_ns: u64) {
        self.lapse_if_due(now_ns);
        if !self.devices.contains_key(id) {
            self.devices.insert(id.into(), Device::default());
            self.list(id);
        }
        let tenure = self.tenure;
        let device = self.devices.get_mut(id).unwrap();
        if device.events.is_none() {
            device.queue.push(event);
            return;
        }
        let in_doubt = device.tenure != tenure;
        self.judge(id, event, in_doubt);
        if in_doubt {
            self.list(id);
        }
        self.touch(id);
    }

    fn judge(&mut self, id: &[u8], event: u32, in_doubt: bool) {
        let events = self.devices.get_mut(id).unwrap().events.as_mut().unwrap();
        let before = events[events.len().saturating_sub(WINDOW)..].to_vec();
        events.push(event);
        self.verdicts.push(Verdict { event, before, in_doubt, at_ns: trace::now_ns() });
    }

    /// Returns a name that no other branch has.
    fn new_branch(&mut self) -> u64 {
        self.branches += 1;
        self.me.wrapping_add(self.branches)
    }

    fn judge_queue(&mut self, id: &[u8], in_doubt: bool) {
        let queue = std::mem::take(&mut self.devices.get_mut(id).unwrap().queue);
        queue.into_iter().for_each(|event| self.judge(id, event, in_doubt));
    }

    fn copy_of(device: &Device) -> Option<Copy> {
        let events = device.events.as_ref()?;
        let mut body = vec![device.forks.len() as u8];
        for fork in &device.forks {
            body.extend_from_slice(&fork.branch.to_le_bytes());
            body.extend_from_slice(&fork.accepted.to_le_bytes());
        }
        events.iter().for_each(|event| body.extend_from_slice(&event.to_le_bytes()));
        Some(Copy { events: events.len() as u64, body })
    }
}

fn counted(events: &[u32]) -> Counted {
    Counted { accepted: events.len() as u64, ..Counted::NONE }
}

pub(super) fn read_body(body: &[u8]) -> (Vec<u32>, Vec<Fork>) {
    let (count, rest) = body.split_first().unwrap();
    let (forks, events) = rest.split_at(16 * usize::from(*count));
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let fork = |bytes: &[u8]| {
        let (branch, accepted) = (number(&bytes[..8]), number(&bytes[8..]));
        Fork::new(branch, Counted { accepted, ..Counted::NONE })
    };
    let forks = forks.chunks(16).map(fork).collect();
    let event = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    (events.chunks(4).map(event).collect(), forks)
}

/// The cells, as the mover and the cores of a process share them.
#[derive(Clone, Debug)]
pub(super) struct SimCells(pub(super) Rc<RefCell<State>>);

impl Cells for SimCells {
    fn is_sure(&self, now_ns: u64) -> bool {
        now_ns < self.0.borrow().sure_until_ns
    }

    fn doubt(&mut self) {
        self.0.borrow_mut().doubt();
    }

    fn lapses(&self, now_ns: u64) -> u32 {
        self.0.borrow_mut().lapse_if_due(now_ns);
        self.0.borrow().lapse_tenure
    }

    fn cell(&self, id: &[u8], now: Now) -> Cell {
        self.0.borrow_mut().lapse_if_due(now.mono_ns);
        let state = self.0.borrow();
        match state.devices.get(id) {
            None => Cell::Absent,
            Some(device) if device.events.is_none() => Cell::Waiting,
            Some(device) => {
                let standing = if device.tenure == state.tenure {
                    Standing::Confirmed
                } else if device.tenure >= state.lapse_tenure {
                    Standing::Reconnected
                } else {
                    Standing::Lapsed
                };
                Cell::Held { ticket: device.ticket, standing }
            }
        }
    }

    fn take_wanted(&mut self, out: &mut Vec<DeviceId>) {
        out.append(&mut self.0.borrow_mut().wanted);
    }

    fn begin_saves(&mut self, _now: Now) {
        let mut state = self.0.borrow_mut();
        let dirty = std::mem::take(&mut state.dirty);
        state.round.extend(dirty);
    }

    fn has_saves(&self) -> bool {
        !self.0.borrow().round.is_empty()
    }

    fn has_unsaved(&self) -> bool {
        let state = self.0.borrow();
        !state.round.is_empty() || !state.dirty.is_empty()
    }

    fn next_saves(&mut self, max: usize, now: Now, take: &mut dyn FnMut(Save<'_>)) {
        for _ in 0..max {
            let Some(id) = self.0.borrow_mut().round.pop_front() else {
                return;
            };
            let cell = self.cell(&id, now);
            let is_confirmed = matches!(cell, Cell::Held { standing: Standing::Confirmed, .. });
            let mut state = self.0.borrow_mut();
            let Some(device) = state.devices.get_mut(&id).filter(|device| device.is_unsaved) else {
                continue;
            };
            device.is_unsaved = false;
            if let Some(Copy { events, body }) = State::copy_of(device) {
                let body = &mut |out: &mut Vec<u8>| out.extend_from_slice(&body);
                take(Save { id: &id, events, body, is_confirmed });
            }
        }
    }

    fn unsave_all(&mut self) {
        let mut state = self.0.borrow_mut();
        state.coverage.see("mover: everything saved again");
        let held = state.devices.iter().filter(|(_, device)| device.events.is_some());
        let held: Vec<_> = held.map(|(id, _)| id.clone()).collect();
        held.iter().for_each(|id| state.touch(id));
    }

    fn copy(&mut self, id: &[u8], _now: Now) -> Option<Copy> {
        let mut state = self.0.borrow_mut();
        let device = state.devices.get_mut(id)?;
        device.is_unsaved &= device.events.is_none();
        State::copy_of(device)
    }

    fn export(&mut self, id: &[u8], _now: Now) -> Option<Copy> {
        let mut state = self.0.borrow_mut();
        let copy = State::copy_of(state.devices.get(id)?)?;
        trace::tell(Some(id), || {
            let forks = trace::forks(&state.devices[id].forks);
            format!("{} EXPORTS {} [{forks}]", trace::name(state.me), copy.events)
        });
        state.devices.remove(id);
        Some(copy)
    }

    fn adopt(&mut self, id: &[u8], base: Option<Base<'_>>, ticket: Option<u64>, now: Now) -> bool {
        let mut state = self.0.borrow_mut();
        let (me, is_sure) = (state.me, now.mono_ns < state.sure_until_ns && ticket.is_some());
        let ticket = ticket.unwrap_or_default();
        let branch = state.new_branch();
        let tenure = if is_sure { state.tenure } else { 0 };
        let device = state.devices.entry(id.into()).or_default();
        let base = base.map(|base| (base.is_copy, read_body(base.body)));
        trace::tell(Some(id), || {
            let own = device.events.as_ref().map(Vec::len);
            let own_forks = trace::forks(&device.forks);
            let base = base
                .as_ref()
                .map(|(is_copy, (events, forks))| (*is_copy, events.len(), trace::forks(forks)));
            let me = trace::name(me);
            format!("{me} ADOPTS {base:?} into {own:?} [{own_forks}], sure: {is_sure}")
        });
        let seen = match (&device.events, &base) {
            (_, None) => "cells: new",
            (Some(_), Some(_)) => "cells: joined",
            (None, Some((true, _))) => "cells: a copy taken",
            (None, Some(_)) => "cells: a gift taken",
        };
        match (&device.events, base) {
            (None, None) => device.events = Some(Vec::new()),
            (None, Some((is_copy, (events, forks)))) => {
                let line = Line { counted: counted(&events), forks: &forks };
                device.forks = if is_copy { line.branched(branch) } else { forks };
                device.events = Some(events);
            }
            (Some(_), None) => {}
            (Some(own), Some((_, (events, forks)))) => {
                let own_line = Line { counted: counted(own), forks: &device.forks };
                let base_line = Line { counted: counted(&events), forks: &forks };
                let Relation { first, extra, forks, .. } = relate(own_line, base_line);
                let (first, second) =
                    if first == Side::Own { (own, &events) } else { (&events, own) };
                let rest = extra.iter().flat_map(|it| &second[it.start as usize..it.end as usize]);
                device.events = Some(first.iter().chain(rest).copied().collect());
                device.forks = forks;
            }
        }
        (device.ticket, device.tenure, device.is_listed) = (ticket, tenure, false);
        trace::tell(Some(id), || {
            let count = device.events.as_ref().map(Vec::len);
            let (forks, queued) = (trace::forks(&device.forks), device.queue.len());
            format!("{} has {count:?} [{forks}] and {queued} that waited", trace::name(me))
        });
        state.confirmed += u64::from(is_sure);
        state.coverage.see(seen);
        state.judge_queue(id, !is_sure);
        state.touch(id);
        true
    }

    fn confirm(&mut self, id: &[u8], ticket: u64, now: Now) {
        let mut state = self.0.borrow_mut();
        let (is_sure, tenure) = (now.mono_ns < state.sure_until_ns, state.tenure);
        trace::tell(Some(id), || format!("{} CONFIRMS {ticket}: {is_sure}", trace::name(state.me)));
        state.confirmed += u64::from(is_sure);
        if let Some(device) = state.devices.get_mut(id).filter(|it| it.events.is_some()) {
            device.ticket = ticket;
            device.is_listed = false;
            if is_sure {
                device.tenure = tenure;
            }
        }
    }

    fn begin_alone(&mut self, id: &[u8], ticket: Option<u64>, now: Now) {
        let mut state = self.0.borrow_mut();
        let branch = state.new_branch();
        let (tenure, sure_until_ns) = (state.tenure, state.sure_until_ns);
        let Some(device) = state.devices.get_mut(id).filter(|it| it.events.is_none()) else {
            return;
        };
        trace::tell(Some(id), || format!("{} goes on ALONE: {branch}", trace::name(branch)));
        device.events = Some(Vec::new());
        device.forks = vec![Fork::new(branch, Counted::NONE)];
        let is_sure = now.mono_ns < sure_until_ns && ticket.is_some();
        let seen = if ticket.is_some() { "cells: a branch begun" } else { "cells: begun alone" };
        device.ticket = ticket.unwrap_or_default();
        device.tenure = if is_sure { tenure } else { 0 };
        device.is_listed &= !is_sure;
        state.confirmed += u64::from(is_sure);
        state.coverage.see(seen);
        state.judge_queue(id, !is_sure);
        state.touch(id);
    }
}
