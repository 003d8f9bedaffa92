//! Runs whose steps are told one by one: for rules that hardly any seed shows to be missing.

use super::oracle::check;
use super::{END_NS, Fault, MS, Route, SECOND, SimRedis, Simulation};

impl Simulation {
    /// Returns a run of so many processes and one device, in which nothing happens by itself, once
    /// all of them are known.
    fn scripted(processes: usize) -> Self {
        let mut simulation = Self::new(0);
        simulation.faults.clear();
        simulation.devices.truncate(1);
        simulation.servers = vec![SimRedis::default()];
        simulation.route = Route::Anywhere;
        // So little that a batch is back before the next one may go.
        simulation.delay_ns = MS / 10;
        (0..processes).for_each(|_| simulation.start());
        simulation.run_until(5 * SECOND);
        simulation
    }

    /// Runs until the device has a window in a process, which has the events of this number.
    fn run_until_held(&mut self, of: usize, count: usize) {
        while self.events_of(of).len() < count {
            assert!(self.advance(END_NS), "p{of} holds {:?}", self.events_of(of));
        }
    }

    /// Returns the events of the device's window in a process.
    fn events_of(&self, of: usize) -> Vec<u32> {
        let device = self.processes[of].cells.borrow().device(&self.devices[0].id);
        device.and_then(|device| device.events).unwrap_or_default()
    }
}

/// A replica that is frozen between the copy of a window and its sending has saved what nobody
/// reads any more: the others have gone on. It claims the window, though its device never comes
/// back to it, and nothing was in doubt when it was copied.
#[test]
fn what_was_saved_as_the_lease_ran_out_is_claimed() {
    let mut simulation = Simulation::scripted(2);
    simulation.hear(0, 0);
    simulation.run_until_held(0, 1);
    let thaws_ns = simulation.now_ns + 7 * SECOND;
    simulation.processes[0].frozen_until_ns = thaws_ns;
    simulation.run_until(thaws_ns - 2 * SECOND);
    simulation.hear(1, 0);
    simulation.run_until_held(1, 1);
    assert_eq!((simulation.events_of(0), simulation.events_of(1)), (vec![1], vec![2]));
    assert!(simulation.now_ns < thaws_ns, "it has gone on alone");
    simulation.run_until(END_NS);
    let wrong = check(&simulation, &[Fault::FreezeProcess]);
    assert!(wrong.is_empty(), "{wrong:#?}");
    let mut held = [simulation.events_of(0), simulation.events_of(1)].concat();
    held.sort_unstable();
    assert_eq!(held, [1, 2]);
}

/// Redis forgets all, while its connections stay, and a replica that starts then finds nobody: so
/// two have a window of the device until the first one notices. Then these are joined.
#[test]
fn windows_of_a_replica_that_came_as_redis_forgot_are_joined() {
    let mut simulation = Simulation::scripted(2);
    simulation.hear(0, 0);
    simulation.run_until_held(0, 1);
    simulation.run_until(8 * SECOND + SECOND / 10);
    simulation.tells_losses = true;
    simulation.servers[0].forget();
    simulation.start();
    simulation.run_until(8 * SECOND + SECOND / 5);
    simulation.hear(2, 0);
    simulation.run_until_held(2, 1);
    assert_eq!((simulation.events_of(0), simulation.events_of(2)), (vec![1], vec![2]));
    simulation.wrong.clear();
    simulation.run_until(END_NS);
    let wrong = check(&simulation, &[Fault::Empty]);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Redis forgets all that a replica has saved before this one hears that it was: no command would
/// meet the loss, but for those by which it looks.
#[test]
fn who_leaves_looks_whether_redis_has_what_was_saved() {
    let mut simulation = Simulation::scripted(2);
    simulation.hear(0, 0);
    simulation.run_until(8 * SECOND + SECOND / 10);
    simulation.hear(0, 0);
    let commands = simulation.servers[0].commands;
    simulation.stop_it(0, SECOND, false);
    while simulation.servers[0].commands == commands {
        assert!(simulation.advance(END_NS), "it saves the last event");
    }
    simulation.servers[0].forget();
    simulation.run_until(10 * SECOND);
    simulation.hear(1, 0);
    simulation.run_until(END_NS);
    let wrong = check(&simulation, &[Fault::Stop]);
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(simulation.events_of(1), [1, 2, 3]);
}
