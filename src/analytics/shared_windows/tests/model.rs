//! Cells beside a model of them, which knows neither marks nor lists.

use super::*;

/// A device of the model.
#[derive(Clone, Copy, Debug)]
struct Modelled {
    /// Its events that wait; `None` if it is held.
    waiting: Option<u64>,
    ticket: u64,
    standing: Standing,
    /// True if it was wanted since the tenure began or it got its standing.
    was_wanted: bool,
    is_wanted: bool,
    is_unsaved: bool,
    accepted: u64,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Send(usize),
    Doubt,
    Lapse,
    Renew,
    Adopt(usize),
    Confirm(usize),
    BeginAlone(usize),
    Export(usize),
    Copy(usize),
    TakeWanted,
    Save,
    UnsaveAll,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = || 0..DEVICES.len();
    let step = prop_oneof![
        8 => at().prop_map(Step::Send),
        1 => Just(Step::Doubt),
        1 => Just(Step::Lapse),
        2 => Just(Step::Renew),
        4 => at().prop_map(Step::Adopt),
        2 => at().prop_map(Step::Confirm),
        1 => at().prop_map(Step::BeginAlone),
        1 => at().prop_map(Step::Export),
        1 => at().prop_map(Step::Copy),
        2 => Just(Step::TakeWanted),
        2 => Just(Step::Save),
        1 => Just(Step::UnsaveAll),
    ];
    prop::collection::vec(step, 0..150)
}

struct Model {
    instance: Instance,
    queue: SaveQueue,
    devices: [Option<Modelled>; DEVICES.len()],
    seconds: u64,
    is_sure: bool,
    ticket: u64,
    totals: WindowTotals,
}

impl Model {
    fn new() -> Self {
        let settings = AnalyticsSettings { device_ttl_ns: u64::MAX, ..standard() };
        let instance = Instance::new(settings, 2, 0);
        instance.analytics.share_windows(1, Box::new(|| {}));
        Self {
            instance,
            queue: SaveQueue::default(),
            devices: [None; _],
            seconds: 10,
            is_sure: false,
            ticket: 0,
            totals: WindowTotals::default(),
        }
    }

    fn now(&self) -> Now {
        at(self.seconds * SECOND_NS, 0)
    }

    fn send(&mut self, at: usize) {
        let new = Modelled {
            waiting: Some(0),
            ticket: 0,
            standing: Standing::Lapsed,
            was_wanted: false,
            is_wanted: false,
            is_unsaved: false,
            accepted: 0,
        };
        let device = self.devices[at].get_or_insert(new);
        device.accepted += 1;
        let applied = self.instance.send(0, DEVICES[at], &calm(self.seconds));
        assert_eq!(applied.pending(), u64::from(device.waiting.is_some()));
        match &mut device.waiting {
            Some(events) => {
                *events += 1;
                self.totals.pending_total += 1;
            }
            None => {
                device.is_unsaved = true;
                self.totals.judged_in_doubt += u64::from(device.standing != Standing::Confirmed);
            }
        }
        let is_sure = device.waiting.is_none() && device.standing == Standing::Confirmed;
        if !is_sure && !device.was_wanted {
            (device.was_wanted, device.is_wanted) = (true, true);
        }
    }

    /// Begins a tenure: of the devices that are held, this is the best standing.
    fn begin_tenure(&mut self, best: Standing) {
        for device in self.devices.iter_mut().flatten() {
            device.was_wanted = false;
            if best == Standing::Lapsed || device.standing == Standing::Confirmed {
                device.standing = best;
            }
        }
    }

    fn hold(&mut self, at: usize, ticket: u64, is_sure: bool) {
        let Some(device) = &mut self.devices[at] else {
            return;
        };
        if let Some(judged) = device.waiting.take().filter(|_| !is_sure) {
            self.totals.judged_in_doubt += judged;
        }
        device.standing = if is_sure { Standing::Confirmed } else { Standing::Lapsed };
        device.ticket = ticket;
        (device.was_wanted, device.is_wanted) = (false, false);
    }

