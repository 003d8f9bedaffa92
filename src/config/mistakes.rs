//! Texts read as values, and what is wrong with those that cannot be.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::shown::{Bytes, Shown};

/// The values that a number or a size may have; up to `usize::MAX` means no upper bound.
pub(super) type Range = RangeInclusive<usize>;

/// Longer durations are typing errors, and overflow what clocks can add.
const DURATION_MAX: Duration = Duration::from_secs(365 * 86_400);

/// All that is wrong with a configuration, one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mistakes(Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|mistake| writeln!(out, "corepulse: {mistake}"))
    }
}

impl Mistakes {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of these flags has been blamed already.
    pub(super) fn blame(&self, flags: &[&str]) -> bool {
        let blames = |flag: &&str| self.0.iter().any(|m| m.starts_with(&format!("--{flag}: ")));
        flags.iter().any(blames)
    }

    pub(super) fn add(&mut self, flag: &str, expected: impl fmt::Display) {
        self.0.push(format!("--{flag}: {expected}"));
    }

    /// Notes the mistake and goes on with a stand-in, so that the other flags are checked too.
    pub(super) fn note<T>(&mut self, flag: &str, expected: &str, value: Option<T>, or: T) -> T {
        value.unwrap_or_else(|| {
            self.add(flag, expected);
            or
        })
    }

    pub(super) fn number(&mut self, flag: &str, text: &str, range: Range) -> usize {
        let value = text.trim().parse().ok().filter(|number| range.contains(number));
        let expected = format!("expected a whole number {}, found {text:?}", Bounds(&range, plain));
        self.note(flag, &expected, value, *range.start())
    }

    pub(super) fn number_or_auto(&mut self, flag: &str, text: &str, most: usize) -> Option<usize> {
        let is_auto = text.trim() == "auto";
        if is_auto { None } else { Some(self.number(flag, text, 1..=most)) }
    }

    pub(super) fn bytes(&mut self, flag: &str, text: &str, range: Range) -> usize {
        let parsed = parse_size::parse_size(text).ok().and_then(|size| usize::try_from(size).ok());
        let value = parsed.filter(|size| range.contains(size));
        let bounds = Bounds(&range, |size| Bytes(size).to_string());
        let expected = format!("expected a size {bounds}, such as 64MiB, found {text:?}");
        self.note(flag, &expected, value, *range.start())
    }

    pub(super) fn duration(&mut self, flag: &str, text: &str, least: Duration) -> Duration {
        let value = humantime::parse_duration(text.trim()).ok();
        let value = value.filter(|value| (least..=DURATION_MAX).contains(value));
        let bounds = format!("from {} to 365days", Shown(least));
        let expected = format!("expected a duration {bounds}, such as 75s, found {text:?}");
        self.note(flag, &expected, value, least)
    }

    pub(super) fn choice<T: Copy>(&mut self, flag: &str, text: &str, of: &[(&str, T)], or: T) -> T {
        let chosen = of.iter().find(|(name, _)| *name == text.trim()).map(|(_, value)| *value);
        let names: Vec<_> = of.iter().map(|(name, _)| *name).collect();
        let expected = format!("expected {}, found {text:?}", names.join(" or "));
        self.note(flag, &expected, chosen, or)
    }
}

fn plain(number: usize) -> String {
    number.to_string()
}

/// A range in words, its bounds shown by a function.
struct Bounds<'a>(&'a Range, fn(usize) -> String);

impl fmt::Display for Bounds<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(range, show) = self;
        match (show(*range.start()), *range.end()) {
            (least, usize::MAX) => write!(out, "of at least {least}"),
            (least, most) => write!(out, "from {least} to {}", show(most)),
        }
    }
}
