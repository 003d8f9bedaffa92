//! The replies of Redis.

use super::super::super::directory::Directory;
use super::super::keys::read_claim;
use super::super::note::Said;
use super::*;
use crate::store::redis::command::{End, Reply};
use crate::store::redis::error::{ErrorKind, RedisError};
use crate::telemetry::escaped::Escaped;
use crate::telemetry::log;

/// The end of a batch.
#[derive(Debug)]
pub(in super::super) struct Ended {
    pub(in super::super) sent_ns: u64,
    /// The ends of the commands, in their order.
    pub(in super::super) ends: Vec<End>,
    /// True if a connection was lost.
    pub(in super::super) broke: bool,
}

impl<C: Cells> Mover<C> {
    /// Takes the end of the batch under way.
    pub(in super::super) fn on_ended(&mut self, ended: Ended, now: Now) {
        let Some(mut sent) = self.under_way.take() else {
            return;
        };
        let Ended { sent_ns, ends, broke } = ended;
        if broke {
            self.restart(now);
        }
        // All replies had come by now: a lapse from here on is later than what they are to.
        let lapses_now = self.cells.lapses(now.mono_ns);
        let (mut purposes, mut saves) = (mem::take(&mut sent.purposes), 0);
        for ((at, purpose), end) in purposes.drain(..).enumerate().zip(ends) {
            let Purpose::Save { id, lapses } = purpose else {
                match end.into_result() {
                    Ok(Reply::Error(error)) => self.on_refusal(purpose, &error, now),
                    Ok(reply) => self.on_reply(purpose, reply, sent_ns, now),
                    Err(error) => {
                        self.note_error(&error, now);
                        self.send_again(purpose, now);
                    }
                }
                continue;
            };
            // Nearly all are saves that have gone well.
            if end.is_okay() && lapses == lapses_now {
                saves += 1;
            } else {
                let id: DeviceId = sent.saved_id(at, &id).into();
                if self.on_save_ended(&id, lapses != lapses_now, end, now) {
                    saves += 1;
                } else {
                    sent.sample.forget(&id);
                }
            }
        }
        self.saved.take_over(&mut sent.sample);
        self.figures.saves.add(saves);
        self.outbox.give_back(Parcel { purposes, ..sent });
        if self.to_save.is_empty() && !self.outbox.has_saves() {
            self.figures.note_saved();
        }
    }

    /// Begins anew: what Redis knew may be lost. What is held is claimed and saved again.
    fn restart(&mut self, now: Now) {
        self.cells.doubt();
        self.cells.unsave_all();
        let begun: Vec<_> = self.pursuits.keys().cloned().collect();
        for id in begun {
            self.claim_again(&id, now);
        }
    }

    /// Claims a device anew: the fate of the last claim is unknown.
    fn claim_again(&mut self, id: &[u8], now: Now) {
        let Some(pursuit) = self.pursuits.get_mut(id) else {
            return;
        };
        if pursuit.stage != Stage::ToClaim {
            pursuit.stage = Stage::ToClaim;
            pursuit.stage_ns = now.mono_ns;
            self.to_claim.push_back(id.into());
        }
    }

    /// Sends a command again whose fate is unknown, or does without it.
    fn send_again(&mut self, purpose: Purpose, now: Now) {
        match purpose {
            Purpose::Claim { id, ticket } if self.is_current(&id, ticket) => {
                self.claim_again(&id, now);
            }
            Purpose::Give { id, .. } => self.to_give.push_back(id),
            Purpose::Choose { id, ticket, .. } if self.is_current(&id, ticket) => {
                self.ask_all(&id, now);
            }
            Purpose::Take { id, ticket, by } => {
                let command = self.keys.read(&id, by);
                self.outbox.push(&command, Purpose::Take { id, ticket, by });
            }
            Purpose::Census => self.next_census_ns = now.mono_ns,
            Purpose::ReadBack { id } => self.saved.note(&id),
            // Those who wait for these ask again; and saves have an end of their own.
            Purpose::Save { .. }
            | Purpose::Claim { .. }
            | Purpose::Choose { .. }
            | Purpose::Follow { .. }
            | Purpose::Post => {}
        }
    }

    /// Takes the refusal of a command. It may be that all are refused, and goes on without them.
    fn on_refusal(&mut self, purpose: Purpose, error: &RedisError, now: Now) {
        if let Purpose::Claim { id, .. } = &purpose {
            self.cells.begin_alone(id, None, now);
        }
        self.note_error(error, now);
        if matches!(purpose, Purpose::ReadBack { .. }) {
            // It may be that this is never allowed, and the end waits for it.
            return;
        }
        self.send_again(purpose, now);
    }

