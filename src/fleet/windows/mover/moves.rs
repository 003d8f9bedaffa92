//! The moves: what becomes of a pursuit.

use super::super::figures::Source;
use super::super::note::Said;
use super::*;

impl<C: Cells> Mover<C> {
    /// Does what is due of a pursuit by itself.
    pub(super) fn go_on_with(&mut self, id: &[u8], now: Now) {
        let Some(pursuit) = self.pursuits.get(id) else {
            return;
        };
        let has_waited_ns = now.mono_ns.saturating_sub(pursuit.stage_ns);
        // Somebody may have left or died.
        self.next_census_ns = self.next_census_ns.min(now.mono_ns + BEAT_NS / 4);
        match pursuit.stage.clone() {
            Stage::Following(of) => {
                let life = self.roster.life(of.by, now.mono_ns);
                if life == Life::Live && has_waited_ns >= STUCK_NS {
                    self.ask_all(id, now);
                } else {
                    self.ask_for(id, of, life, now);
                }
            }
            Stage::Asking { round: Some(round), .. } => {
                let peers = self.roster.peers(self.me, now.mono_ns);
                self.ask_these(id, round, &peers, now);
            }
            Stage::Asking { round: None, .. }
            | Stage::ToClaim
            | Stage::Claiming
            | Stage::Choosing { .. } => {}
        }
    }

    /// Follows a claim: asks its replica for the window, and reads the copy in case it is gone.
    pub(super) fn follow(&mut self, id: &[u8], of: Claim, now: Now) {
        if let Some(pursuit) = self.pursuits.get_mut(id) {
            pursuit.stage = Stage::Following(of);
            pursuit.stage_ns = now.mono_ns;
            let life = self.roster.life(of.by, now.mono_ns);
            self.ask_for(id, of, life, now);
        }
    }

    fn ask_for(&mut self, id: &[u8], of: Claim, life: Life, now: Now) {
        let Some(ticket) = self.ticket(id) else {
            return;
        };
        if life == Life::Live {
            let said = Said::Want { claim: ticket, of: of.ticket, echo: 0 };
            self.outbox.note(of.by, id, said);
        }
        self.read_copy(id, ticket, of, life, false);
        self.set_due(id, now.mono_ns + AGAIN_NS);
    }

    /// Reads the copy of the replica that is followed.
    pub(super) fn read_copy(
        &mut self,
        id: &[u8],
        ticket: u64,
        of: Claim,
        life: Life,
        is_refused: bool,
    ) {
        let purpose = Purpose::Follow { id: id.into(), ticket, of, life, is_refused };
        self.outbox.push(&self.keys.read(id, of.by), purpose);
    }

    /// Asks all who live for the window, once the directory has told who does.
    pub(super) fn ask_all(&mut self, id: &[u8], now: Now) {
        if let Some(pursuit) = self.pursuits.get_mut(id) {
            pursuit.stage_ns = now.mono_ns;
            pursuit.lapses = self.cells.lapses(now.mono_ns);
            let (awaited, open) = (BTreeSet::new(), Vec::new());
            pursuit.stage = Stage::Asking { round: None, awaited, open };
            self.to_ask.push(id.into());
            self.next_census_ns = now.mono_ns;
        }
    }

    /// Asks for the windows that waited for a reading of the directory, which was sent at this
    /// time: whoever has held a window before that is in it.
    pub(super) fn ask_those_read(&mut self, sent_ns: u64, now: Now) {
        let knows_all = self.roster.has_all(now.mono_ns);
        for id in mem::take(&mut self.to_ask) {
            let Some(pursuit) = self.pursuits.get(&id) else {
                continue;
            };
            match pursuit.stage {
                Stage::Asking { round: None, .. } if knows_all && pursuit.stage_ns <= sent_ns => {
                    self.begin_round(&id, now);
                }
                Stage::Asking { round: None, .. } => self.to_ask.push(id),
                _ => {}
            }
        }
        if !self.to_ask.is_empty() {
            let soon_ns = if knows_all { now.mono_ns } else { now.mono_ns + AGAIN_NS / 3 };
            self.next_census_ns = self.next_census_ns.min(soon_ns);
        }
    }

    fn begin_round(&mut self, id: &[u8], now: Now) {
        let peers = self.roster.peers(self.me, now.mono_ns);
        let round = self.next_number();
        if let Some(pursuit) = self.pursuits.get_mut(id) {
            let (awaited, open) = (peers.iter().copied().collect(), Vec::new());
            pursuit.stage = Stage::Asking { round: Some(round), awaited, open };
            self.ask_these(id, round, &peers, now);
        }
    }

    /// Asks those of the living who have not answered.
    fn ask_these(&mut self, id: &[u8], round: u64, peers: &[Incarnation], now: Now) {
        let Some(pursuit) = self.pursuits.get_mut(id) else {
            return;
        };
        let claim = pursuit.ticket;
        if let Stage::Asking { awaited, .. } = &mut pursuit.stage {
            awaited.retain(|peer| peers.contains(peer));
            for peer in awaited.iter() {
                self.outbox.note(*peer, id, Said::Ask { claim, round });
            }
        }
        self.set_due(id, now.mono_ns + AGAIN_NS);
        self.choose_if_answered(id, now);
    }

