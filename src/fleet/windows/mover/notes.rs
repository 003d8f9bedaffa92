//! The notes of others about windows, and the answers to them.

use super::super::note::{Letter, Note, Said, claim_of};
use super::*;

impl<C: Cells> Mover<C> {
    /// Takes a letter from the mailbox.
    pub(in super::super) fn on_letter(&mut self, bytes: &[u8], now: Now) {
        let Some(Letter { from, notes }) = Letter::decode(bytes) else {
            self.figures.unreadable.add(1);
            return;
        };
        if from == self.me {
            return;
        }
        self.roster.hear(from, now.mono_ns);
        for Note { id, said } in notes {
            self.on_note(from, &id, said, now);
        }
    }

    fn on_note(&mut self, from: Incarnation, id: &[u8], said: Said, now: Now) {
        match said {
            Said::Want { claim, of, echo } => {
                self.on_want(id, claim_of(from, claim), of, echo, now);
            }
            Said::Ask { claim, round } => self.on_ask(id, claim_of(from, claim), round, now),
            Said::Absent { ticket, round } => self.on_absent(id, from, ticket, round, now),
            Said::Busy { ticket, round, claim } if self.asks(id, ticket, round) => {
                self.note_answer(id, from, Some(claim_of(from, claim)), now);
            }
            Said::Follow { ticket, round, claim } if self.asks(id, ticket, round) => {
                self.on_follow(id, claim_of(from, claim), now);
            }
            Said::Offer { ticket, echo } if self.is_current(id, ticket) => {
                let pursuit = self.pursuits.get(id);
                if let Some(Stage::Following(of)) = pursuit.map(|pursuit| &pursuit.stage)
                    && of.by == from
                {
                    let said = Said::Want { claim: ticket, of: of.ticket, echo };
                    self.outbox.note(from, id, said);
                }
            }
            Said::Gave { ticket, by, gift } => {
                self.on_gave(id, Gift { ticket, by, number: gift }, now);
            }
            Said::Taken { gift } => self.end_give(id, gift, now),
            Said::Unwanted { gift } => self.take_back(id, gift, now),
            Said::Busy { .. } | Said::Follow { .. } | Said::Offer { .. } => {}
        }
    }

    /// Takes the word that a copy was made out to a claim of ours.
    fn on_gave(&mut self, id: &[u8], gift: Gift, now: Now) {
        let Gift { ticket, by, number } = gift;
        let waits = self.pursuits.contains_key(id);
        let is_held = matches!(self.cells.cell(id, now), Cell::Held { .. });
        match self.taken.was_taken(gift) {
            Some(true) => self.outbox.note(by, id, Said::Taken { gift: number }),
            None if waits || is_held => {
                let purpose = Purpose::Take { id: id.into(), ticket, by };
                self.outbox.push(&self.keys.read(id, by), purpose);
            }
            None | Some(false) => self.refuse_copy(id, gift),
        }
    }

    /// Tells who made out a copy that it is not taken, and never will be.
    pub(super) fn refuse_copy(&mut self, id: &[u8], gift: Gift) {
        self.taken.note(gift, false);
        self.outbox.note(gift.by, id, Said::Unwanted { gift: gift.number });
    }

    /// Returns true if this is the ticket of the claim in force.
    pub(super) fn is_current(&self, id: &[u8], ticket: u64) -> bool {
        self.pursuits.get(id).is_some_and(|pursuit| pursuit.has_claimed(ticket))
    }

    /// Returns true if all are asked for this claim in force, by the question of this number.
    fn asks(&self, id: &[u8], ticket: u64, round: u64) -> bool {
        let asked = self.pursuits.get(id).map(|pursuit| &pursuit.stage);
        let is_round = matches!(asked, Some(Stage::Asking { round: Some(it), .. }) if *it == round);
        is_round && self.is_current(id, ticket)
    }