    fn on_reply(&mut self, purpose: Purpose, reply: Reply, sent_ns: u64, now: Now) {
        match purpose {
            Purpose::Claim { id, ticket } if self.is_current(&id, ticket) => {
                match read_claim(&reply) {
                    Ok(before) => self.on_claimed(&id, before, now),
                    Err(()) => self.on_nonsense(Purpose::Claim { id, ticket }, now),
                }
            }
            Purpose::Follow { id, ticket, of, life, is_refused } => {
                if self.is_current(&id, ticket)
                    && let Some(Stage::Following(still)) =
                        self.pursuits.get(&id).map(|pursuit| &pursuit.stage)
                    && *still == of
                {
                    let envelope = self.envelope(reply);
                    self.on_copy(&id, of, life, is_refused, envelope.as_ref(), now);
                }
            }
            Purpose::Choose { id, ticket, of } if self.is_current(&id, ticket) => {
                let Reply::List(copies) = reply else {
                    return self.on_nonsense(Purpose::Choose { id, ticket, of }, now);
                };
                let copies = of.into_iter().zip(copies);
                let read = copies.filter_map(|(by, copy)| Some((by, self.envelope(copy)?)));
                let read = read.collect();
                self.choose(&id, read, now);
            }
            Purpose::Take { id, ticket, by } => {
                if let Some(envelope) = self.envelope(reply)
                    && envelope.to == Some(Claim { by: self.me, ticket })
                {
                    self.on_gift(&id, ticket, by, &envelope, now);
                }
            }
            Purpose::Give { id, gift } => {
                if let Some(to) = self.given_to(&id, gift) {
                    let said = Said::Gave { ticket: to.ticket, by: self.me, gift };
                    self.outbox.note(to.by, &id, said);
                    self.given.push_back((now.mono_ns + AGAIN_NS, id, gift));
                }
            }
            Purpose::ReadBack { .. } => self.on_read_back(&reply),
            Purpose::Census => match Directory::read(&reply) {
                Some(directory) => {
                    let _ = self.outages.mark_up(now.mono_ns);
                    self.on_census(&directory, sent_ns, now);
                }
                None => self.on_nonsense(Purpose::Census, now),
            },
            Purpose::Claim { .. }
            | Purpose::Choose { .. }
            | Purpose::Save { .. }
            | Purpose::Post => {}
        }
    }

    /// Pauses after an error, counts it, and tells, once an outage, what went wrong.
    pub(super) fn note_error(&mut self, error: &RedisError, now: Now) {
        self.next_batch_ns = now.mono_ns + WINDOW_PAUSE_MS * MS;
        self.figures.errors.add(error.kind);
        let RedisError { kind, server, message } = error;
        if self.outages.mark_down(now.mono_ns, *kind).is_some() {
            log::warn!(
                at = %Escaped(server.as_bytes()),
                why = kind.name(),
                said = %Escaped(message.as_bytes()),
                "windows of devices cannot be moved or saved; devices are judged by what is here"
            );
        }
    }

    fn on_nonsense(&mut self, purpose: Purpose, now: Now) {
        let message = "an unexpected reply to a command on a window";
        self.on_refusal(purpose, &RedisError::new(ErrorKind::Protocol, message), now);
    }

    /// Reads an envelope; none is none, and so is one of another version.
    fn envelope(&self, reply: Reply) -> Option<Envelope> {
        let Reply::Bytes(bytes) = reply else {
            return None;
        };
        let envelope = Envelope::decode(&bytes);
        self.figures.unreadable.add(u64::from(envelope.is_none()));
        envelope
    }

    fn on_census(&mut self, directory: &Directory, sent_ns: u64, now: Now) {
        let is_told = self.roster.hear_of_loss(directory, now.mono_ns);
        if is_told {
            // Who came meanwhile found neither claims nor us, and may have begun windows anew.
            self.cells.doubt();
        }
        if self.roster.read(directory, self.me, sent_ns, now.mono_ns) || is_told {
            self.cells.unsave_all();
        }
        self.orphans.retain(|_, (until_ns, _)| now.mono_ns < *until_ns);
        self.ask_those_read(sent_ns, now);
    }

