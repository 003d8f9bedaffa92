//! Presets: the numbers of the detector, each set chosen as a whole on recorded series.

/// The quantities of a series that have a band each.
pub const CHANNELS: usize = 4;

/// The numbers of the detector. Rates are shares by which an average moves towards a new value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preset {
    /// The rate in five minutes of what is usual for an hour.
    pub hour_rate: f32,
    /// The rate in five minutes of the short average.
    pub short_rate: f32,
    /// The rate in five minutes of the long level, which the level is compared with.
    pub long_rate: f32,
    /// The rate an event of the level.
    pub level_rate: f32,
    /// The rate an event of the deviation of all hours, and of what is typical of a quantity.
    pub deviation_rate: f32,
    /// The rate in five minutes of the share of unusual values.
    pub share_rate: f32,
    /// A value further from the usual than so many deviations counts as unusual.
    pub unusual: f32,
    /// The share of the deviation of all hours that is added to that of an hour.
    pub common: f32,
    /// The share of its width that a band loses in five minutes.
    pub forgetting: f32,
    /// The margins outside of the bands, in shares of their widths, in the order of the reasons.
    pub margins: [f32; CHANNELS],
    /// The share of what is typical of a quantity that is added to its margin.
    pub typical: f32,
    /// So many events after an alert have none.
    pub rest_events: u32,
}

impl Preset {
    /// The numbers chosen on half of the benchmark's series, so that the other half tells what they
    /// are worth.
    pub const HALF: Self = Self {
        hour_rate: 0.01,
        short_rate: 0.1,
        long_rate: 0.03,
        level_rate: 0.002,
        deviation_rate: 0.002,
        share_rate: 0.2,
        unusual: 3.0,
        common: 0.5,
        forgetting: 7e-5,
        margins: [0.05, 0.02, 0.025, 0.06],
        typical: 0.5,
        rest_events: 25,
    };

    /// The numbers chosen on all of the benchmark's series, as those of its leaders are. The server
    /// uses these.
    pub const WHOLE: Self = Self {
        hour_rate: 0.0125,
        short_rate: 0.1,
        long_rate: 0.035,
        level_rate: 0.0025,
        deviation_rate: 0.0007,
        share_rate: 0.084,
        unusual: 3.25,
        common: 0.55,
        forgetting: 2e-5,
        margins: [0.042, 0.046, 0.022, 0.014],
        typical: 0.15,
        rest_events: 33,
    };
}