    fn step(&mut self, step: Step) {
        self.seconds += 1;
        self.ticket += 1;
        let (now, ticket) = (self.now(), self.ticket);
        let held = |device: &Option<Modelled>| device.is_some_and(|it| it.waiting.is_none());
        let analytics = &self.instance.analytics;
        match step {
            Step::Send(at) => self.send(at),
            Step::Doubt => {
                analytics.doubt();
                self.begin_tenure(Standing::Reconnected);
            }
            Step::Lapse => {
                self.seconds += 1_000;
                // Whatever comes, it is noted first.
                self.instance.send(1, "", &calm(self.seconds));
                if std::mem::take(&mut self.is_sure) {
                    self.begin_tenure(Standing::Lapsed);
                }
            }
            Step::Renew => {
                analytics.renew_lease(now.mono_ns, now.mono_ns + 500 * SECOND_NS, now);
                self.is_sure = true;
            }
            Step::Adopt(at) => {
                let adopted =
                    analytics.adopt(DEVICES[at].as_bytes(), None, false, Some(ticket), now);
                assert_eq!(adopted.is_held, self.devices[at].is_some());
                let waiting = self.devices[at].and_then(|device| device.waiting);
                assert_eq!(adopted.judged, waiting.unwrap_or_default());
                self.hold(at, ticket, self.is_sure);
                self.devices[at].iter_mut().for_each(|device| device.is_unsaved = true);
            }
            Step::Confirm(at) => {
                analytics.confirm(DEVICES[at].as_bytes(), ticket, now);
                if held(&self.devices[at]) && self.is_sure {
                    self.hold(at, ticket, true);
                }
            }
            Step::BeginAlone(at) => {
                analytics.begin_alone(DEVICES[at].as_bytes(), None, now);
                if self.devices[at].is_some_and(|device| device.waiting.is_some()) {
                    self.hold(at, 0, false);
                    self.devices[at].iter_mut().for_each(|device| device.is_unsaved = true);
                }
            }
            Step::Export(at) => self.export(at),
            Step::Copy(at) => self.copy(at),
            Step::TakeWanted => self.take_wanted(),
            Step::Save => self.save(),
            Step::UnsaveAll => {
                analytics.unsave_all();
                let all = self.devices.iter_mut().flatten();
                all.for_each(|device| device.is_unsaved |= device.waiting.is_none());
            }
        }
    }

    fn export(&mut self, at: usize) {
        let state = self.instance.analytics.export(DEVICES[at].as_bytes(), self.now());
        let expected = self.devices[at].take_if(|device| device.waiting.is_none());
        assert_eq!(state.map(|it| it.accepted), expected.map(|it| it.accepted));
    }

    fn copy(&mut self, at: usize) {
        let state = self.instance.analytics.copy(DEVICES[at].as_bytes(), self.now());
        let device = self.devices[at].as_mut().filter(|device| device.waiting.is_none());
        assert_eq!(state.map(|it| it.accepted), device.as_ref().map(|it| it.accepted));
        device.into_iter().for_each(|device| device.is_unsaved = false);
    }

    fn take_wanted(&mut self) {
        let mut expected: Vec<&str> = Vec::new();
        for (id, device) in DEVICES.iter().zip(&mut self.devices) {
            if let Some(device) = device.as_mut().filter(|device| device.is_wanted) {
                device.is_wanted = false;
                expected.push(id);
            }
        }
        let mut wanted = self.instance.wanted();
        wanted.sort_unstable();
        expected.sort_unstable();
        assert_eq!(wanted, expected);
    }

    fn save(&mut self) {
        self.instance.analytics.begin_saves(&mut self.queue);
        let saved = self.instance.next_saves(&mut self.queue, 9, self.seconds * SECOND_NS);
        let mut saved: Vec<_> = saved.into_iter().map(|(id, state)| (id, state.accepted)).collect();
        let mut expected = Vec::new();
        for (id, device) in DEVICES.iter().zip(&mut self.devices) {
            if let Some(device) = device.as_mut().filter(|device| device.is_unsaved) {
                device.is_unsaved = false;
                expected.push((id.to_string(), device.accepted));
            }
        }
        saved.sort_unstable();
        expected.sort_unstable();
        assert_eq!(saved, expected);
    }

    fn compare(&self) {
        for (id, device) in DEVICES.iter().zip(&self.devices) {
            let expected = match device {
                None => Cell::Absent,
                Some(Modelled { waiting: Some(_), .. }) => Cell::Waiting,
                Some(Modelled { ticket, standing, .. }) => {
                    Cell::Held { ticket: *ticket, standing: *standing }
                }
            };
            assert_eq!(self.instance.cell(id, self.seconds * SECOND_NS), expected, "{id}");
            let found = self.instance.analytics.device(id, self.now()).map(|it| it.accepted);
            assert_eq!(found, device.map(|device| device.accepted), "{id}");
        }
        let all = || self.devices.iter().flatten();
        let expected = WindowTotals {
            waiting: all().filter(|device| device.waiting.is_some()).count() as u64,
            pending: all().filter_map(|device| device.waiting).sum(),
            unsaved: all().filter(|device| device.is_unsaved).count() as u64,
            ..self.totals
        };
        assert_eq!(self.instance.analytics.windows(), expected);
        assert_eq!(self.instance.analytics.is_sure(self.now().mono_ns), self.is_sure);
        assert_eq!(self.instance.analytics.devices(), all().count());
    }
}

proptest! {
    #[test]
    fn cells_do_as_the_model_does(steps in steps()) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
            model.compare();
        }
    }
}