    /// Takes a request for the window, for a claim that follows that one of ours.
    fn on_want(&mut self, id: &[u8], claim: Claim, of: u64, echo: u64, now: Now) {
        if self.gives.contains_key(id) && !self.is_current(id, of) {
            // It is on its way to somebody.
            return;
        }
        if !self.cells.is_sure(now.mono_ns) {
            return;
        }
        match self.cells.cell(id, now) {
            Cell::Held { standing: Standing::Confirmed, .. } => self.give(id, claim, now),
            Cell::Held { ticket, standing: Standing::Reconnected } if ticket == of => {
                self.give(id, claim, now);
            }
            Cell::Held { ticket, standing: Standing::Lapsed } if ticket == of => {
                self.offer(id, claim, echo, now);
            }
            Cell::Absent | Cell::Waiting | Cell::Held { .. } => {
                let is_current = self.is_current(id, of);
                let pursuit = self.pursuits.get_mut(id).filter(|_| is_current);
                match pursuit {
                    Some(pursuit) if pursuit.behind.contains(&claim) => {}
                    Some(pursuit) => pursuit.behind.push(claim),
                    None => self.refuse(id, claim),
                }
            }
        }
    }

    /// Gives the window to a claim behind ours after we were out of touch, if it still waits:
    /// somebody may have taken the copy meanwhile, perhaps this very one.
    fn offer(&mut self, id: &[u8], to: Claim, echo: u64, now: Now) {
        let offered = self.offers.get(id).filter(|offer| offer.to == to).map(|offer| offer.echo);
        match offered {
            Some(offered) if offered == echo => {
                self.offers.remove(id);
                // It has followed us all the time, so nobody else has gone on.
                return self.give_as(id, to, false, now);
            }
            // An answer to an older offer.
            _ if echo != 0 => return,
            _ => {}
        }
        let echo = offered.unwrap_or_else(|| self.next_number());
        let until_ns = now.mono_ns + OFFER_NS;
        if offered.is_none() {
            self.offers.insert(id.into(), Offer { to, echo, until_ns });
        }
        self.outbox.note(to.by, id, Said::Offer { ticket: to.ticket, echo });
    }

    /// Takes a question to all.
    fn on_ask(&mut self, id: &[u8], claim: Claim, round: u64, now: Now) {
        if self.gives.contains_key(id) || !self.cells.is_sure(now.mono_ns) {
            return;
        }
        let Claim { by, ticket } = claim;
        match self.cells.cell(id, now) {
            Cell::Held { .. } => self.give(id, claim, now),
            Cell::Absent => self.outbox.note(by, id, Said::Absent { ticket, round }),
            Cell::Waiting => {
                let Some(pursuit) = self.pursuits.get(id) else {
                    return self.outbox.note(by, id, Said::Absent { ticket, round });
                };
                let own = pursuit.ticket;
                match pursuit.stage {
                    Stage::Asking { .. } if by < self.me => self.yield_to(id, claim, round, now),
                    // Only one reads the copies, and takes what nobody has.
                    Stage::Asking { .. } | Stage::Choosing { .. } => {
                        let said = Said::Follow { ticket, round, claim: own };
                        self.outbox.note(by, id, said);
                    }
                    _ => self.outbox.note(by, id, Said::Busy { ticket, round, claim: own }),
                }
            }
        }
    }

    /// Lets another one go on who asks all as well.
    fn yield_to(&mut self, id: &[u8], claim: Claim, round: u64, now: Now) {
        let Some(pursuit) = self.pursuits.get(id) else {
            return;
        };
        if pursuit.has_whole_gift() {
            // Somebody was quicker, and has given it to us.
            self.take_gifts(id, now);
            return self.give(id, claim, now);
        }
        let said = Said::Busy { ticket: claim.ticket, round, claim: pursuit.ticket };
        self.outbox.note(claim.by, id, said);
        self.follow(id, claim, now);
    }

    /// Takes the word of a replica that it has nothing for a claim of ours.
    fn on_absent(&mut self, id: &[u8], from: Incarnation, ticket: u64, round: u64, now: Now) {
        if self.asks(id, ticket, round) {
            return self.note_answer(id, from, None, now);
        }
        let stage = self.pursuits.get(id).map(|pursuit| &pursuit.stage);
        if let Some(Stage::Following(of)) = stage
            && of.by == from
            && round == 0
            && self.is_current(id, ticket)
        {
            let of = *of;
            let life = self.roster.life(from, now.mono_ns);
            self.read_copy(id, ticket, of, life, true);
        }
    }

    /// Follows the claim of another one who asks all as well.
    fn on_follow(&mut self, id: &[u8], claim: Claim, now: Now) {
        let Some(pursuit) = self.pursuits.get(id) else {
            return;
        };
        if pursuit.has_whole_gift() {
            self.take_gifts(id, now);
        } else {
            self.follow(id, claim, now);
        }
    }
}
