//! An exchange: commands on their way, and their ends as far as they are known.

use std::collections::HashSet;

use super::super::batch::Batch;
use super::super::command::End;
use super::super::error::ErrorKind;
use super::server::Task;

/// See the head of this file.
pub(super) struct Exchange<'a> {
    pub(super) commands: &'a Batch,
    /// The end of each command, as far as it is known; empty if none is.
    pub(super) ends: Vec<End>,
    /// The tasks of each server, by its place.
    pub(super) plan: Vec<Vec<Task>>,
    pub(super) broke: bool,
}

impl Exchange<'_> {
    pub(super) fn add(&mut self, at: usize, task: Task) {
        if self.plan.len() <= at {
            self.plan.resize_with(at + 1, Vec::new);
        }
        if let Some(tasks) = self.plan.get_mut(at) {
            tasks.push(task);
        }
    }

    /// Sets the end of a command.
    pub(super) fn set(&mut self, index: usize, end: End) {
        self.complete();
        if let Some(known) = self.ends.get_mut(index) {
            *known = end;
        }
    }

    /// Sets the ends of tasks.
    pub(super) fn set_all(&mut self, tasks: &[Task], ends: Vec<End>) {
        if self.ends.is_empty() && ends.len() == self.commands.len() {
            // One server has all of them, in their order.
            self.ends = ends;
        } else {
            tasks.iter().zip(ends).for_each(|(task, end)| self.set(task.index, end));
        }
    }

    /// Gives each command an end: for those that have none there was no server.
    pub(super) fn complete(&mut self) {
        if self.ends.len() < self.commands.len() {
            self.ends.resize(self.commands.len(), Err(ErrorKind::ClusterDown.into()).into());
        }
    }

    /// Keeps those redirections behind which no command of the same key has another end: it may
    /// have been run, and what is sent now would be run after it.
    pub(super) fn retain_in_order(&self, redirected: &mut Vec<Redirection>) {
        if redirected.is_empty() {
            return;
        }
        redirected.sort_unstable_by_key(|redirection| redirection.index);
        let mut ended = HashSet::new();
        let mut kept = Vec::with_capacity(redirected.len());
        for index in (0..self.commands.len()).rev() {
            let key = self.commands.key(index);
            match redirected.pop_if(|last| last.index == index) {
                Some(redirection) if !ended.contains(key) => kept.push(redirection),
                _ => {
                    ended.insert(key);
                }
            }
        }
        kept.reverse();
        *redirected = kept;
    }
}

/// A command that a server did not run.
pub(super) struct Redirection {
    pub(super) index: usize,
    /// The place of the server that it leads to.
    pub(super) to: usize,
    pub(super) asking: bool,
}