    /// Notes that a replica has answered to a question to all, and the claim under which it waits.
    pub(super) fn note_answer(
        &mut self,
        id: &[u8],
        from: Incarnation,
        waits: Option<Claim>,
        now: Now,
    ) {
        let Some(pursuit) = self.pursuits.get_mut(id) else {
            return;
        };
        if let Stage::Asking { awaited, open, .. } = &mut pursuit.stage {
            awaited.remove(&from);
            open.extend(waits);
            self.choose_if_answered(id, now);
        }
    }

    /// Takes what was given, or reads the copies, once all have answered.
    pub(super) fn choose_if_answered(&mut self, id: &[u8], now: Now) {
        // What is on its way from here may come back.
        let is_given = self.gives.contains_key(id);
        let Some(pursuit) = self.pursuits.get_mut(id) else {
            return;
        };
        let Stage::Asking { round, awaited, open } = &mut pursuit.stage else {
            return;
        };
        if round.is_none() || !awaited.is_empty() || is_given {
            return;
        }
        let open = mem::take(open);
        if pursuit.has_whole_gift() {
            return self.take_gifts(id, now);
        }
        pursuit.stage = Stage::Choosing { open };
        let (ticket, of) = (pursuit.ticket, self.roster.all(self.me));
        let command = self.keys.read_all(id, &of);
        self.outbox.push(&command, Purpose::Choose { id: id.into(), ticket, of });
    }

    /// Chooses among the copies that there are.
    pub(super) fn choose(&mut self, id: &[u8], copies: Vec<(Incarnation, Envelope)>, now: Now) {
        let Some(pursuit) = self.pursuits.get(id) else {
            return;
        };
        let Stage::Choosing { open } = &pursuit.stage else {
            return;
        };
        let (open, odd) = (open.clone(), pursuit.odd);
        let is_held = matches!(self.cells.cell(id, now), Cell::Held { .. });
        let foreign = |(by, _): &&(Incarnation, Envelope)| !is_held || *by != self.me;
        let best = copies.iter().filter(foreign).max_by_key(|(_, envelope)| envelope.events);
        let to = best.and_then(|(by, envelope)| Some((*by, envelope.to?, envelope.gift)));
        if let Some((by, to, gift)) = to.filter(|(_, to, _)| open.contains(to)) {
            // It is on its way to another one, who may not have heard.
            self.outbox.note(to.by, id, Said::Gave { ticket: to.ticket, by, gift });
            return self.follow(id, to, now);
        }
        // Who had it last may have gone on.
        let last_of = |by: Incarnation, envelope: &Envelope| {
            let is_refused = self.was_taken(by, envelope) == Some(false);
            envelope.to.filter(|to| to.by != self.me || !is_refused).map_or(by, |to| to.by)
        };
        let last = best.map(|(by, envelope)| (last_of(*by, envelope), *by, envelope.events));
        if let Some((last, by, events)) = last
            && last != self.me
            && self.roster.life(last, now.mono_ns) == Life::Live
            && odd != Some((by, events))
            && let Some(pursuit) = self.pursuits.get_mut(id)
        {
            // It has come there since that one answered, or was forgotten there.
            pursuit.odd = Some((by, events));
            return self.ask_all(id, now);
        }
        // What goes to another one is left to that one.
        let is_free = |envelope: &Envelope| envelope.to.is_none_or(|to| !open.contains(&to));
        let is_useful = |(by, envelope): &(Incarnation, Envelope)| {
            (!is_held || *by != self.me) && is_free(envelope)
        };
        let copies = copies.into_iter().filter(is_useful).collect();
        self.take_all(id, copies, now);
    }

    /// Takes what was given to us, and what is in the copies.
    fn take_all(&mut self, id: &[u8], copies: Vec<(Incarnation, Envelope)>, now: Now) {
        let gifts = self.pursuits.get_mut(id).map(|pursuit| mem::take(&mut pursuit.gifts));
        let mut all: Vec<_> = gifts
            .unwrap_or_default()
            .into_iter()
            .map(|(by, envelope)| (by, envelope, false))
            .collect();
        let (given, kept): (Vec<_>, Vec<_>) =
            copies.into_iter().partition(|(by, envelope)| self.is_gift(*by, envelope));
        for (by, envelope) in given {
            let is_known =
                all.iter().any(|(other, it, _)| (*other, it.gift) == (by, envelope.gift));
            if !is_known {
                self.note_taken(id, by, &envelope);
                all.push((by, envelope, false));
            }
        }
        for (by, envelope) in kept {
            if all.iter().all(|(other, ..)| *other != by) {
                let last = envelope.to.map_or(by, |to| to.by);
                let life = self.roster.life(last, now.mono_ns);
                let is_copy = envelope.to.is_some() || life != Life::Left;
                all.push((by, envelope, is_copy));
            }
        }
        all.sort_by_key(|(_, envelope, is_copy)| std::cmp::Reverse((envelope.events, !is_copy)));
        let source = match all.first() {
            None => Source::Nowhere,
            Some((_, envelope, _)) if envelope.to.is_some_and(|to| to.by == self.me) => {
                Source::Live
            }
            Some((by, ..)) => match self.roster.life(*by, now.mono_ns) {
                Life::Live => Source::Live,
                Life::Left => Source::Left,
                Life::Dead => Source::Lapsed,
            },
        };
        if all.is_empty() { self.adopt_none(id, now) } else { self.adopt(id, all, source, now) }
    }