    /// Takes the claim before ours.
    fn on_claimed(&mut self, id: &[u8], before: Option<Claim>, now: Now) {
        let other = before.filter(|claim| claim.by != self.me);
        if self.pursuits.get(id).is_some_and(Pursuit::has_whole_gift) {
            return self.take_gifts(id, now);
        }
        match (self.cells.cell(id, now), other) {
            (Cell::Absent, _) => self.drop_pursuit(id, now),
            (_, Some(other)) => self.follow(id, other, now),
            // By this claim it is held, so nobody has claimed it since; or nobody could have taken
            // it, as we have always been in touch.
            (Cell::Held { ticket, .. }, None) if before.is_some_and(|it| it.ticket == ticket) => {
                self.settle(id, now);
            }
            (Cell::Held { standing: Standing::Confirmed | Standing::Reconnected, .. }, None) => {
                self.settle(id, now);
            }
            // Of a claim of ours the reply was lost, and with it the claim before.
            (Cell::Held { .. } | Cell::Waiting, None) => self.ask_all(id, now),
        }
    }

    /// Takes the copy of the replica whose claim is before ours.
    fn on_copy(
        &mut self,
        id: &[u8],
        of: Claim,
        life: Life,
        is_refused: bool,
        envelope: Option<&Envelope>,
        now: Now,
    ) {
        let Some(pursuit) = self.pursuits.get(id) else {
            return;
        };
        let ticket_of = |envelope: &Envelope| envelope.to.filter(|to| to.by == self.me);
        let ours = envelope.and_then(ticket_of);
        if let (Some(to), Some(envelope)) = (ours, envelope)
            && pursuit.ticket == to.ticket
        {
            return self.on_gift(id, to.ticket, of.by, envelope, now);
        }
        if is_refused || life != Life::Live {
            self.ask_all(id, now);
        }
    }

    /// Takes a copy that is made out to us.
    fn on_gift(&mut self, id: &[u8], ticket: u64, by: Incarnation, envelope: &Envelope, now: Now) {
        // Nobody else takes what is made out to an older claim of ours: refused, it would go back
        // to its giver, and the device would wait for longer.
        let was_decided = self.was_taken(by, envelope).is_some();
        let waits = matches!(self.cells.cell(id, now), Cell::Waiting) && !was_decided;
        let lapses = self.cells.lapses(now.mono_ns);
        let pursuit = self.pursuits.get_mut(id).filter(|it| waits || it.ticket == ticket);
        let Some(pursuit) = pursuit else {
            return self.join(id, by, envelope, now);
        };
        let gift = (by, envelope.gift);
        if pursuit.gifts.iter().all(|(other, it)| (*other, it.gift) != gift) {
            let is_partial = envelope.is_partial || pursuit.lapses != lapses;
            pursuit.gifts.push((by, Envelope { is_partial, ..envelope.clone() }));
            self.note_taken(id, by, envelope);
        }
        let Some(pursuit) = self.pursuits.get_mut(id) else {
            return;
        };
        match &mut pursuit.stage {
            Stage::Asking { round: Some(_), awaited, .. } => {
                awaited.remove(&by);
                self.choose_if_answered(id, now);
            }
            // It is claimed first, so that those who claim next know where it is.
            Stage::ToClaim | Stage::Claiming | Stage::Choosing { .. } => {}
            Stage::Asking { round: None, .. } | Stage::Following(_) => {
                if pursuit.has_whole_gift() {
                    self.take_gifts(id, now);
                } else {
                    self.ask_all(id, now);
                }
            }
        }
    }

    /// Joins a copy to what is held here: its replica was out of touch, and did not know that the
    /// window had gone on here.
    fn join(&mut self, id: &[u8], by: Incarnation, envelope: &Envelope, now: Now) {
        let Some(Claim { ticket, .. }) = envelope.to else {
            return;
        };
        let gift = Gift { ticket, by, number: envelope.gift };
        let held = match self.cells.cell(id, now) {
            Cell::Held { ticket, standing } => {
                Some(Some(ticket).filter(|_| standing == Standing::Confirmed))
            }
            Cell::Absent | Cell::Waiting => None,
        };
        match (self.taken.was_taken(gift), held) {
            (Some(true), _) => self.note_taken(id, by, envelope),
            (None, Some(held)) => {
                let base = Base { body: &envelope.body, is_copy: false };
                // What is in doubt stays so: there may be more elsewhere.
                let is_read = self.cells.adopt(id, Some(base), held, now);
                self.figures.unreadable.add(u64::from(!is_read));
                self.note_taken(id, by, envelope);
            }
            // It went while this was read.
            (None, None) | (Some(false), _) => self.refuse_copy(id, gift),
        }
    }
}
