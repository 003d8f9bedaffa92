//! A view into a mover, for its simulation.

use super::*;

/// The sizes of what a mover keeps, which must not grow without bounds.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Sizes {
    /// The devices that it deals with.
    pub(in super::super) devices: usize,
    /// The commands, notes and devices that wait for their turn.
    pub(in super::super) queued: usize,
}

impl<C: Cells> Mover<C> {
    /// Returns the bodies of the copies that are in this replica's hands and not in its cells.
    pub(in super::super) fn in_hand(&self, id: &[u8]) -> Vec<&[u8]> {
        let given = self.gives.get(id).into_iter().map(|give| &give.envelope);
        let gifts = self.pursuits.get(id).into_iter().flat_map(|pursuit| &pursuit.gifts);
        given.chain(gifts.map(|(_, envelope)| envelope)).map(|envelope| &*envelope.body).collect()
    }

    /// Returns true if this gift has not been taken.
    pub(in super::super) fn gives(&self, id: &[u8], gift: u64) -> bool {
        self.given_to(id, gift).is_some()
    }

    /// Returns how much it keeps.
    pub(in super::super) fn sizes(&self) -> Sizes {
        let devices = [
            self.pursuits.len(),
            self.gives.len(),
            self.orphans.len(),
            self.offers.len(),
            self.due.len(),
        ];
        let queued =
            [self.outbox.len(), self.to_claim.len(), self.to_ask.len(), self.to_give.len()];
        Sizes {
            devices: devices.into_iter().max().unwrap_or_default(),
            queued: queued.into_iter().sum(),
        }
    }

    /// Names what its pursuits have come to.
    pub(in super::super) fn look(&self, now: Now, see: &mut impl FnMut(&'static str)) {
        for pursuit in self.pursuits.values() {
            let has_waited_ns = now.mono_ns.saturating_sub(pursuit.stage_ns);
            see(match pursuit.stage {
                Stage::ToClaim => "stage: to claim",
                Stage::Claiming => "stage: claiming",
                Stage::Following(_) if has_waited_ns >= STUCK_NS => "rule: stuck",
                Stage::Following(_) => "stage: following",
                Stage::Asking { round: None, .. } => "stage: to ask",
                Stage::Asking { round: Some(_), .. } => "stage: asking",
                Stage::Choosing { .. } => "stage: choosing",
            });
            if pursuit.odd.is_some() {
                see("rule: odd copy");
            }
            if pursuit.gifts.iter().any(|(_, envelope)| envelope.is_partial) {
                see("rule: partial gift");
            }
            if pursuit.behind.len() > 1 {
                see("rule: several behind");
            }
        }
    }
}