    /// Returns true if a copy was made out to us and is still to be taken.
    fn is_gift(&self, by: Incarnation, envelope: &Envelope) -> bool {
        envelope.to.is_some_and(|to| to.by == self.me) && self.was_taken(by, envelope).is_none()
    }

    /// Returns true if a copy that was made out to us was taken, or may have been; `None` if that
    /// is still to be decided.
    pub(super) fn was_taken(&self, by: Incarnation, envelope: &Envelope) -> Option<bool> {
        let ticket = envelope.to?.ticket;
        self.taken.was_taken(Gift { ticket, by, number: envelope.gift })
    }

    /// Takes what was given to us.
    pub(super) fn take_gifts(&mut self, id: &[u8], now: Now) {
        self.take_all(id, Vec::new(), now);
    }

    /// Tells who made out a copy that it has come.
    pub(super) fn note_taken(&mut self, id: &[u8], by: Incarnation, envelope: &Envelope) {
        if let Some(Claim { ticket, .. }) = envelope.to {
            let gift = envelope.gift;
            self.taken.note(Gift { ticket, by, number: gift }, true);
            self.outbox.note(by, id, Said::Taken { gift });
        }
    }

    /// Takes a copy that nobody else will: the device is held here from now on.
    pub(super) fn adopt(
        &mut self,
        id: &[u8],
        copies: Vec<(Incarnation, Envelope, bool)>,
        source: Source,
        now: Now,
    ) {
        let Some(ticket) = self.ticket(id) else {
            return;
        };
        let mut has_adopted = false;
        for (_, envelope, is_copy) in copies {
            let base = Base { body: &envelope.body, is_copy };
            let is_read = self.cells.adopt(id, Some(base), Some(ticket), now);
            has_adopted |= is_read;
            self.figures.unreadable.add(u64::from(!is_read));
        }
        if has_adopted {
            self.end_pursuit(id, source, now);
        } else {
            self.adopt_none(id, now);
        }
    }

    /// Begins a new window, or goes on with what is held here: there is no copy.
    fn adopt_none(&mut self, id: &[u8], now: Now) {
        let Some(ticket) = self.ticket(id) else {
            return;
        };
        match self.cells.cell(id, now) {
            Cell::Waiting => {
                if self.roster.knows_all(now.mono_ns) {
                    self.cells.adopt(id, None, Some(ticket), now);
                } else {
                    self.cells.begin_alone(id, Some(ticket), now);
                }
                self.end_pursuit(id, Source::Nowhere, now);
            }
            Cell::Held { .. } => self.settle(id, now),
            Cell::Absent => self.drop_pursuit(id, now),
        }
    }

    /// Confirms what is held here: nobody else has had it since.
    pub(super) fn settle(&mut self, id: &[u8], now: Now) {
        if let Some(ticket) = self.ticket(id) {
            self.cells.confirm(id, ticket, now);
            self.pass_on(id, now);
        }
    }

    /// Ends a pursuit whose window has come. It is saved at once, so that the next one who dies
    /// takes nothing along, or given to who has waited for that.
    fn end_pursuit(&mut self, id: &[u8], source: Source, now: Now) {
        if let Some(pursuit) = self.pursuits.get(id) {
            self.figures.note_taken(source, now.mono_ns.saturating_sub(pursuit.began_ns));
        }
        if !self.pass_on(id, now) {
            self.save_now(id.into(), now);
        }
    }

    /// Ends a pursuit, and gives the window to who waits for it. Returns true if somebody does.
    fn pass_on(&mut self, id: &[u8], now: Now) -> bool {
        let behind = self.remove(id).map(|pursuit| pursuit.behind).unwrap_or_default();
        let Some((first, others)) = behind.split_first() else {
            return false;
        };
        self.give(id, *first, now);
        others.iter().for_each(|other| self.refuse(id, *other));
        true
    }

    /// Ends a pursuit without a window. Who waits for it asks elsewhere.
    pub(super) fn drop_pursuit(&mut self, id: &[u8], now: Now) {
        let Some(pursuit) = self.remove(id) else {
            return;
        };
        pursuit.behind.iter().for_each(|claim| self.refuse(id, *claim));
        // What was given to us so far is nowhere else.
        for (_, envelope) in pursuit.gifts {
            let ticket = (!envelope.is_partial).then_some(pursuit.ticket);
            let base = Base { body: &envelope.body, is_copy: false };
            self.cells.adopt(id, Some(base), ticket, now);
        }
    }

    /// Returns our claim on a device.
    fn ticket(&self, id: &[u8]) -> Option<u64> {
        self.pursuits.get(id).map(|pursuit| pursuit.ticket)
    }
}
